"""What the figures have to reach, and whether they did."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.peers import BSDTAR, LIMIT, OURS, PORTAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.runs import Run

MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One figure beside its mark; `found` is None when a peer was missing, `mark` when the figure only informs."""

    input: str
    what: str
    found: float | None
    mark: float | None = None
    at_least: bool = False
    unit: str = "x"

    @property
    def passed(self) -> bool | None:
        if self.found is None or self.mark is None:
            return None
        return self.found >= self.mark if self.at_least else self.found <= self.mark


@dataclass(frozen=True)
class Marks:
    """What packaging one kind of input must reach; None where nothing is demanded."""

    faster_than_portal: float
    faster_than_bsdtar: float
    wall_over_limit: float | None
    cpu_over_limit: float | None
    size_over_source: float


MARKS = {
    "a": Marks(10, 9, 1.15, 1.6, 1.005),
    "c": Marks(22, 20, 1.3, 1.9, 1.02),
    "d": Marks(7, 4, None, None, 1.05),
}
PEAK_MIB, S3_PEAK_MIB = 64, 96
SENT_MIB = 16
MANY_MIB = 256
MEMORY_GROWTH = 1.10
START_UP_CPU_MS = 180
SHARE = 1.0
COLD_START = 1.3


def rows(name: str, runs: Mapping[str, Sequence[Run]], source_bytes: int, *, full_size: bool) -> Iterator[Row]:
    """The rows of one input. Of a cut input, start-up is so large a part that what it takes over igzip only informs."""
    marks = MARKS[name[0]]
    ours = wall_s(runs, OURS)
    yield Row(name, "faster than the portal's way", over(wall_s(runs, PORTAL), ours), marks.faster_than_portal, True)
    yield Row(name, "faster than bsdtar", over(wall_s(runs, BSDTAR), ours), marks.faster_than_bsdtar, True)
    limits = (marks.wall_over_limit, marks.cpu_over_limit) if full_size else (None, None)
    yield Row(name, "wall over igzip alone", over(ours, wall_s(runs, LIMIT)), limits[0])
    yield Row(name, "CPU over igzip alone", over(cpu_s(runs, OURS), cpu_s(runs, LIMIT)), limits[1])
    yield Row(name, "size over the source's packing", runs[OURS][0].out_bytes / source_bytes, marks.size_over_source)
    yield Row(name, "peak memory", peak_mib(runs[OURS]), PEAK_MIB, unit="MiB")
    yield Row(name, "scratch", max(run.scratch_bytes for run in runs[OURS]), 0, unit="bytes")


def peak_mib(runs: Sequence[Run]) -> float:
    return median(run.peak_bytes for run in runs) / MIB


def wall_s(runs: Mapping[str, Sequence[Run]], peer: str) -> float | None:
    return median(run.wall_s for run in runs[peer]) if runs.get(peer) else None


def cpu_s(runs: Mapping[str, Sequence[Run]], peer: str) -> float | None:
    return median(run.cpu_s for run in runs[peer]) if runs.get(peer) else None


def over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
