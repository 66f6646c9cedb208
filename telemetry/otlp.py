"""Export over OTLP that never holds the work: bounded in memory, bounded in time, and every loss counted."""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from telemetry.health import HEALTH

if TYPE_CHECKING:
    from telemetry.settings import Settings

QUEUE = 2048
"""Spans kept for the flush; one invocation makes some hundreds."""
BATCH = 512


class Export(SpanProcessor):
    """Keeps finished spans and sends them when `flush` is called.

    Not the SDK's batch processor: its `force_flush` waited 6 to 10 s for a dead endpoint that it had been given 500 ms
    for, said True, and its thread sleeps through the freeze between two invocations.
    """

    def __init__(self, settings: Settings, exporter: SpanExporter | None = None) -> None:
        self._settings = settings
        self._exporter = exporter or _exporter(settings)
        self._queue: list[ReadableSpan] = []
        self._lock = threading.Lock()
        self._failures = 0
        self._dead_until = 0.0

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        with self._lock:
            full = len(self._queue) >= QUEUE
            if not full:
                self._queue.append(span)
        if full:
            HEALTH.count("spans_lost")

    def flush(self, timeout_s: float | None = None) -> int:
        """Send what is there and return how many spans were lost; takes at most `timeout_s` (the settings' `flush_s`).

        A span is delivered when the endpoint acknowledged it in time; every other one is counted as lost, and never
        sent again.
        """
        with self._lock:
            spans, self._queue = self._queue, []
        if not spans:
            return 0
        delivered = 0
        if time.monotonic() >= self._dead_until:
            delivered = _Delivery(self._exporter, spans).within(timeout_s or self._settings.flush_s)
            self._judge(dead=delivered == 0)
        lost = len(spans) - delivered
        if lost:
            HEALTH.count("spans_lost", lost)
        return lost

    def _judge(self, *, dead: bool) -> None:
        self._failures = self._failures + 1 if dead else 0
        given_up = self._failures >= self._settings.dead_after
        HEALTH.endpoint_dead = int(given_up)
        if given_up:
            self._dead_until = time.monotonic() + self._settings.dead_pause_s

    def force_flush(self, timeout_millis: int = 300) -> bool:
        return self.flush(timeout_millis / 1000) == 0

    def shutdown(self) -> None:
        self.flush()
        self._exporter.shutdown()


class _Delivery:
    """One attempt to send spans, in a thread that is left behind when time is up: sockets cannot be told to hurry."""

    def __init__(self, exporter: SpanExporter, spans: list[ReadableSpan]) -> None:
        self._exporter = exporter
        self._spans = spans
        self._delivered = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="telemetry-export", daemon=True)

    def within(self, timeout_s: float) -> int:
        """Return how many spans were acknowledged in that time."""
        self._thread.start()
        self._thread.join(timeout_s)
        with self._lock:
            self._closed = True
            return self._delivered

    def _run(self) -> None:
        for start in range(0, len(self._spans), BATCH):
            batch = self._spans[start : start + BATCH]
            if self._closed:
                return
            try:
                good = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception as error:  # noqa: BLE001  an exporter may raise anything; the spans are then lost
                HEALTH.fault(f"the exporter raised {type(error).__name__}: {error}")
                return
            with self._lock:
                if self._closed or not good:
                    return
                self._delivered += len(batch)


def _exporter(settings: Settings) -> SpanExporter:
    # What it would say of a dead endpoint is counted here and stands in the health line.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    region = re.search(r"//xray\.([a-z0-9-]+)\.amazonaws\.com", settings.traces_endpoint)
    session: Any = _signed_session(region[1]) if region else None
    return OTLPSpanExporter(timeout=max(1.0, settings.flush_s), session=session)


def _signed_session(region: str) -> Any:  # noqa: ANN401  a requests.Session
    """Return a session that signs with SigV4, as AWS's own OTLP endpoint asks for.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
    """
    import requests  # noqa: PLC0415  only for this endpoint
    from botocore.auth import SigV4Auth  # noqa: PLC0415  same
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415  same
    from botocore.session import Session  # noqa: PLC0415  same

    credentials = Session().get_credentials()
    if credentials is None:
        raise LookupError("no AWS credentials to sign traces with; give the function a role, or unset the endpoint")

    def sign(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        signed = AWSRequest(prepared.method, prepared.url, {"Content-Type": "application/x-protobuf"}, prepared.body)
        SigV4Auth(credentials, "xray", region).add_auth(signed)
        prepared.headers.update(dict(signed.headers.items()))
        return prepared

    session = requests.Session()
    session.auth = sign
    return session
