"""Logs: one canonical line for each step, and lines of their own for events; JSON for machines, colours for people."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from telemetry.engine.emf import MAX_LINE_BYTES
from telemetry.engine.failures import DEFAULT_NEXT_STEP, error_details, stack
from telemetry.engine.health import HEALTH
from telemetry.engine.observing import bound, current
from telemetry.engine.values import fitted, iso_time, json_encoder, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.engine.steps import Step

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Logs:
    """Renders log lines: `render_line` makes a text of a line's keys.

    Where the platform drops lines below `platform_level`, levels have the platform's names.
    """

    def __init__(self, level: str, render_line: Callable[[dict[str, Any]], str], platform_level: str = "") -> None:
        self.level = level
        self._least = LEVELS[level]
        self._render_line = render_line
        self._warning = "warn" if platform_level else "warning"
        self._platform_level = platform_level

    @classmethod
    def as_json(cls, level: str, platform_level: str = "") -> Logs:
        """Return logs as JSON lines."""
        return cls(level, _json_line, platform_level)

    @classmethod
    def for_people(cls, level: str, *, colors: bool) -> Logs:
        """Return logs as lines for a terminal."""
        import structlog  # noqa: PLC0415  and with it rich: neither has a place in the start of a function

        show = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        return cls(level, lambda keys: str(show(None, "", keys)))

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
        level = "debug"
        if self._platform_level:
            shown["kept_level"] = "debug"
            level = {"trace": "debug", "warn": "warning", "fatal": "error"}.get(
                self._platform_level, self._platform_level
            )
        return self._rendered(level, str(plain(name)), shown)

    def _line(self, level: str, event: str, keys: dict[str, Any]) -> str | None:
        return self._rendered(level, event, keys) if LEVELS[level] >= self._least else None

    def _rendered(self, level: str, event: str, keys: dict[str, Any]) -> str:
        keys["event"] = event
        keys["level"] = self._warning if level == "warning" else level
        keys["timestamp"] = iso_time(time.time_ns())
        return self._render_line(keys)


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


_encode = json_encoder(default=str)


def _json_line(keys: dict[str, Any]) -> str:
    line = _encode(keys)
    return line if len(line) <= MAX_LINE_BYTES else _encode(fitted(keys))


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
