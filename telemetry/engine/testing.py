"""Record what was observed and compare whole records; for tests."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telemetry.engine.health import HEALTH
from telemetry.engine.observing import attached
from telemetry.engine.steps import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from telemetry.engine.steps import Step


@dataclass(frozen=True)
class Record:
    """One observed step: which row, what was added, how it ended, and the name of the row around it."""

    row: str
    fields: Mapping[str, object] = field(default_factory=dict)
    outcome: str = "success"
    error: str = ""
    parent: str = ""
    context: Mapping[str, object] = field(default_factory=dict)


class _Memory(Recorder):
    def __init__(self) -> None:
        self.records: list[Record] = []
        self._lock = threading.Lock()

    def end(self, step: Step) -> None:
        record = Record(
            row=step.row.name,
            fields=dict(step.fields),
            outcome=step.outcome,
            error=type(step.error).__name__ if step.error is not None else "",
            parent=step.parent.row.name if step.parent is not None else "",
            context=dict(step.context),
        )
        with self._lock:
            self.records.append(record)


@contextmanager
def recorded() -> Iterator[list[Record]]:
    """Give the list of records, in the order in which steps end.

    Raises AssertionError at the end when anything used telemetry wrongly (an undeclared field, say), unless the work
    itself raised.
    """
    memory, faults = _Memory(), list[str]()
    HEALTH.listeners.append(faults.append)
    try:
        with attached(memory):
            yield memory.records
    finally:
        HEALTH.listeners.remove(faults.append)
    if faults:
        raise AssertionError("telemetry was used wrongly:\n" + "\n".join(faults))
