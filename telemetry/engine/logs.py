"""Logs: one canonical line for each step, and lines of their own for events; JSON for machines, colours for people."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, cast

import structlog

from telemetry.engine.emf import MAX_LINE_BYTES
from telemetry.engine.failures import DEFAULT_NEXT_STEP, error_details, stack
from telemetry.engine.health import HEALTH
from telemetry.engine.observing import bound, current
from telemetry.engine.values import fitted, iso_time, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.types import EventDict, FilteringBoundLogger, Processor

    from telemetry.engine.steps import Step

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Returning:
    """The logger below structlog's: it gives the finished line back, for the one who called to write."""

    def __init__(self) -> None:
        self.debug = self.info = self.warning = self.error = str


class Logs:
    """Renders log lines. Nothing global is configured: the host's own structlog stays as it is.

    Where the platform drops lines below `platform_level`, levels have the platform's names.
    """

    def __init__(self, level: str, renderer: Processor, platform_level: str = "") -> None:
        self.level = level
        self._platform_level = platform_level
        name_level = _add_platform_level if platform_level else structlog.processors.add_log_level
        processors = [_spread, name_level, _stamp, renderer]
        self._log = _logger_at(level, processors)
        self._all = _logger_at("debug", processors)

    @classmethod
    def as_json(cls, level: str, platform_level: str = "") -> Logs:
        """Return logs as JSON lines."""
        return cls(level, _json_line, platform_level)

    @classmethod
    def for_people(cls, level: str, *, colors: bool) -> Logs:
        """Return logs as lines for a terminal."""
        return cls(
            level, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        )

    def render(self, step: Step) -> str | None:
        """Return the canonical line of a step that has ended, or None when the level leaves it out."""
        values = step.rendered
        keys: dict[str, Any] = {
            **values.dimension_fields,
            **values.properties,
            **values.metrics,
            "outcome": step.outcome,
            "duration_ms": values.duration_ms,
            **_ids(step),
        }
        if step.outcome == "success":
            return self._line("info", step.row.name, keys)
        return self._line("error", step.row.name, {**keys, **error_details(step.error, with_stack=step.shows_stack)})

    def render_event(self, level: str, name: str, keys: Mapping[str, object]) -> str | None:
        """Return the line of something that is no step, or None when the level leaves it out."""
        if level not in LEVELS:
            HEALTH.fault(f"{plain(level)} is no level; say one of {', '.join(LEVELS)}")
            level = "error"
        shown = _shown(keys)
        if level == "error":
            shown.setdefault("next_step", DEFAULT_NEXT_STEP)
        return self._line(level, str(plain(name)), shown)

    def render_kept(self, name: str, keys: Mapping[str, object]) -> str:
        """Return a debug line whatever the level, to be kept; the platform's filter lets it pass when it is written."""
        shown = _shown(keys)
        if not self._platform_level:
            return cast("str", self._all.debug(str(plain(name)), keys=shown))
        shown["kept_level"] = "debug"
        level = {"trace": "debug", "warn": "warning", "fatal": "error"}.get(self._platform_level, self._platform_level)
        return cast("str", self._all.log(LEVELS[level], str(plain(name)), keys=shown))

    def _line(self, level: str, event: str, keys: dict[str, Any]) -> str | None:
        return cast("str | None", self._log.log(LEVELS[level], event, keys=keys))


def _logger_at(level: str, processors: list[Processor]) -> FilteringBoundLogger:
    # Wrapped by hand: structlog.wrap_logger makes a lazy proxy that is built again at every call.
    bound_logger: Any = structlog.make_filtering_bound_logger(LEVELS[level])
    logger: FilteringBoundLogger = bound_logger(_Returning(), processors, {})
    return logger


def _shown(keys: Mapping[str, object]) -> dict[str, Any]:
    step = current()
    context = step.context if step is not None else bound()
    shown: dict[str, Any] = {**context, **(_ids(step) if step is not None else {})}
    shown.update({key: plain(value) for key, value in keys.items()})
    return shown


def _ids(step: Step) -> dict[str, str]:
    """Return the ids of the step, that of the trace in X-Ray's form too, by which its console looks for lines."""
    ids = step.ids
    return {**ids, "xray_trace_id": f"1-{step.trace_id[:8]}-{step.trace_id[8:]}"} if ids else ids


def _add_platform_level(_logger: object, method: str, document: EventDict) -> EventDict:
    document["level"] = "warn" if method == "warning" else method
    return document


def _spread(_logger: object, _method: str, document: EventDict) -> EventDict:
    """Put the line's keys where they belong.

    They travel as one: structlog copies its keywords four times, and takes none by the name of a parameter of its own.
    """
    keys: EventDict = document["keys"]
    keys["event"] = document["event"]
    return keys


def _stamp(_logger: object, _method: str, document: EventDict) -> EventDict:
    """Add the time as structlog's TimeStamper does, whose own way of formatting takes three times as long."""
    document["timestamp"] = iso_time(time.time_ns())
    return document


_encode = json.JSONEncoder(default=str).encode  # json.dumps makes a new encoder for each line that has a default


def _json_line(_logger: object, _method: str, document: EventDict) -> str:
    """Render as structlog's JSONRenderer does, below the limit."""
    line = _encode(document)
    return line if len(line) <= MAX_LINE_BYTES else _encode(fitted(document))


class LibraryLogs(logging.Handler):
    """Takes what other libraries log through the standard module to the same writer, as lines of the same form."""

    def __init__(self, write: Callable[[str, str, Mapping[str, object]], None], level: str) -> None:
        super().__init__(LEVELS[level])
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = record.levelname.lower() if record.levelname.lower() in LEVELS else "error"
            keys: dict[str, Any] = {"message": record.getMessage(), "logger": record.name}
            if record.exc_info and record.exc_info[1] is not None:
                keys["stack"] = stack(record.exc_info[1])
            self._write(level, "LibraryLog", keys)
        except Exception:  # noqa: BLE001  logging's own convention for handlers that fail
            self.handleError(record)
