"""The lines of a step: its log line and its EMF line, written together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.catalog.function import TELEMETRY_HEALTH
from telemetry.engine.health import HEALTH, say
from telemetry.engine.recording import Guard, Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.engine.embedded import EmbeddedMetrics
    from telemetry.engine.logs import Logs
    from telemetry.engine.steps import Step
    from telemetry.engine.writer import LineWriter


class Lines(Recorder):
    """Writes both lines of every step in one go, which costs half of two; each is guarded alone.

    With `console`, logs go to standard error for people, and only metrics are written.
    """

    def __init__(
        self, writer: LineWriter, logs: Logs | None, metrics: EmbeddedMetrics | None, *, console: bool
    ) -> None:
        self._writer = writer
        self._console = console
        self._log = Guard(logs.render) if logs is not None else None
        self._metric = Guard(metrics.render) if metrics is not None else None
        self._event = Guard(logs.render_event) if logs is not None else None

    def end(self, step: Step) -> None:
        log = self._log(step) if self._log is not None else None
        metric = self._metric(step) if self._metric is not None else None
        if log is not None and self._console:
            say(log)
            log = None
        written = self._writer.write(*[line for line in (log, metric) if line is not None])
        if not written and step.row is TELEMETRY_HEALTH:
            HEALTH.give_back(step.fields)

    def event(self, level: str, name: str, keys: Mapping[str, object]) -> None:
        line = self._event(level, name, keys) if self._event is not None else None
        if line is None:
            return
        if self._console:
            say(line)
        else:
            self._writer.write(line)
