"""Alarms over time: the state of every alarm at every moment it is evaluated, and the actions that follow."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, isclose
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import Alarm, CompositeAlarm, MetricAlarm, Missing, State
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.metric_functions import Scope, Series
from dashboards.cloudwatch.metric_math import resolve
from dashboards.cloudwatch.rules import Rule, in_order, parse_rule
from dashboards.cloudwatch.series import Grid, Store, Values

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD, BAD, NONE = "0", "X", "-"


@dataclass(frozen=True, slots=True)
class Change:
    """From `time_s` on the alarm is in `state`.

    `since_s` is when the step began whose values made the oldest bad point of the window: a period slides by the step.
    """

    time_s: int
    state: State
    since_s: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """An alarm's changes of state, oldest first; before the first evaluation it is INSUFFICIENT_DATA.

    Attributes:
        values: For metric alarms the watched value per step of `grid`.
    """

    alarm: Alarm
    changes: tuple[Change, ...]
    grid: Grid
    values: tuple[float | None, ...] = ()

    def at(self, time_s: float) -> State:
        """Return the state at a moment."""
        index = bisect_right(self.changes, time_s, key=lambda change: change.time_s)
        return self.changes[index - 1].state if index else State.INSUFFICIENT_DATA

    @property
    def fired(self) -> tuple[Change, ...]:
        """Return the changes into ALARM."""
        return tuple(change for change in self.changes if change.state is State.ALARM)

    def window_at(self, time_s: float) -> tuple[str, tuple[float | None, ...]]:
        """Return pattern and values of the evaluation range that was judged last before a moment."""
        if not isinstance(self.alarm, MetricAlarm):
            return "", ()
        alarm, stride = self.alarm, self.alarm.period_s // self.grid.step_s
        last = int((time_s - self.grid.start_s) // alarm.interval_s * alarm.interval_s // self.grid.step_s) - 1
        steps = range(last - (alarm.evaluation_range - 1) * stride, last + 1, stride)
        kept = [self.values[step] if 0 <= step < len(self.values) else None for step in steps]
        return _marks(alarm, kept), tuple(kept)


def run(alarms: Mapping[str, Alarm], store: Store, start_s: int, end_s: int) -> dict[str, Timeline]:
    """Return the timeline of every alarm between two moments (epoch seconds), as if created at the start.

    A period is judged as soon as it has ended: CloudWatch's delay of ingestion comes on top.
    """
    lines = {
        name: metric_timeline(alarm, store, start_s, end_s)
        for name, alarm in alarms.items()
        if isinstance(alarm, MetricAlarm)
    }
    return with_composites(alarms, lines, start_s, end_s)


def with_composites(
    alarms: Mapping[str, Alarm], metric_lines: Mapping[str, Timeline], start_s: int, end_s: int
) -> dict[str, Timeline]:
    """Return the timelines of all alarms, those of the metric alarms being known."""
    lines = dict(metric_lines)
    composites = {name: alarm for name, alarm in alarms.items() if isinstance(alarm, CompositeAlarm)}
    rules = {name: parse_rule(alarm.rule) for name, alarm in composites.items()}
    grid = Grid(start_s, 60, max(0, end_s - start_s) // 60)
    for name in in_order(rules):
        unknown = (rules[name].children | ({composites[name].suppressor} - {None})) - alarms.keys()
        if unknown:
            raise DefinitionError(
                f"{name} watches {', '.join(sorted(map(str, unknown)))}, which is not among the alarms"
            )
        lines[name] = _composite_timeline(composites[name], rules[name], lines, grid)
    return {name: lines[name] for name in alarms}


def metric_timeline(alarm: MetricAlarm, store: Store, start_s: int, end_s: int) -> Timeline:
    """Return the timeline of a metric alarm."""
    step_s = gcd(alarm.interval_s, alarm.period_s)
    grid = Grid(start_s, step_s, max(0, end_s - start_s) // step_s)
    values = watched_values(alarm, store, grid)
    marks = _marks(alarm, values)
    stride, every = alarm.period_s // step_s, alarm.interval_s // step_s
    reach = (alarm.evaluation_range - 1) * stride
    padded = NONE * reach + marks
    enough = _enough_samples(alarm, store, grid)
    state, changes, treatment = State.INSUFFICIENT_DATA, [], alarm.treatment
    for step in range(_first_evaluation(alarm, marks, stride, every), grid.length, every):
        if not enough[step]:
            continue
        window = padded[step : step + reach + 1 : stride]
        judged = judge(window, alarm.datapoints, alarm.periods, treatment)
        if judged is not None and judged is not state:
            state = judged
            bad = _oldest_bad(window, alarm.periods)
            since_s = None if bad is None else grid.start_s + (step - (bad - 1) * stride) * step_s
            changes.append(Change(grid.start_s + (step + 1) * step_s, state, since_s))
    return Timeline(alarm, tuple(changes), grid, tuple(values))


def watched_values(alarm: MetricAlarm, store: Store, grid: Grid) -> Values:
    """Return the value the alarm compares per step: the statistic, or the expression, of the period that ends there."""
    width = alarm.period_s // grid.step_s
    metrics = {
        query.id: Series(store.statistic(query.metric, query.statistic, grid, width), query.metric.name)
        for query in alarm.queries
        if query.metric
    }
    scope = Scope(grid, alarm.period_s, width, metrics, dict(metrics), alarm=True)
    waiting = {query.id: query.expression for query in alarm.queries if query.expression}
    try:
        found = resolve(waiting, scope)[alarm.result] if waiting else [metrics[alarm.result]]
    except DashboardError as error:
        raise type(error)(f"{alarm.name}: {error}") from error
    if len(found) != 1:
        raise DefinitionError(f"{alarm.name}: the watched expression gives {len(found)} series; an alarm compares one")
    return found[0].values


def _oldest_bad(window: str, periods: int) -> int | None:
    """Return how many periods back the oldest bad point among the newest `periods` real ones began."""
    real = [back for back, mark in enumerate(reversed(window), 1) if mark != NONE][:periods]
    return max((back for back in real if window[-back] == BAD), default=None)


def _enough_samples(alarm: MetricAlarm, store: Store, grid: Grid) -> list[bool]:
    """Tell per step whether a percentile has the samples it needs, where few samples are to be ignored."""
    fraction = alarm.percentile
    if not alarm.ignore_low_samples or fraction is None:
        return [True] * grid.length
    metric = next(query.metric for query in alarm.queries if query.id == alarm.result)
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html
    needed = 10 / (1 - fraction) if fraction >= 0.5 else 10 / fraction  # noqa: PLR2004  the median
    width = alarm.periods * alarm.period_s // grid.step_s
    counts = store.statistic(metric, "SampleCount", grid, width) if metric else []
    return [count is not None and (count >= needed or isclose(count, needed)) for count in counts]


def _first_evaluation(alarm: MetricAlarm, marks: str, stride: int, every: int) -> int:
    """Return the step after which the alarm is judged first: at once, or when its warm-up is over."""
    if alarm.warm_up is None:
        return every - 1
    last = -(-alarm.warm_up.duration_s // alarm.interval_s) * every - 1
    if alarm.warm_up.whole:
        return last
    reach = (alarm.periods - 1) * stride
    full = (
        step
        for step in range(every - 1, len(marks), every)
        if step >= reach and NONE not in marks[step - reach : step + 1 : stride]
    )
    return min(last, next(full, last))


def _composite_timeline(alarm: CompositeAlarm, rule: Rule, lines: Mapping[str, Timeline], grid: Grid) -> Timeline:
    moments = {change.time_s for child in rule.children for change in lines[child].changes}
    changes: list[Change] = []
    for moment in sorted(moments | {grid.start_s}):
        state = State.ALARM if rule.holds({child: lines[child].at(moment) for child in rule.children}) else State.OK
        if not changes or changes[-1].state is not state:
            changes.append(Change(moment, state))
    return Timeline(alarm, tuple(changes), grid)


def _marks(alarm: MetricAlarm, values: Values) -> str:
    """Return what each value is to the alarm: good, breaching, or missing."""
    holds, threshold = alarm.comparison.holds, alarm.threshold
    return "".join(NONE if value is None else BAD if holds(value, threshold) else GOOD for value in values)


@lru_cache(maxsize=65_536)
def judge(window: str, datapoints: int, periods: int, missing: Missing) -> State | None:
    """Return the state that the window decides, or None: the alarm keeps the state it has.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html

    Args:
        window: The evaluation range, oldest first: `0` good, `X` breaching, `-` no data; longer than `periods`.
        datapoints: M, the breaching points that raise the alarm.
        periods: N, the points that are looked at.
        missing: What a gap counts as when fewer than N points are real.
    """
    real = window.replace(NONE, "")
    if len(real) >= periods:
        return State.ALARM if real[-periods:].count(BAD) >= datapoints else State.OK
    if not real:
        return _nothing(missing)
    filled = periods - len(real) if missing is Missing.BREACHING else 0
    if real.count(BAD) + filled >= datapoints:
        return State.ALARM
    if missing in {Missing.MISSING, Missing.IGNORE} and _premature(window, datapoints):
        return State.ALARM if missing is Missing.MISSING else None
    return State.OK


def _nothing(missing: Missing) -> State | None:
    match missing:
        case Missing.MISSING:
            return State.INSUFFICIENT_DATA
        case Missing.IGNORE:
            return None
        case Missing.BREACHING:
            return State.ALARM
        case Missing.NOT_BREACHING:
            return State.OK


def _premature(window: str, datapoints: int) -> bool:
    # Too few points to be sure, yet nothing good is left that could still speak against the oldest bad one.
    oldest = len(window) - window.find(BAD)
    return BAD in window and GOOD not in window and oldest >= datapoints
