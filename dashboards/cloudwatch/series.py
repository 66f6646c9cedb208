"""Recorded samples of metrics, and the statistics CloudWatch makes of them per period."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError

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
    counts = _rolled_sum([sum(sample.count for sample in step) if step else 0 for step in steps], width)
    match statistic:
        case "SampleCount":
            values: Sequence[float] = counts
        case "Sum" | "Average":
            values = _rolled_sum([_sum(step) if step else 0.0 for step in steps], width)
            if statistic == "Average":
                values = [value / (count or 1) for value, count in zip(values, counts, strict=True)]
        case "Minimum":
            values = _rolled([min((s.value for s in step), default=math.inf) for step in steps], width, min)
        case "Maximum":
            values = _rolled([max((s.value for s in step), default=-math.inf) for step in steps], width, max)
        case _:
            values = _rolled_percentile(steps, width, percentile(statistic))
    return [value if count else None for value, count in zip(values, counts, strict=True)]


def _sum(step: list[Sample]) -> float:
    if len(step) == 1:
        return step[0].value * step[0].count
    return math.fsum(sample.value * sample.count for sample in step)


def _rolled_sum(values: list[float], width: int) -> list[float]:
    """Return the sum of the `width` values that end with each one, rounded once: as whole numbers nothing is lost."""
    if width == 1:
        return values
    ratios = [value.as_integer_ratio() for value in values]
    scale = max((denominator for _, denominator in ratios), default=1)
    ends = [0, *accumulate(numerator * (scale // denominator) for numerator, denominator in ratios)]
    return [(ends[end] - ends[max(0, end - width)]) / scale for end in range(1, len(ends))]


def _rolled(values: list[float], width: int, work: Callable[[float, float], float]) -> list[float]:
    """Return `work` over the `width` values that end with each one: the end of one block and the beginning of the next.

    https://doi.org/10.1016/0167-8655(92)90069-C (van Herk): three times `work` for each value, however wide the window.
    """
    begun: list[float] = []
    left: list[float] = []
    for start in range(0, len(values), width):
        block = values[start : start + width]
        begun += accumulate(block, work)
        left += reversed([*accumulate(reversed(block), work)])
    return [
        value if end < width or (end + 1) % width == 0 else work(left[end - width + 1], value)
        for end, value in enumerate(begun)
    ]


def _rolled_percentile(steps: list[list[Sample]], width: int, fraction: float) -> list[float]:
    ordered: list[tuple[float, float]] = []
    weighted = any(sample.count != 1 for sample in chain.from_iterable(steps))
    values: list[float] = []
    for end, step in enumerate(steps):
        for sample in steps[end - width] if end >= width else ():
            del ordered[bisect_left(ordered, (sample.value, sample.count))]
        for sample in step:
            insort(ordered, (sample.value, sample.count))
        values.append(_percentile(ordered, fraction, weighted=weighted) if ordered else 0.0)
    return values


def percentile(statistic: str) -> float:
    """Return `p99.9` as 0.999; raise UnsupportedError for a statistic that is not evaluated here."""
    match = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?|100)", statistic)
    if not match:
        raise UnsupportedError(
            f"statistic {statistic!r}; evaluated are SampleCount, Sum, Average, Minimum, Maximum and pNN"
        )
    return float(match[1]) / 100


def _percentile(ordered: list[tuple[float, float]], fraction: float, *, weighted: bool) -> float:
    # Linear between ranks. CloudWatch approximates in logarithmic bins, so its last digits may differ.
    ranks: Sequence[float] = [*accumulate(count for _, count in ordered)] if weighted else range(1, len(ordered) + 1)
    position = fraction * (ranks[-1] - 1)
    low = ordered[min(bisect_left(ranks, math.floor(position) + 1), len(ordered) - 1)][0]
    high = ordered[min(bisect_left(ranks, math.ceil(position) + 1), len(ordered) - 1)][0]
    return low + (high - low) * (position - math.floor(position))


_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_ITEM = re.compile(
    r"(?P<none>_)(?:x(?P<gaps>\d+))?"
    rf"|(?P<value>-?{_NUMBER}(?:e[+-]?\d+)?)(?:\*(?P<count>\d+))?(?:(?P<step>[+-]{_NUMBER})?x(?P<more>\d+))?"
)


def parse_notation(text: str) -> list[Sample | None]:
    """Return the samples of a compact series, time_s counting steps.

    As in `promtool test rules`: `1 2 3`, `_` no data, `_x5` five times none, `4x3` 4 and three more,
    `1+2x3` is 1 3 5 7, `10-1x2` is 10 9 8. Ours: `5*200` is the value 5 seen 200 times within the step.
    """
    samples: list[Sample | None] = []
    for item in text.split():
        match = _ITEM.fullmatch(item)
        if not match or not math.isfinite(float(match["value"] or 0)):
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
