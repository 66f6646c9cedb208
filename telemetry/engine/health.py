"""What telemetry knows of itself: counted everywhere, reported by the next health line."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COUNTS = ("lines_written", "lines_trimmed", "lines_lost", "spans_lost", "points_lost", "faults")
"""Of the health row's metrics those that are counted; `endpoint_dead` is a state."""


class Health:
    """Counters since the last report, safe for threads. A fault is also said once per text on standard error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._first = ""
        self._said: set[str] = set()
        self.endpoint_dead = 0
        self.listeners: list[Callable[[str], None]] = []

    def count(self, name: str, more: int = 1) -> None:
        """Add to one of COUNTS."""
        with self._lock:
            self._counts[name] += more

    def fault(self, text: str, error: BaseException | None = None) -> None:
        """Count a fault of telemetry or of its use, and say it once on standard error; never raises."""
        if error is not None:
            text = f"{text}: {type(error).__name__}: {text_of(error)}"
        text = text[:300]
        with self._lock:
            self._counts["faults"] += 1
            self._first = self._first or text
            new = text not in self._said and len(self._said) < 100  # noqa: PLR2004  enough for people, bounded for memory
            self._said.add(text) if new else None
        for listener in self.listeners:
            listener(text)
        if new and not self.listeners:
            say(f"telemetry: {text}")

    def take(self) -> dict[str, int | str]:
        """Return the figures since the last call, as fields of the health row, and begin again at zero."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            first, self._first = self._first, ""
        taken: dict[str, int | str] = {name: counts[name] for name in COUNTS}
        taken["endpoint_dead"] = self.endpoint_dead
        if first:
            taken["first_fault"] = first
        return taken

    def give_back(self, taken: Mapping[str, Any]) -> None:
        """Count again what `take` gave, because the line with these figures could not be written."""
        with self._lock:
            for name in COUNTS:
                self._counts[name] += taken.get(name, 0)
            self._first = taken.get("first_fault") or self._first


def text_of(error: BaseException) -> str:
    """Return the text of an exception, also of one whose own `__str__` raises."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001  a foreign __str__ may do anything
        return f"<{type(error).__name__}, whose text failed with {type(fault).__name__}>"


def say(line: str) -> None:
    """Write a line to standard error, for people."""
    try:
        sys.stderr.write(f"{line}\n")
    except (OSError, ValueError, AttributeError):
        return  # a closed standard error is nothing to fail for


HEALTH = Health()
"""The one of this process."""
