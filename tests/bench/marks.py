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
    """What packaging one kind of input must reach."""

    faster_than_portal: float
    faster_than_bsdtar: float
    over_limit: float
    peak_mib: float


MARKS = {"a": Marks(8, 7, 1.35, 96), "c": Marks(12, 12, 1.6, 96), "d": Marks(3, 2, 8, 128)}
SIZE_OVER_ZLIB_6 = 1.03
MEMORY_GROWTH = 1.10
S3_PEAK_MIB = 128
SHARE = 1.0


def rows(name: str, runs: Mapping[str, Sequence[Run]], *, full_size: bool) -> Iterator[Row]:
    """The rows of one input. Of a cut input, start-up is so large a part that its time over the limit only informs."""
    marks = MARKS[name[0]]
    ours = _wall_s(runs, OURS)
    yield Row(name, "faster than the portal's way", _over(_wall_s(runs, PORTAL), ours), marks.faster_than_portal, True)
    yield Row(name, "faster than bsdtar", _over(_wall_s(runs, BSDTAR), ours), marks.faster_than_bsdtar, True)
    over_limit = marks.over_limit if full_size else None
    yield Row(name, "time over igzip alone", _over(ours, _wall_s(runs, LIMIT)), over_limit)
    yield Row(name, "peak memory", peak_mib(runs[OURS]), marks.peak_mib, unit="MiB")
    yield Row(name, "scratch", max(run.scratch_bytes for run in runs[OURS]), 0, unit="bytes")
    sizes = [runs[peer][0].out_bytes if runs.get(peer) else None for peer in (OURS, PORTAL)]
    yield Row(name, "size over zlib level 6", _over(*sizes), SIZE_OVER_ZLIB_6)


def peak_mib(runs: Sequence[Run]) -> float:
    return median(run.peak_bytes for run in runs) / MIB


def _wall_s(runs: Mapping[str, Sequence[Run]], peer: str) -> float | None:
    return median(run.wall_s for run in runs[peer]) if runs.get(peer) else None


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
