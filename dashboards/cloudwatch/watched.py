"""What a metric alarm compares: at each evaluation the values of the periods it looks back on, marked good or bad."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from math import gcd, isclose
from typing import TYPE_CHECKING

from dashboards.cloudwatch import metric_math
from dashboards.cloudwatch.alarm import Comparison, Metric
from dashboards.cloudwatch.metric_functions import Scope, Series
from dashboards.cloudwatch.schedules import boundaries_s
from dashboards.cloudwatch.series import Grid, Store, Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.cloudwatch.alarm import MetricAlarm, Query

GOOD, BAD, NONE = "0", "X", "-"
Band = tuple[Series, Series]


def band_metric(alarm: str, bound: str) -> Metric:
    """Return the metric that holds a bound (`lower`, `upper`) of the band that somebody gave for an alarm."""
    return Metric("ANOMALY_DETECTION_BAND", bound, (("Alarm", alarm),))


@dataclass
class Watched:
    """The values of a sliding window by step of a grid; the value at a step is that of the period that ends with it.

    Attributes:
        lead: Steps before the grid that values and marks begin with: the first evaluation looks back on them.
        enough: Whether a percentile has samples enough to be judged, by step; empty when that does not matter.
    """

    alarm: MetricAlarm
    grid: Grid
    lead: int
    led_values: Values
    marks: str
    enough: Sequence[bool] = ()

    @property
    def values(self) -> Values:
        """The value of each step of the grid."""
        return self.led_values[self.lead :]

    @property
    def stride(self) -> int:
        """Steps from one period to the next."""
        return self.alarm.period_s // self.grid.step_s

    @property
    def every(self) -> int:
        """Steps from one evaluation to the next."""
        return self.alarm.interval_s // self.grid.step_s

    @property
    def reach(self) -> int:
        """Steps from the oldest period of the evaluation range to the newest."""
        return (self.alarm.evaluation_range - 1) * self.stride

    def window(self, step: int) -> str:
        """Return the marks of the evaluation range that ends with a step, oldest first."""
        return self.marks[step + self.lead - self.reach : step + self.lead + 1 : self.stride]

    def window_values(self, step: int) -> Sequence[float | None]:
        """Return the values of the evaluation range that ends with a step, oldest first."""
        return self.led_values[step + self.lead - self.reach : step + self.lead + 1 : self.stride]

    def evaluations(self) -> tuple[list[int], list[str]]:
        """Return the steps at which the alarm is judged, and the marks that it is judged by.

        Of steps with the same window one after the other only the first is there, where that is easily seen.
        """
        marks, width, stride = self.marks[self.lead - self.reach :], self.reach + 1, self.stride
        steps: list[int] = []
        for span in self._spans(marks):
            steps += span
        if self.enough:
            steps = [step for step in steps if self.enough[step]]
        return steps, [marks[step : step + width : stride] for step in steps]

    def _spans(self, marks: str) -> Iterator[range]:
        """Yield ranges of steps between which everything that an evaluation sees is alike, and was so before."""
        step, every, end = self.first(), self.every, self.grid.length
        for begins, ends in _uniform(marks, self.reach + every) if not self.enough else ():
            # The first step whose window lies in the run is judged, and the first whose window leaves it.
            inside = step + max(0, -(-(begins - step) // every)) * every
            leaves = step + max(0, (ends - self.reach - 1 - step) // every + 1) * every
            if leaves > inside + every:
                yield range(step, min(inside + every, end), every)
                step = leaves
        yield range(step, end, every)

    def first(self) -> int:
        """Return the step after which the alarm is judged first: at once, or when its warm-up is over."""
        warm_up, every = self.alarm.warm_up, self.every
        if warm_up is None:
            return every - 1
        last = -(-warm_up.duration_s // self.alarm.interval_s) * every - 1
        if warm_up.whole:
            return last
        reach = (self.alarm.periods - 1) * self.stride
        full = (
            step
            for step in range(every - 1, self.grid.length, every)
            if NONE not in self.marks[step + self.lead - reach : step + self.lead + 1 : self.stride]
        )
        return min(last, next(full, last))

    def end_of(self, step: int) -> int:
        """Return the moment (epoch seconds) at which the periods that end with a step are judged."""
        return self.grid.start_s + (step + 1) * self.grid.step_s

    def since(self, step: int, back: int) -> int:
        """Return when the step began whose values made a period bad; `back` is 1 for the newest period."""
        return self.grid.start_s + (step - (back - 1) * self.stride) * self.grid.step_s

    def window_at(self, time_s: float) -> tuple[str, tuple[float | None, ...]]:
        """Return marks and values of the evaluation range that was judged last before a moment."""
        interval_s = self.alarm.interval_s
        last = int((time_s - self.grid.start_s) // interval_s * interval_s // self.grid.step_s) - 1
        last = max(-1, min(last, self.grid.length - 1))
        return self.window(last), tuple(self.window_values(last))


@dataclass
class Retrieved(Watched):
    """A sliding window whose values depend on each other, or arrive late: each evaluation has values of its own."""

    windows: Sequence[tuple[str, Sequence[float | None]]] = field(default_factory=list)

    def window(self, step: int) -> str:
        return self.windows[max(0, step)][0]

    def window_values(self, step: int) -> Sequence[float | None]:
        return self.windows[max(0, step)][1]

    def evaluations(self) -> tuple[list[int], list[str]]:
        steps = range(self.first(), self.grid.length, self.every)
        wanted = [step for step in steps if not self.enough or self.enough[step]]
        return wanted, [self.windows[step][0] for step in wanted]


@dataclass
class Clocked:
    """The values of periods on the wall clock: a step is a period, judged when it has ended."""

    alarm: MetricAlarm
    bounds_s: Sequence[int]
    values: Values
    marks: str

    def evaluations(self) -> tuple[list[int], list[str]]:
        warm_up = self.alarm.warm_up
        ready_s = self.bounds_s[0] + warm_up.duration_s if warm_up and self.bounds_s else 0
        marks, width = NONE * (self.alarm.evaluation_range - 1) + self.marks, self.alarm.evaluation_range
        steps = [step for step in range(len(self.marks)) if self.end_of(step) >= ready_s]
        return steps, [marks[step : step + width] for step in steps]

    def end_of(self, step: int) -> int:
        return self.bounds_s[step + 1]

    def since(self, step: int, back: int) -> int:
        return self.bounds_s[max(0, step - (back - 1))]

    def window_at(self, time_s: float) -> tuple[str, tuple[float | None, ...]]:
        """Return marks and values of the evaluation range that was judged last before a moment."""
        step, width = bisect_right(self.bounds_s, time_s) - 2, self.alarm.evaluation_range
        first = max(0, step + 1 - width)
        seen = self.marks[first : max(0, step + 1)]
        kept = self.values[first : max(0, step + 1)]
        return seen.rjust(width, NONE), (*[None] * (width - len(kept)), *kept)


def _uniform(marks: str, longer: int) -> list[tuple[int, int]]:
    """Return where long runs of one mark begin and end."""
    pattern = re.compile(rf"{GOOD}{{{longer + 1},}}|{BAD}{{{longer + 1},}}|{NONE}{{{longer + 1},}}")
    return [match.span() for match in pattern.finditer(marks)]


def watch(alarm: MetricAlarm, store: Store, start_s: int, end_s: int) -> Watched | Clocked:
    """Return what an alarm compares between two moments."""
    if alarm.wall_clock is not None:
        return _clocked(alarm, store, start_s, end_s)
    step_s = gcd(alarm.interval_s, alarm.period_s)
    grid = Grid(start_s, step_s, max(0, end_s - start_s) // step_s)
    lead = alarm.evaluation_range * (alarm.period_s // step_s)
    led = Grid(start_s - lead * step_s, step_s, lead + grid.length)
    enough = _enough(alarm, store, grid)
    delay_s = max((store.delays_s.get(metric, 0) for metric in alarm.metrics), default=0)
    if delay_s or metric_math.looks_back(alarm):
        windows = _retrieved(alarm, store, led, lead)
        values = [None] * lead + [kept[-1] for _, kept in windows]
        marks = NONE * lead + "".join(shown[-1] for shown, _ in windows)
        return Retrieved(alarm, grid, lead, values, marks, enough, windows)
    values, band = _pointwise(alarm, store, led, start_s)
    return Watched(alarm, grid, lead, values, _marks(alarm, values, band), enough)


def _pointwise(alarm: MetricAlarm, store: Store, grid: Grid, began_s: int) -> tuple[Values, Band | None]:
    """Return the value of the period that ends with each step, and the band beside it."""
    width = alarm.period_s // grid.step_s
    metrics = {
        query.id: Series(store.statistic(query.metric, query.statistic, grid, width, query.unit), query.metric.name)
        for query in alarm.queries
        if query.metric
    }
    first_s = grid.start_s + grid.step_s - alarm.period_s
    starts_s = range(first_s, first_s + grid.length * grid.step_s, grid.step_s)
    scope = _scope(alarm, metrics, starts_s, _band(alarm, store, grid, width), began_s)
    series, band = metric_math.watched(alarm, scope)
    return series.values, band


def _scope(
    alarm: MetricAlarm, metrics: dict[str, Series], starts_s: Sequence[int], band: Band | None, began_s: int
) -> Scope:
    return Scope(starts_s, alarm.period_s, metrics, dict(metrics), band=band, began_s=began_s, alarm=True)


def _band(alarm: MetricAlarm, store: Store, grid: Grid, width: int) -> Band | None:
    lower, upper = (band_metric(alarm.name, bound) for bound in ("lower", "upper"))
    if not {lower, upper} <= store.metrics.keys():
        return None
    return Series(store.statistic(lower, "Average", grid, width)), Series(
        store.statistic(upper, "Average", grid, width)
    )


def _retrieved(alarm: MetricAlarm, store: Store, grid: Grid, lead: int) -> list[tuple[str, Sequence[float | None]]]:
    """Return each evaluation's own values: those of the periods of its range, as far as they have arrived."""
    width, count = alarm.period_s // grid.step_s, alarm.evaluation_range
    rows = {
        query.id: _arrived(store, query, query.metric, grid, (width, count)) for query in alarm.queries if query.metric
    }
    bands = _band(alarm, store, grid, width)
    seen: dict[object, tuple[str, Sequence[float | None]]] = {}
    windows: list[tuple[str, Sequence[float | None]]] = []
    timed, began_s = metric_math.tells_time(alarm), grid.start_s + lead * grid.step_s
    for step in range(lead, grid.length):
        steps = range(step - (count - 1) * width, step + 1, width)
        metrics = {name: tuple(column[step] for column in columns) for name, columns in rows.items()}
        band = bands and (_cut(bands[0], steps), _cut(bands[1], steps))
        key = (tuple(metrics.values()), band and (tuple(band[0].values), tuple(band[1].values)), timed and step)
        if key not in seen:
            end_s = grid.start_s + (step + 1) * grid.step_s
            starts_s = range(end_s - count * alarm.period_s, end_s, alarm.period_s)
            series = {name: Series(list(values)) for name, values in metrics.items()}
            found, against = metric_math.watched(alarm, _scope(alarm, series, starts_s, band, began_s))
            seen[key] = _marks(alarm, found.values, against), found.values
        windows.append(seen[key])
    return windows


