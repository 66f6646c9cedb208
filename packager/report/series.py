"""Values over the time of a run, in bins of equal length, made from its samples."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packager.report.recording import ProgressSample

BINS = 120
MAX_STAGES = 8


@dataclass(frozen=True, slots=True)
class BinnedLine:
    """One line of a chart; `values` has one number a bin."""

    name: str
    values: Sequence[float]

    @property
    def peak(self) -> float:
        return max(self.values, default=0.0)


@dataclass(frozen=True, slots=True)
class StageFigures:
    """A stage in numbers: its bytes, the seconds from its first to its last, and the most memory meanwhile."""

    name: str
    size_bytes: int
    duration_s: float
    peak_memory_bytes: int


def speeds(samples: Sequence[ProgressSample], duration_s: float) -> list[BinnedLine]:
    """Bytes per second of each stage; the largest MAX_STAGES by bytes, those beyond them as one."""
    width_s = max(duration_s, 1e-9) / BINS
    edges = [width_s * number for number in range(BINS + 1)]
    made = {}
    for stage in _stages(samples):
        totals = [_done_at(samples, stage, edge) for edge in edges]
        made[stage] = [(after - before) / width_s for before, after in pairwise(totals)]
    names = list(made)
    kept = [BinnedLine(name, made[name]) for name in names[:MAX_STAGES]]
    rest = [made[name] for name in names[MAX_STAGES:]]
    if rest:
        kept.append(BinnedLine(f"{len(rest)} more", [sum(values) for values in zip(*rest, strict=True)]))
    return kept


def memory(samples: Sequence[ProgressSample], duration_s: float) -> BinnedLine:
    """The most memory in each bin; a bin without a sample has what the one before had."""
    bins = [0.0] * BINS
    for sample in samples:
        at = min(BINS - 1, int(sample.at_s / max(duration_s, 1e-9) * BINS))
        bins[at] = max(bins[at], sample.resident_bytes)
    last = next((value for value in bins if value), 0.0)
    for number, value in enumerate(bins):
        last = bins[number] = value or last
    return BinnedLine("memory", bins)


def stages(samples: Sequence[ProgressSample]) -> list[StageFigures]:
    """Every stage that read bytes, largest first."""
    found = []
    for name in _stages(samples):
        done = [(sample.at_s, sample.done_bytes.get(name, 0)) for sample in samples]
        total = done[-1][1]
        began_s = max((at for at, size in done if not size), default=0.0)
        ended_s = min(at for at, size in done if size == total)
        held = [sample.resident_bytes for sample in samples if began_s <= sample.at_s <= ended_s]
        found.append(StageFigures(name, total, max(0.0, ended_s - began_s), max(held, default=0)))
    return found


def _stages(samples: Sequence[ProgressSample]) -> list[str]:
    totals = samples[-1].done_bytes if samples else {}
    return sorted(totals, key=lambda name: (-totals[name], name))


def _done_at(samples: Sequence[ProgressSample], stage: str, at_s: float) -> float:
    """Bytes done by then, as if they came evenly between two samples."""
    after = bisect_right(samples, at_s, key=lambda sample: sample.at_s)
    if not after:
        return 0.0
    one = samples[after - 1]
    done = one.done_bytes.get(stage, 0)
    if after == len(samples):
        return done
    other = samples[after]
    share = (at_s - one.at_s) / max(other.at_s - one.at_s, 1e-9)
    return done + (other.done_bytes.get(stage, 0) - done) * share
