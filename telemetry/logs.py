"""Logs: one canonical line for each step, and lines of their own for events; JSON for machines, colours for people."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from telemetry.emf import MAX_LINE_BYTES
from telemetry.errors import error_details, stack
from telemetry.observing import Recorder, Step, bound, current
from telemetry.values import fitted, plain, rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.types import FilteringBoundLogger, Processor

    from telemetry.writer import LineWriter

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Sink:
    """What structlog hands finished lines to."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = write


class Logs(Recorder):
    """Writes log lines. Nothing global is configured: the host's own structlog stays as it is."""

    def __init__(self, write: Callable[[str], None], level: str, renderer: Processor) -> None:
        # Wrapped by hand: structlog.wrap_logger makes a lazy proxy that is built again at every call.
        bound_logger: Any = structlog.make_filtering_bound_logger(LEVELS[level])
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        processors = [structlog.processors.add_log_level, stamp, renderer]
        self._log: FilteringBoundLogger = bound_logger(_Sink(write), processors, {})

    @classmethod
    def as_json(cls, writer: LineWriter, level: str) -> Logs:
        """Return logs as JSON lines through the one writer."""
        return cls(writer.write, level, structlog.processors.JSONRenderer(serializer=_json_line))

    @classmethod
    def for_people(cls, level: str, *, colors: bool) -> Logs:
        """Return logs for a terminal, on standard error: standard output is for results."""
        renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        return cls(lambda line: print(line, file=sys.stderr), level, renderer)  # noqa: T201  the very purpose

    def end(self, step: Step) -> None:
        values = rendered(step)
        keys: dict[str, Any] = {
            **values.dimension_fields,
            **values.properties,
            **values.metrics,
            "outcome": step.outcome,
            "duration_ms": round(step.duration_ms, 3),
            **ids(step),
        }
        if step.outcome == "success":
            self._log.info(step.row.name, **keys)
        else:
            self._log.error(step.row.name, **keys, **error_details(step))

    def event(self, level: str, name: str, keys: Mapping[str, object]) -> None:
        step = current()
        context = step.context if step is not None else bound()
        fixed = {**{key: plain(value) for key, value in context.items()}, **(ids(step) if step is not None else {})}
        shown = {key: plain(value) for key, value in keys.items()}
        self._log.log(LEVELS[level], name, **{**fixed, **shown})


def ids(step: Step) -> dict[str, str]:
    """Return the ids by which lines and spans of one step are joined."""
    return {"trace_id": step.trace_id, "span_id": step.span_id} if step.trace_id else {}


def _json_line(document: dict[str, Any], **_: object) -> str:
    line = json.dumps(document, default=str)
    return line if len(line) <= MAX_LINE_BYTES else json.dumps(fitted(document), default=str)


class LibraryLogs(logging.Handler):
    """Takes what other libraries log through the standard module to the same writer, as lines of the same form."""

    def __init__(self, logs: Logs, level: str) -> None:
        super().__init__(LEVELS[level])
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = record.levelname.lower() if record.levelname.lower() in LEVELS else "error"
            keys: dict[str, Any] = {"message": record.getMessage(), "logger": record.name}
            if record.exc_info and record.exc_info[1] is not None:
                keys["stack"] = stack(record.exc_info[1])
            self._logs.event(level, "LibraryLog", keys)
        except Exception:  # noqa: BLE001  logging's own convention for handlers that fail
            self.handleError(record)
