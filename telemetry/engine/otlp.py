"""Export over OTLP that never holds the work: bounded in memory, bounded in time, and every loss counted."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

from telemetry.engine.health import HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.engine.settings import Settings

    Send = Callable[[Sequence[Any]], int]

QUEUE = 2048
"""Spans kept for the flush; one invocation makes some hundreds."""
BATCH = 512


class Export(SpanProcessor):
    """Keeps finished spans and sends them when `flush` is called.

    Not the SDK's batch processor: its `force_flush` waited 6 to 10 s for a dead endpoint that it had been given 500 ms
    for, said True, and its thread sleeps through the freeze between two invocations.
    """

    def __init__(self, settings: Settings, send: Send | None = None) -> None:
        self._settings = settings
        self._send = send or Endpoint(settings).send
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
            delivered = Delivery(self._send, spans).within(self._settings.flush_s if timeout_s is None else timeout_s)
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


class Delivery:
    """One attempt to send, in a thread that is left behind when time is up: sockets cannot be told to hurry."""

    def __init__(self, send: Send, items: Sequence[Any]) -> None:
        self._send = send
        self._items = items
        self._delivered = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="telemetry-export", daemon=True)

    def within(self, timeout_s: float) -> int:
        """Return how many were acknowledged in that time."""
        self.start()
        return self.finish(timeout_s)

    def start(self) -> None:
        """Begin to send, without waiting."""
        if sys.is_finalizing():  # to start a thread would wait for ever
            return
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread is to be had, at the end of the interpreter for one
            HEALTH.fault("nothing can be sent", error)

    def finish(self, timeout_s: float) -> int:
        """Return how many are acknowledged after that time at most; what comes later counts as lost."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))
        with self._lock:
            self._closed = True
            return self._delivered

    def _run(self) -> None:
        for start in range(0, len(self._items), BATCH):
            if self._closed:
                return
            batch = self._items[start : start + BATCH]
            try:
                acknowledged = self._send(batch)
            except Exception as error:  # noqa: BLE001  an exporter may raise anything; the spans are then lost
                HEALTH.fault("the exporter raised", error)
                return
            with self._lock:
                if self._closed or not acknowledged:
                    return
                self._delivered += acknowledged


class Answers:
    """Reads the answers of an endpoint, and believes each only as far as it goes.

    The exporters take a redirect for a success, read answers of any length, and pass over what was rejected.
    """

    MAX_ANSWER_BYTES = 65_536

    def __init__(self, rejected_in: Callable[[bytes], int]) -> None:
        # What the exporter would say of a dead endpoint is counted here and stands in the health line.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._rejected_in = rejected_in
        self.rejected = threading.local()

    def session(self, address: str) -> requests.Session:
        """Return a session whose answers are read here; requests to AWS's own endpoints are signed."""
        session = requests.Session()
        session.stream = True  # an answer is read in `_read`, and no further
        session.hooks["response"] = [self._read]
        aws = re.search(r"//(xray|monitoring)\.([a-z0-9-]+)\.amazonaws\.com", address)
        if aws:
            session.auth = _signature(aws[1], aws[2])
        return session

    def _read(self, response: requests.Response, **_: object) -> None:
        """Look into an answer. What is raised here is to the exporter as if the endpoint had not answered."""
        with response:
            body = response.raw.read(self.MAX_ANSWER_BYTES, decode_content=True)
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if 300 <= response.status_code < 400 or kind == "text/html":  # noqa: PLR2004  redirects, which are not followed
            raise requests.RequestException(f"{response.status_code} {kind}: not what a collector answers")
        if response.ok and kind == "application/x-protobuf":
            self.rejected.count = self._rejected_in(body)


class Endpoint:
    """Sends spans over OTLP/HTTP."""

    def __init__(self, settings: Settings) -> None:
        self._answers = Answers(lambda body: ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans)
        self._exporter = OTLPSpanExporter(
            endpoint=settings.traces_endpoint,
            timeout=max(1.0, settings.flush_s),
            session=self._answers.session(settings.traces_endpoint),
        )

    def send(self, spans: Sequence[ReadableSpan]) -> int:
        """Return how many of the spans the endpoint acknowledged."""
        self._answers.rejected.count = 0
        good = self._exporter.export(spans) is SpanExportResult.SUCCESS
        return max(0, len(spans) - self._answers.rejected.count) if good else 0


def _signature(service: str, region: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what signs a request with SigV4, as AWS's own OTLP endpoint asks for.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
    """
    from botocore.auth import SigV4Auth  # noqa: PLC0415  only for this endpoint
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415  same
    from botocore.session import Session  # noqa: PLC0415  same

    session = Session()

    def sign(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        # Looked for here, in the thread of the flush: where nothing is set, botocore asks the network for them.
        credentials = session.get_credentials()
        if credentials is None:
            raise LookupError("no AWS credentials to sign with; give the function a role, or unset the endpoint")
        signed = AWSRequest(prepared.method, prepared.url, {"Content-Type": "application/x-protobuf"}, prepared.body)
        SigV4Auth(credentials.get_frozen_credentials(), service, region).add_auth(signed)
        prepared.headers.update(dict(signed.headers.items()))
        return prepared

    return sign
