"""Recorded samples of metrics, and the statistics that CloudWatch makes of them per period."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple

from dashboards.cloudwatch.errors import UnsupportedError
from dashboards.cloudwatch.statistics import Statistic, parse_statistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dashboards.cloudwatch.alarm import Metric

Values = list[float | None]
"""One value per step of a grid, None where there is no data."""

_EXACT = 2.0**53
"""Whole numbers below it are exact as floats, and so are their sums."""

_NARROW = 30
"""Windows of so many steps are added up one by one, which is as exact; wider ones by differences of whole numbers."""


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
    """A value seen `count` times at one moment (epoch seconds)."""

    time_s: float
    value: float
    count: float = 1


class StatisticSet(NamedTuple):
    """What many values at one moment came to, without the values themselves."""

    time_s: float
    seen: float
    total: float
    low: float
    high: float


class Given(NamedTuple):
    """A statistic that CloudWatch has made already: its value for the period that begins at `time_s`."""

    time_s: float
    value: float
    period_s: int


@dataclass
class Column:
    """The samples of a metric in one unit, in three arrays: millions of them take 20 bytes each.

    Attributes:
        counts: How often each value was seen; empty as long as each was seen once.
        sets: Statistic sets, which percentiles cannot be made of.
        given: By statistic, what CloudWatch has returned of it.
    """

    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    counts: array[float] = field(default_factory=lambda: array("d"))
    sets: list[StatisticSet] = field(default_factory=list)
    given: dict[str, list[Given]] = field(default_factory=dict)

    def add(self, time_s: float, value: float, count: float = 1) -> None:
        if count != 1 and not self.counts:
            self.counts.extend([1.0] * len(self.values))
        self.times.append(time_s)
        self.values.append(value)
        if self.counts or count != 1:
            self.counts.append(count)

    def __len__(self) -> int:
        return len(self.values) + len(self.sets) + sum(map(len, self.given.values()))

    def __bool__(self) -> bool:
        return len(self) > 0

    def samples(self) -> Iterator[Sample]:
        counts = self.counts or [1.0] * len(self.values)
        yield from map(Sample, self.times, self.values, counts)

    def moments(self) -> Iterator[float]:
        """Yield when something was recorded."""
        yield from self.times
        yield from (each.time_s for each in self.sets)
        yield from (each.time_s for each in chain.from_iterable(self.given.values()))


@dataclass
class Store:
    """Samples by metric and unit.

    Attributes:
        columns: By metric, then by unit; a metric with none was named, and has no data.
        delays_s: By metric, how long after its time a sample arrives.
    """

    columns: dict[Metric, dict[str, Column]] = field(default_factory=dict)
    delays_s: dict[Metric, int] = field(default_factory=dict)
    _parts: dict[tuple[Metric, str | None, Grid], _Parts] = field(default_factory=dict, repr=False)

    def add(self, metric: Metric, sample: Sample, unit: str = "") -> None:
        self.column(metric, unit).add(sample.time_s, sample.value, sample.count)

    def column(self, metric: Metric, unit: str = "") -> Column:
        """Return the samples of a metric in a unit, to add to."""
        self._parts.clear()
        units = self.columns.setdefault(metric, {})
        return units[unit] if unit in units else units.setdefault(unit, Column())

    def declare(self, metric: Metric) -> None:
        """Say that a metric is there, though without data."""
        self.columns.setdefault(metric, {})

    def extend(self, other: Store, shift_s: float = 0) -> None:
        """Add what another store holds, so much later."""
        for metric, units in other.columns.items():
            self.declare(metric)
            for unit, column in units.items():
                mine = self.column(metric, unit)
                for sample in column.samples():
                    mine.add(sample.time_s + shift_s, sample.value, sample.count)
                mine.sets += [each._replace(time_s=each.time_s + shift_s) for each in column.sets]

    @property
    def metrics(self) -> Mapping[Metric, Mapping[str, Column]]:
        """The metrics that were recorded or named."""
        return self.columns

    def unit_of(self, metric: Metric | None) -> str:
        """Return the unit that a metric was recorded in first, empty when it was in none."""
        return next((unit for unit in self.columns.get(metric, {}) if unit not in {"", "None"}), "") if metric else ""

    def span_s(self) -> tuple[float, float] | None:
        """Return the first and the last moment recorded, None when there is nothing."""
        ends = [
            (min(column.moments()), max(column.moments()))
            for units in self.columns.values()
            for column in units.values()
            if column
        ]
        return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None

    def columns_of(self, metric: Metric, unit: str | None = None) -> list[Column]:
        """Return the samples of a metric in a unit, of every unit without one. What was given no unit fits any."""
        units = self.columns.get(metric, {})
        return [column for name, column in units.items() if unit is None or name in {unit, ""}]

    def statistic(self, metric: Metric, statistic: str, grid: Grid, width: int = 1, unit: str | None = None) -> Values:
        """Return the statistic of the `width` steps that end with each step (a sliding window when above 1)."""
        found = parse_statistic(statistic)
        columns = self.columns_of(metric, unit)
        if any(column.given for column in columns):
            return _given(columns, statistic, grid, width)
        key = (metric, unit, grid)
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts[key] = _Parts(columns, grid)
        return parts.distribution(found, width) if isinstance(found, Statistic) else parts.basic(found, width)


class _Parts:
    """The samples of a metric by step of a grid, and what is made of them, each made once.

    Attributes:
        single: The value of each step, when none has more than one sample that was seen once; else None.
    """

    def __init__(self, columns: Sequence[Column], grid: Grid) -> None:
        self.grid = grid
        self.columns = columns
        self._made: dict[str, list[float]] = {}
        self.single = self._single()

    def _single(self) -> Values | None:
        if len(self.columns) != 1 or self.columns[0].counts or self.columns[0].sets:
            return None
        regular = _regular(self.columns[0], self.grid)
        if regular is not None:
            return regular
        start_s, step_s = self.grid.start_s, self.grid.step_s
        # Whole numbers as floats are found by the whole numbers themselves.
        steps = [(time - start_s) // step_s for time in self.columns[0].times]
        placed: dict[float, float] = dict(zip(steps, self.columns[0].values, strict=True))
        return [*map(placed.get, range(self.grid.length))] if len(placed) == len(steps) else None

    def basic(self, statistic: str, width: int) -> Values:
        if width == 1 and self.single is not None and statistic != "SampleCount":
            return self.single
        counts = self._rolled("counts", width)
        match statistic:
            case "SampleCount":
                values = counts
            case "Sum":
                values = self._rolled("sums", width)
            case "Average":
                sums = self._rolled("sums", width)
                values = [total / (count or 1) for total, count in zip(sums, counts, strict=True)]
            case "Minimum":
                values = rolled(self._by_step("lows"), width, min)
            case _:
                values = rolled(self._by_step("highs"), width, max)
        return [value if count else None for value, count in zip(values, counts, strict=True)]

    def _rolled(self, what: str, width: int) -> list[float]:
        name = f"{what} {width}"
        if name not in self._made:
            self._made[name] = rolled_sum(self._by_step(what), width)
        return self._made[name]

    def _by_step(self, what: str) -> list[float]:
        if what not in self._made:
            if self.single is None:
                self._collect()
            else:
                self._made[what] = _ONE[what](self.single)
        return self._made[what]

    def _collect(self) -> None:
        """Make count, sum, lowest and highest value of every step."""
        length = self.grid.length
        made = {
            "counts": [0.0] * length,
            "sums": [0.0] * length,
            "lows": [math.inf] * length,
            "highs": [-math.inf] * length,
        }
        several: dict[int, list[float]] = defaultdict(list)
        counts, sums, lows, highs = made.values()
        for column in self.columns:
            each = column.counts or [1.0] * len(column.values)
            for step, value, count in zip(self.steps(column.times), column.values, each, strict=True):
                if not 0 <= step < length:
                    continue
                if counts[step]:
                    several[step].append(value * count)
                    lows[step], highs[step] = min(lows[step], value), max(highs[step], value)
                else:
                    sums[step], lows[step], highs[step] = value * count, value, value
                counts[step] += count
            for one, step in zip(column.sets, self.steps([one.time_s for one in column.sets]), strict=True):
                if 0 <= step < length:
                    several[step].append(one.total)
                    counts[step] += one.seen
                    lows[step], highs[step] = min(lows[step], one.low), max(highs[step], one.high)
        for step, values in several.items():
            sums[step] = math.fsum([sums[step], *values])
        self._made.update(made)

    def steps(self, times: Sequence[float]) -> list[int]:
        start_s, step_s = self.grid.start_s, self.grid.step_s
        return [int((time - start_s) // step_s) for time in times]

    def distribution(self, statistic: Statistic, width: int) -> Values:
        """Return a statistic that needs the values themselves; None where they were sent as sums only."""
        if statistic.kind == "p" and not any(column.counts or column.sets for column in self.columns):
            return _percentiles(self._values(), self.grid.length, width, statistic.high or 0.0)
        members, closed = self._members()
        ordered: list[tuple[float, float]] = []
        values: Values = []
        hidden = 0
        for end in range(self.grid.length):
            changed = end - width in members or end in members or not values or closed
            for pair in members.get(end - width, ()) if end >= width else ():
                del ordered[bisect_left(ordered, pair)]
            for pair in members.get(end, ()):
                insort(ordered, pair)
            hidden += (end in closed) - (end >= width and end - width in closed)
            values.append((statistic.of(ordered) if ordered and not hidden else None) if changed else values[-1])
        return values

    def _values(self) -> Mapping[int, Sequence[float]]:
        """Return the values of each step, each of which was seen once."""
        if self.single is not None:
            return {step: (value,) for step, value in enumerate(self.single) if value is not None}
        found: dict[int, list[float]] = defaultdict(list)
        for column in self.columns:
            for step, value in zip(self.steps(column.times), column.values, strict=True):
                found[step].append(value)
        return found

    def _members(self) -> tuple[dict[int, list[tuple[float, float]]], set[int]]:
        """Return the values of each step, and the steps with a statistic set of which values are not known.

        CloudWatch makes percentiles of a statistic set only of one value, or of values that are all the same.
        """
        members: dict[int, list[tuple[float, float]]] = defaultdict(list)
        closed: set[int] = set()
        for column in self.columns:
            each = column.counts or [1.0] * len(column.values)
            for step, value, count in zip(self.steps(column.times), column.values, each, strict=True):
                members[step].append((value, count))
            for one, step in zip(column.sets, self.steps([one.time_s for one in column.sets]), strict=True):
                if one.seen == 1 or one.low == one.high:
                    members[step].append((one.low, one.seen))
                else:
                    closed.add(step)
        return members, closed


def _regular(column: Column, grid: Grid) -> Values | None:
    """Return the values by step of samples that come once a step without a gap; None of any others."""
    times, step_s = column.times, grid.step_s
    first = int(times[0]) if times and math.isfinite(times[0]) else 0
    if times != array("d", range(first, first + len(times) * step_s, step_s)):
        return None
    ahead = (first - grid.start_s) // step_s
    before = min(max(0, ahead), grid.length)
    values: Values = [None] * before
    values += column.values[max(0, -ahead) : max(0, grid.length - ahead)]
    return values + [None] * (grid.length - len(values))


_ONE: dict[str, Callable[[Values], list[float]]] = {
    "counts": lambda values: [0.0 if value is None else 1.0 for value in values],
    "sums": lambda values: [0.0 if value is None else value for value in values],
    "lows": lambda values: [math.inf if value is None else value for value in values],
    "highs": lambda values: [-math.inf if value is None else value for value in values],
}
"""What steps with one sample each come to."""


def _percentiles(steps: Mapping[int, Sequence[float]], length: int, width: int, fraction: float) -> Values:
    """Return a percentile of values that were each seen once: where it lies is known without counting."""
    ordered: list[float] = []
    values: Values = []
    nothing: Sequence[float] = ()
    for end in range(length):
        for value in steps.get(end - width, nothing) if end >= width else nothing:
            del ordered[bisect_left(ordered, value)]
        for value in steps.get(end, nothing):
            insort(ordered, value)
        if not ordered:
            values.append(None)
            continue
        position = fraction * (len(ordered) - 1)
        rank = int(position)
        low = ordered[rank]
        high = ordered[rank + 1] if rank < position else low
        values.append(low + (high - low) * (position - rank))
    return values


def _given(columns: Sequence[Column], statistic: str, grid: Grid, width: int) -> Values:
    """Return a statistic out of what CloudWatch has returned: itself, or added up over the window where that is right.

    A statistic at its own period stands until the next one: CloudWatch returns a window a period, not sliding ones.
    """
    window_s = width * grid.step_s
    if statistic == "Average" and not _fits(columns, "Average", window_s):
        sums, counts = (_given(columns, name, grid, width) for name in ("Sum", "SampleCount"))
        return [a / b if a is not None and b else None for a, b in zip(sums, counts, strict=True)]
    points = [each for column in columns for each in column.given.get(statistic, ())]
    if not points:
        there = sorted({name for column in columns for name in column.given})
        raise UnsupportedError(f"{statistic} was not among what CloudWatch returned: {', '.join(there) or 'nothing'}")
    period_s = max(each.period_s for each in points)
    if period_s == window_s and (period_s > grid.step_s or width == 1):
        return _held(points, grid, width)
    work = _ADDED.get(statistic)
    if work is None or window_s % period_s or period_s % grid.step_s:
        raise UnsupportedError(
            f"{statistic} of {period_s} s says nothing of {window_s} s; fetch it with the calls of `queries`"
        )
    steps: dict[int, float] = {int((each.time_s - grid.start_s) // grid.step_s): each.value for each in points}
    behind = period_s // grid.step_s - 1
    placed = [steps.get(step - behind) for step in range(grid.length)]
    return [work(known) if (known := _known(placed, end, width)) else None for end in range(1, grid.length + 1)]


def _fits(columns: Sequence[Column], statistic: str, window_s: int) -> bool:
    return any(each.period_s == window_s for column in columns for each in column.given.get(statistic, ()))


def _known(placed: Values, end: int, width: int) -> list[float]:
    return [value for value in placed[max(0, end - width) : end] if value is not None]


def _held(points: Sequence[Given], grid: Grid, width: int) -> Values:
    """Return what stands at each step: the value of the newest period that has ended, for as long as a period."""
    values: Values = [None] * grid.length
    for each in sorted(points):
        first = int((each.time_s + each.period_s - grid.start_s) // grid.step_s) - 1
        for step in range(max(0, first), min(grid.length, first + width)):
            values[step] = each.value
    return values


_ADDED: dict[str, Callable[[Sequence[float]], float]] = {
    "Sum": math.fsum,
    "SampleCount": math.fsum,
    "Minimum": min,
    "Maximum": max,
}


def rolled_sum(values: list[float], width: int) -> list[float]:
    """Return the sum of the `width` values that end with each one, rounded once: as whole numbers nothing is lost."""
    if width == 1:
        return values
    if all(map(float.is_integer, values)) and sum(map(abs, values)) < _EXACT:
        sums = [0.0, *accumulate(values)]
        return [*sums[1:width], *map(float.__sub__, sums[width:], sums)]
    if width <= _NARROW:
        return [*_begun(values[: width - 1]), *map(math.fsum, zip(*(values[n:] for n in range(width)), strict=False))]
    ratios = [value.as_integer_ratio() for value in values]
    scale = max((denominator for _, denominator in ratios), default=1)
    ends = [0, *accumulate(numerator * (scale // denominator) for numerator, denominator in ratios)]
    return [(ends[end] - ends[max(0, end - width)]) / scale for end in range(1, len(ends))]


def _begun(values: list[float]) -> list[float]:
    return [math.fsum(values[: end + 1]) for end in range(len(values))]


def rolled(values: list[float], width: int, work: Callable[..., float]) -> list[float]:
    """Return `work` over the `width` values that end with each one: the end of one block and the beginning of the next.

    https://doi.org/10.1016/0167-8655(92)90069-C (van Herk): three times `work` for each value, however wide the window.
    """
    if width == 1:
        return values
    if width <= _NARROW:
        return [*accumulate(values[: width - 1], work), *map(work, *(values[n:] for n in range(width)))]
    begun: list[float] = []
    left: list[float] = []
    for start in range(0, len(values), width):
        block = values[start : start + width]
        begun += accumulate(block, work)
        left += reversed([*accumulate(reversed(block), work)])
    return [*begun[: width - 1], *map(work, left, begun[width - 1 :])]