def _cut(series: Series, steps: range) -> Series:
    return Series([series.values[step] for step in steps])


def _arrived(store: Store, query: Query, metric: Metric, grid: Grid, span: tuple[int, int]) -> list[Values]:
    """Return for each period of the range (so many steps, so many periods), oldest first, its value at each step.

    What is late is not there yet: of a period that ended before it arrived only the part that had arrived is seen.
    """
    width, count = span
    late = -(-store.delays_s.get(metric, 0) // grid.step_s)
    columns: list[Values] = []
    for back in range((count - 1) * width, -1, -width):
        hidden = max(0, late - back)
        if hidden >= width:
            columns.append([None] * grid.length)
            continue
        whole = store.statistic(metric, query.statistic, grid, width - hidden, query.unit)
        shift = max(back, late)
        columns.append(([None] * shift + whole)[: grid.length])
    return columns


def _clocked(alarm: MetricAlarm, store: Store, start_s: int, end_s: int) -> Clocked:
    """Return what an alarm compares whose periods keep to the clock: the periods that ended since the start."""
    bounds_s = boundaries_s(alarm.period_s, alarm.wall_clock or "UTC", start_s, end_s)
    length = max(0, len(bounds_s) - 1)
    metrics = {query.id: Series([None] * length, query.metric.name) for query in alarm.queries if query.metric}
    bands: Band = (Series([None] * length), Series([None] * length))
    known = _band(alarm, store, Grid(0, 1, 0), 1) is not None
    for step in range(length):
        grid = Grid(bounds_s[step], bounds_s[step + 1] - bounds_s[step], 1)
        for query in alarm.queries:
            if query.metric:
                metrics[query.id].values[step] = store.statistic(query.metric, query.statistic, grid, 1, query.unit)[0]
        given = _band(alarm, store, grid, 1)
        for series, bound in zip(bands, given or (), strict=False):
            series.values[step] = bound.values[0]
    scope = _scope(alarm, metrics, bounds_s[:length], bands if known else None, start_s)
    series, band = metric_math.watched(alarm, scope)
    return Clocked(alarm, bounds_s, series.values, _marks(alarm, series.values, band))


def _enough(alarm: MetricAlarm, store: Store, grid: Grid) -> Sequence[bool]:
    """Tell per step whether a percentile has the samples it needs, where few samples are to be ignored."""
    fraction, metric = alarm.percentile, alarm.watched.metric
    if not alarm.ignore_low_samples or fraction is None or metric is None:
        return ()
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html
    rarer = min(fraction, 1 - fraction) if fraction < 1 else 0.0
    needed = 10 / rarer if rarer else float("inf")
    width = alarm.periods * alarm.period_s // grid.step_s
    counts = store.statistic(metric, "SampleCount", grid, width, alarm.watched.unit)
    return [count is not None and (count >= needed or isclose(count, needed)) for count in counts]


def _marks(alarm: MetricAlarm, values: Values, band: Band | None) -> str:
    """Return what each value is to the alarm: good, breaching, or missing."""
    limit = alarm.threshold
    match alarm.comparison:
        case Comparison.GREATER:
            marks = [NONE if value is None else BAD if value > limit else GOOD for value in values]
        case Comparison.GREATER_OR_EQUAL:
            marks = [NONE if value is None else BAD if value >= limit else GOOD for value in values]
        case Comparison.LESS:
            marks = [NONE if value is None else BAD if value < limit else GOOD for value in values]
        case Comparison.LESS_OR_EQUAL:
            marks = [NONE if value is None else BAD if value <= limit else GOOD for value in values]
        case _:
            marks = [
                _outside(alarm.comparison, *each) for each in zip(values, *_bounds(band, len(values)), strict=True)
            ]
    return "".join(marks)


def _bounds(band: Band | None, length: int) -> tuple[Values, Values]:
    return (band[0].values, band[1].values) if band else ([None] * length, [None] * length)


def _outside(comparison: Comparison, value: float | None, lower: float | None, upper: float | None) -> str:
    if value is None or lower is None or upper is None:
        return NONE
    below, above = (
        value < lower and comparison is not Comparison.ABOVE,
        value > upper and comparison is not Comparison.BELOW,
    )
    return BAD if below or above else GOOD
