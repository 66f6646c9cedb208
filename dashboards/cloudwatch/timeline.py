"""Alarms over time: the state of every alarm at every moment it is evaluated."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import DAY_S, Alarm, CompositeAlarm, LogAlarm, MetricAlarm, Missing, State
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.log_alarms import Runs, run_query
from dashboards.cloudwatch.rules import Rule, in_order, parse_rule
from dashboards.cloudwatch.watched import BAD, GOOD, NONE, Clocked, Watched, watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dashboards.cloudwatch.series import Store

MAX_DAYS = 1100

Lines = Sequence[Mapping[str, Any]]
"""Recorded lines of log: their members, with `@timestamp` (epoch seconds) and `@message`."""


@dataclass(frozen=True, slots=True)
class Change:
    """From `time_s` on the alarm is in `state`.

    `since_s` is, of a change into ALARM, when the step began whose values made the oldest bad point of the window: a
    period slides by the step.
    """

    time_s: int
    state: State
    since_s: int | None = None


@dataclass(frozen=True)
class Timeline:
    """An alarm's changes of state, oldest first; before the first evaluation it is INSUFFICIENT_DATA.

    Attributes:
        watched: For metric alarms what is compared, step by step.
        contributors: For log alarms the changes of each group that the query gives.
    """

    alarm: Alarm
    changes: tuple[Change, ...]
    watched: Watched | Clocked | None = None
    contributors: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)

    def at(self, time_s: float) -> State:
        """Return the state at a moment."""
        index = bisect_right(self.changes, time_s, key=lambda change: change.time_s)
        return self.changes[index - 1].state if index else State.INSUFFICIENT_DATA

    @property
    def fired(self) -> tuple[Change, ...]:
        """Return the changes into ALARM."""
        return tuple(change for change in self.changes if change.state is State.ALARM)

    @property
    def values(self) -> tuple[float | None, ...]:
        """Return the value that was compared, per step."""
        return tuple(self.watched.values) if self.watched else ()

    def window_at(self, time_s: float) -> tuple[str, tuple[float | None, ...]]:
        """Return pattern and values of the evaluation range that was judged last before a moment."""
        if self.watched is None:
            return "", ()
        return self.watched.window_at(time_s)


def run(  # noqa: PLR0913  alarms, data and a time
    alarms: Mapping[str, Alarm],
    store: Store,
    start_s: int,
    end_s: int,
    lines: Lines = (),
    *,
    failed: dict[str, str] | None = None,
) -> dict[str, Timeline]:
    """Return the timeline of every alarm between two moments (epoch seconds), as if created at the start.

    A period is judged as soon as it has ended: CloudWatch's delay of ingestion comes on top. With `failed`, alarms that
    cannot be evaluated over this data, and those that watch them, are left out and put there with the reason.

    Raises:
        DashboardError: An alarm cannot be evaluated over this data, or watches one that is not there; it is named. Or
            the moments are further apart than CloudWatch keeps data.
    """
    if alarms and end_s - start_s > MAX_DAYS * DAY_S:
        raise DefinitionError(
            f"{(end_s - start_s) / DAY_S:.0f} days from first to last moment; at most {MAX_DAYS} are evaluated, "
            "CloudWatch keeps 455: is a time in another unit, or of another year?"
        )
    found: dict[str, Timeline] = {}
    rules: dict[str, Rule] = {}
    for name, alarm in alarms.items():
        try:
            if isinstance(alarm, MetricAlarm):
                found[name] = metric_timeline(alarm, store, start_s, end_s)
            elif isinstance(alarm, LogAlarm):
                found[name] = log_timeline(alarm, lines, start_s, end_s)
            else:
                rules[name] = parse_rule(alarm.rule)
        except DashboardError as error:
            if failed is None:
                raise type(error)(f"{name}: {error}") from error
            failed[name] = str(error)
    return _with_rules(alarms, rules, found, start_s, failed)


def with_composites(alarms: Mapping[str, Alarm], known: Mapping[str, Timeline], start_s: int) -> dict[str, Timeline]:
    """Return the timelines of all alarms, those of all but the composites being known."""
    rules = {name: parse_rule(alarm.rule) for name, alarm in alarms.items() if isinstance(alarm, CompositeAlarm)}
    return _with_rules(alarms, rules, dict(known), start_s, None)


def _with_rules(
    alarms: Mapping[str, Alarm],
    rules: Mapping[str, Rule],
    found: dict[str, Timeline],
    start_s: int,
    failed: dict[str, str] | None,
) -> dict[str, Timeline]:
    for name in in_order(rules):
        alarm = alarms[name]
        suppressor = {alarm.suppressor} - {None} if isinstance(alarm, CompositeAlarm) else set()
        lacking = (rules[name].children - found.keys()) | {each for each in suppressor if each not in alarms}
        unknown = ", ".join(sorted(map(str, lacking)))
        if unknown and failed is None:
            raise DefinitionError(f"{name} watches {unknown}, which is not among the alarms")
        if unknown and failed is not None:
            failed[name] = f"watches {unknown}, which is not evaluated"
            continue
        found[name] = _composite_timeline(alarm, rules[name], found, start_s)
    return {name: found[name] for name in alarms if name in found}


def metric_timeline(alarm: MetricAlarm, store: Store, start_s: int, end_s: int) -> Timeline:
    """Return the timeline of a metric alarm."""
    watched = watch(alarm, store, start_s, end_s)
    steps, windows = watched.evaluations()
    judged = [*map(_Judged(alarm.datapoints, alarm.periods, alarm.treatment).__getitem__, windows)]
    state, changes, oldest = State.INSUFFICIENT_DATA, [], _OldestBad(alarm.periods)
    differing = [n for n, (now, before) in enumerate(zip(judged, [None, *judged], strict=False)) if now is not before]
    for number in differing:
        now = judged[number]
        if now is not None and now is not state:
            state, step = now, steps[number]
            bad = oldest[windows[number]] if state is State.ALARM else 0
            changes.append(Change(watched.end_of(step), state, watched.since(step, bad) if bad else None))
    return Timeline(alarm, tuple(changes), watched)


class _Judged(dict[str, State | None]):
    """What each window comes to, judged once: a week of minutes has few that differ."""

    def __init__(self, datapoints: int, periods: int, missing: Missing) -> None:
        super().__init__()
        self._terms = (datapoints, periods, missing)

    def __missing__(self, window: str) -> State | None:
        found = self[window] = judge(window, *self._terms)
        return found


class _OldestBad(dict[str, int]):
    """How many periods back, of each window, the oldest bad point among the newest N real ones is; 0 without one."""

    def __init__(self, periods: int) -> None:
        super().__init__()
        self._periods = periods

    def __missing__(self, window: str) -> int:
        real = [back for back, mark in enumerate(reversed(window), 1) if mark != NONE][: self._periods]
        found = self[window] = max((back for back in real if window[-back] == BAD), default=0)
        return found


def log_timeline(alarm: LogAlarm, lines: Lines, start_s: int, end_s: int) -> Timeline:
    """Return the timeline of a log alarm: M of the newest N runs of its query, for each contributor."""
    runs = run_query(alarm, lines, start_s, end_s)
    contributors = {name: tuple(_contributor_changes(alarm, runs, name)) for name in runs.values}
    contributors = contributors or {"": tuple(_contributor_changes(alarm, runs, ""))}
    together = _merged(contributors, State.INSUFFICIENT_DATA)
    return Timeline(alarm, tuple(together), None, contributors)


def _contributor_changes(alarm: LogAlarm, runs: Runs, name: str) -> Iterator[Change]:
    state = State.INSUFFICIENT_DATA
    values = runs.values.get(name, {})
    for number, time_s in enumerate(runs.times_s):
        if alarm.warm_up and time_s < runs.start_s + alarm.warm_up.duration_s:
            continue
        newest = range(max(0, number + 1 - alarm.periods), number + 1)
        marks = "".join(runs.mark(alarm, values.get(each)) for each in newest).rjust(alarm.periods, NONE)
        now = judge(marks, alarm.datapoints, alarm.periods, alarm.missing)
        if now is not None and now is not state:
            state = now
            bad = marks.find(BAD)
            since = None if bad < 0 else int(time_s - (len(marks) - bad) * alarm.every_s)
            yield Change(int(time_s), state, since)


def _merged(lines: Mapping[str, Iterable[Change]], first: State) -> Iterator[Change]:
    """Yield the changes of what is in ALARM when any contributor is, else OK when any is."""
    states = dict.fromkeys(lines, State.INSUFFICIENT_DATA)
    events = sorted(((change.time_s, name, change) for name, changes in lines.items() for change in changes), key=_when)
    state = first
    for time_s, group in groupby(events, key=lambda event: event[0]):
        since = None
        for _, name, change in group:
            states[name] = change.state
            since = change.since_s if change.state is State.ALARM else since
        now = next((each for each in (State.ALARM, State.OK) if each in states.values()), State.INSUFFICIENT_DATA)
        if now is not state:
            state = now
            yield Change(time_s, state, since)


def _when(event: tuple[int, str, Change]) -> tuple[int, str]:
    return event[:2]


def _composite_timeline(alarm: Alarm, rule: Rule, lines: Mapping[str, Timeline], start_s: int) -> Timeline:
    states = dict.fromkeys(rule.children, State.INSUFFICIENT_DATA)
    events = sorted(
        ((change.time_s, child, change) for child in rule.children for change in lines[child].changes), key=_when
    )
    changes = [Change(start_s, State.ALARM if rule.holds(states) else State.OK)]
    for time_s, group in groupby(events, key=lambda event: event[0]):
        for _, child, change in group:
            states[child] = change.state
        state = State.ALARM if rule.holds(states) else State.OK
        if time_s == start_s:
            changes = [Change(start_s, state)]
        elif state is not changes[-1].state:
            changes.append(Change(time_s, state))
    return Timeline(alarm, tuple(changes))


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
