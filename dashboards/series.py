"""Recorded samples of metrics, and the statistics CloudWatch makes of them per period."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from dashboards.errors import DefinitionError, UnsupportedError
from dashboards.model import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Values = list[float | None]
"""One value per step of a grid, None where there is no data."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of `step_s` from `start_s` (epoch seconds) on; a value at step i speaks of [start + i, start + i + 1)."""

    start_s: int
    step_s: int
    length: int

    @property
    def end_s(self) -> int:
        return self.start_s + self.step_s * self.length


@dataclass(frozen=True, slots=True)
class Sample:
    """A value seen `count` times at one moment."""

    time_s: float
    value: float
    count: float = 1


@dataclass
class Store:
    """Samples by metric, with their unit when one was recorded."""

    samples: dict[Metric, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    units: dict[Metric, str] = field(default_factory=dict)

    def add(self, metric: Metric, sample: Sample) -> None:
        self.samples[metric].append(sample)

    def span_s(self) -> tuple[float, float] | None:
        """Return the first and the last moment recorded, None when there is nothing."""
        times = [sample.time_s for sample in chain.from_iterable(self.samples.values())]
        return (min(times), max(times)) if times else None

    def steps(self, metric: Metric, grid: Grid) -> list[list[Sample]]:
        """Return the samples of every step of the grid."""
        steps: list[list[Sample]] = [[] for _ in range(grid.length)]
        for sample in self.samples.get(metric, ()):
            index = int((sample.time_s - grid.start_s) // grid.step_s)
            if 0 <= index < grid.length:
                steps[index].append(sample)
        return steps

    def statistic(self, metric: Metric, statistic: str, grid: Grid, width: int = 1) -> Values:
        """Return the statistic of the `width` steps that end with each step (a sliding window when above 1)."""
        return _sliding(self.steps(metric, grid), statistic, width)


def _sliding(steps: list[list[Sample]], statistic: str, width: int) -> Values:
    counts = _rolled([sum(sample.count for sample in step) if step else 0 for step in steps], width, sum)
    match statistic:
        case "SampleCount":
            values: Sequence[float] = counts
        case "Sum" | "Average":
            values = _rolled([_sum(step) if step else 0.0 for step in steps], width, math.fsum)
            if statistic == "Average":
                values = [value / (count or 1) for value, count in zip(values, counts, strict=True)]
        case "Minimum":
            values = _rolled([min((s.value for s in step), default=math.inf) for step in steps], width, min)
        case "Maximum":
            values = _rolled([max((s.value for s in step), default=-math.inf) for step in steps], width, max)
        case _:
            fraction = percentile(statistic)
            ends = range(1, len(steps) + 1)
            windows = (chain.from_iterable(steps[max(0, end - width) : end]) for end in ends)
            values = [_percentile(list(window), fraction) for window in windows]
    return [value if count else None for value, count in zip(values, counts, strict=True)]


def _sum(step: list[Sample]) -> float:
    if len(step) == 1:
        return step[0].value * step[0].count
    return math.fsum(sample.value * sample.count for sample in step)


def _rolled(values: list[float], width: int, work: Callable[[list[float]], float]) -> list[float]:
    """Return `work` over the `width` values that end with each one."""
    if width == 1:
        return values
    return [work(values[max(0, end - width) : end]) for end in range(1, len(values) + 1)]


def percentile(statistic: str) -> float:
    """Return `p99.9` as 0.999; raise UnsupportedError for a statistic that is not evaluated here."""
    match = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?|100)", statistic)
    if not match:
        raise UnsupportedError(
            f"statistic {statistic!r}; evaluated are SampleCount, Sum, Average, Minimum, Maximum and pNN"
        )
    return float(match[1]) / 100


def _percentile(samples: list[Sample], fraction: float) -> float:
    # Linear between ranks. CloudWatch approximates in logarithmic bins, so its last digits may differ.
    if not samples:
        return 0.0
    ordered = sorted(samples, key=lambda sample: sample.value)
    ranks = list(accumulate(sample.count for sample in ordered))
    position = fraction * (ranks[-1] - 1)
    low = ordered[min(bisect_left(ranks, math.floor(position) + 1), len(ordered) - 1)].value
    high = ordered[min(bisect_left(ranks, math.ceil(position) + 1), len(ordered) - 1)].value
    return low + (high - low) * (position - math.floor(position))


_ITEM = re.compile(
    r"(?P<none>_)(?:x(?P<gaps>\d+))?"
    r"|(?P<value>-?[\d.]+(?:e[+-]?\d+)?)(?:\*(?P<count>\d+))?(?:(?P<step>[+-][\d.]+)?x(?P<more>\d+))?"
)


def parse_notation(text: str) -> list[Sample | None]:
    """Return the samples of a compact series, time_s counting steps.

    As in `promtool test rules`: `1 2 3`, `_` no data, `_x5` five times none, `4x3` 4 and three more,
    `1+2x3` is 1 3 5 7, `10-1x2` is 10 9 8. Ours: `5*200` is the value 5 seen 200 times within the step.
    """
    samples: list[Sample | None] = []
    for item in text.split():
        match = _ITEM.fullmatch(item)
        if not match:
            raise DefinitionError(f"{item!r} is no value; write 5, 5x3, 1+2x3, 5*200, _ or _x3")
        if match["none"]:
            samples += [None] * int(match["gaps"] or 1)
            continue
        value, step = float(match["value"]), float(match["step"] or 0)
        for number in range(int(match["more"] or 0) + 1):
            samples.append(Sample(len(samples), value + number * step, float(match["count"] or 1)))
    return samples


def parse_metric(text: str, dimensions: Mapping[str, str] | None = None) -> Metric:
    """Return `Namespace/Name{a=b,c=d}` as a metric; the last slash parts namespace and name."""
    match = re.fullmatch(r"(?P<namespace>[^{}]+)/(?P<name>[^/{}]+?)(?:\{(?P<dimensions>.*)\})?", text.strip())
    if not match:
        raise DefinitionError(f"{text!r} is no metric; write Namespace/Name or Namespace/Name{{dimension=value}}")
    pairs = dict(dimensions or {})
    for pair in filter(None, (match["dimensions"] or "").split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise DefinitionError(f"{pair!r} in {text!r} is no dimension; write name=value")
        pairs[name.strip()] = value.strip()
    return Metric(match["namespace"], match["name"], tuple(sorted(pairs.items())))
