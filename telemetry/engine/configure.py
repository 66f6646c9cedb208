"""Where telemetry goes: a folder for people, standard output for Lambda. Each lasts as long as its `with` block."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from telemetry.engine.health import HEALTH
from telemetry.engine.lines import Lines, LineWriter
from telemetry.engine.observing import attached, emit, observe
from telemetry.engine.settings import Settings

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import SpanProcessor

    from telemetry.engine.embedded import EmbeddedMetrics
    from telemetry.engine.logs import Logs
    from telemetry.engine.otlp import Export
    from telemetry.engine.otlp_metrics import OtlpMetrics
    from telemetry.engine.steps import Recorder
    from telemetry.engine.vocabulary import Vocabulary

T = TypeVar("T")
STDOUT = 1


class Pipeline:
    """What is recorded to, as long as it lasts; what `to_directory` and `to_stdout` give."""

    def __init__(self, vocabulary: Vocabulary, settings: Settings, export: Export | None) -> None:
        self.vocabulary = vocabulary
        self.settings = settings
        self._export = export
        self.metrics: OtlpMetrics | None = None

    def flush(self, timeout_s: float | None = None) -> int:
        """Send what waits for an endpoint and return how many spans and points were lost; bounded, never raises.

        Default: the settings' `flush_s`, for spans and metrics together. Lines need no flush, they are written at once.
        """
        until_s = time.monotonic() + (self.settings.flush_s if timeout_s is None else timeout_s)
        lost = 0
        try:
            if self.metrics is not None:
                self.metrics.start()
            if self._export is not None:
                lost += self._export.flush(timeout_s)
            if self.metrics is not None:
                lost += self.metrics.finish(until_s - time.monotonic())
        except Exception as error:  # noqa: BLE001  the last thing an invocation does must not fail it
            HEALTH.fault("the flush raised", error)
        return lost

    def report_health(self) -> None:
        """Write the health line: what was written, cut and lost since the one before."""
        taken = HEALTH.take()
        with observe(self.vocabulary.health, **taken):
            pass

    def close(self, timeout_s: float | None = None) -> None:
        """Write the health line, flush, and when the flush lost something, say so in one more line."""
        self.report_health()
        if self.flush(timeout_s):
            self.report_health()


@contextmanager
def to_directory(vocabulary: Vocabulary, path: Path, settings: Settings | None = None) -> Iterator[Pipeline]:
    """Record into `telemetry.jsonl` (EMF and log lines as CloudWatch would get them) and `spans.jsonl` (OTLP in JSON).

    The folder is made when it is not there; what is there is appended to. Raises OSError when it cannot be written:
    that is the caller's wish failing, not a recorder.
    """
    settings = settings or Settings.from_environ()
    path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lines = LineWriter.to_file(path / "telemetry.jsonl")
        stack.callback(lines.close)
        spans = LineWriter.to_file(path / "spans.jsonl")
        stack.callback(spans.close)
        with _recording(vocabulary, settings, lines, spans) as pipeline:
            yield pipeline


@contextmanager
def to_stdout(vocabulary: Vocabulary, settings: Settings | None = None) -> Iterator[Pipeline]:
    """Record to standard output, from which Lambda feeds CloudWatch; spans go to the settings' endpoint, if any."""
    with _recording(vocabulary, settings or Settings.from_environ(), LineWriter(STDOUT), None) as pipeline:
        yield pipeline


def import_early(settings: Settings) -> None:
    """Import what `to_stdout` needs with these settings, and make none of it: a snapshot of the process may follow."""
    wanted = ["spans", "propagation", "logs"]
    wanted += ["otlp"] if settings.traces_endpoint else []
    wanted += ["otlp_metrics"] if settings.metrics_endpoint else []
    for name in wanted:
        with suppress(ImportError):  # said when it is made
            import_module(f"telemetry.engine.{name}")
    if settings.emf:
        with suppress(ImportError):
            from telemetry.engine.embedded import library  # noqa: PLC0415  imports aws-embedded-metrics

            library()


@contextmanager
def _recording(
    vocabulary: Vocabulary, settings: Settings, lines: LineWriter, spans: LineWriter | None
) -> Iterator[Pipeline]:
    vocabulary = vocabulary.in_stage(settings.stage)
    export = _export(settings)
    processors: list[SpanProcessor] = [export] if export is not None else []
    if spans is not None:
        written = _made(lambda: _span_lines(spans))
        processors += [written] if written is not None else []
    pipeline = Pipeline(vocabulary, settings, export)
    with attached(*_recorders(pipeline, lines, processors)):
        try:
            yield pipeline
        finally:
            pipeline.close()


def _recorders(pipeline: Pipeline, writer: LineWriter, processors: list[SpanProcessor]) -> list[Recorder]:
    """Return the recorders, ids first; what cannot be made is counted and left out."""
    vocabulary, settings = pipeline.vocabulary, pipeline.settings

    def spans() -> Recorder:
        from telemetry.engine.spans import Spans  # noqa: PLC0415  imports OpenTelemetry

        return Spans(vocabulary, settings, *processors)

    def metrics() -> EmbeddedMetrics:
        from telemetry.engine.embedded import EmbeddedMetrics  # noqa: PLC0415  imports aws-embedded-metrics

        return EmbeddedMetrics(vocabulary, settings.platform_level)

    def logs() -> Logs:
        from telemetry.engine.logs import Logs  # noqa: PLC0415  only where something is recorded

        if settings.console:
            return Logs.for_people(settings.log_level, colors=sys.stderr.isatty())
        return Logs.as_json(settings.log_level, settings.platform_level)

    emf = _made(metrics) if settings.emf else None
    lines = Lines(writer, _made(logs), emf, health=vocabulary.health, console=settings.console)
    pipeline.metrics = _metrics(vocabulary, settings)
    return [each for each in (_made(spans), lines, pipeline.metrics) if each is not None]


def _metrics(vocabulary: Vocabulary, settings: Settings) -> OtlpMetrics | None:
    if not settings.metrics_endpoint:
        return None
    try:
        from telemetry.engine.otlp_metrics import OtlpMetrics  # noqa: PLC0415  wanted only with an endpoint

        return OtlpMetrics(vocabulary, settings)
    except ImportError as error:
        HEALTH.fault("no metrics are exported; install opentelemetry-exporter-otlp-proto-http", error)
    except Exception as error:  # noqa: BLE001  a bad endpoint setting must not stop the work
        HEALTH.fault("no metrics are exported", error)
    return None


def _made(make: Callable[[], T]) -> T | None:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  the work goes on with what can be recorded
        HEALTH.fault("a part of telemetry is missing", error)
        return None


def library_logs(settings: Settings) -> logging.Handler:
    """Return a handler by which the standard module's log records become lines beside ours."""
    from telemetry.engine.logs import LibraryLogs  # noqa: PLC0415  same as above

    return LibraryLogs(emit, settings.log_level)


def _export(settings: Settings) -> Export | None:
    if not settings.traces_endpoint:
        return None
    try:
        from telemetry.engine.otlp import Export  # noqa: PLC0415  imports protobuf and requests, wanted only with an endpoint

        return Export(settings)
    except ImportError as error:
        HEALTH.fault("no spans are exported; install opentelemetry-exporter-otlp-proto-http", error)
    except Exception as error:  # noqa: BLE001  a bad endpoint setting must not stop the work
        HEALTH.fault("no spans are exported", error)
    return None


def _span_lines(writer: LineWriter) -> SpanProcessor:
    from telemetry.engine.otlp_file import SpanLines  # noqa: PLC0415  imports OpenTelemetry

    return SpanLines(writer)
