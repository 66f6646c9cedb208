"""A plugin of pytest that counts how often each promise was tried and held: `-p tests.reliability.plugin`.

Each run of a test counts once, unless it says otherwise: `record_property("tried", 200)`, and `"held"` when fewer held
than were tried and the promise allows it; `record_property("longest_s", 3.1)` where a time is promised. What was
skipped is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.reliability.promises import PROMISES

if TYPE_CHECKING:
    import pytest

    from tests.reliability.promises import Promise


@dataclass
class Count:
    """Of one promise in one run. `failed` and `skipped` name tests; `longest_s` is what the slowest took."""

    tried: int = 0
    held: int = 0
    longest_s: float = 0.0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, report: pytest.TestReport) -> None:
        self.longest_s = max(self.longest_s, *(n for key, n in report.user_properties if key == "longest_s"), 0.0)
        said = {name: sum(n for key, n in report.user_properties if key == name) for name in ("tried", "held")}
        if report.skipped:
            self.skipped.append(_case(report.nodeid))
        elif report.failed:
            self.tried += said["tried"] or 1
            self.held += said["held"]
            self.failed.append(_case(report.nodeid))
        elif report.when == "call":
            tried = said["tried"] or 1
            self.tried += tried
            self.held += said["held"] if any(key == "held" for key, _ in report.user_properties) else tried


class Tally:
    """Counts by promise, of a run on one machine in any number of processes."""

    def __init__(self, promises: tuple[Promise, ...] = PROMISES) -> None:
        self.counts = {promise: Count() for promise in promises}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for promise, count in self.counts.items():
            if promise.is_tried_by(report.nodeid):
                count.add(report)


class Chosen:
    """Leaves tests out that try no promise."""

    def __init__(self, promises: tuple[Promise, ...]) -> None:
        self._promises = promises

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = [each for each in items if any(promise.is_tried_by(each.nodeid) for promise in self._promises)]
        config.hook.pytest_deselected(items=[each for each in items if each not in kept])
        items[:] = kept


def _case(nodeid: str) -> str:
    return nodeid.rpartition("::")[2]
