"""When an alarm really calls somebody: its changes of state, held back by a suppressor and by mute rules.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm_Suppression.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-mute-rules.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import CompositeAlarm, LogAlarm, State
from dashboards.cloudwatch.schedules import starts_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dashboards.cloudwatch.alarm import MuteRule
    from dashboards.cloudwatch.timeline import Change, Timeline


@dataclass(frozen=True, slots=True)
class Action:
    """At `time_s` the actions for `state` were taken."""

    time_s: float
    state: State


@dataclass(frozen=True, slots=True)
class Muted:
    """From `start_s` to `end_s` a rule mutes the actions of an alarm."""

    start_s: float
    end_s: float
    rule: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The actions that an alarm took, and those that mute rules swallowed, with the rule."""

    actions: tuple[Action, ...]
    swallowed: tuple[tuple[Action, str], ...] = ()

    def times(self, state: State) -> list[float]:
        """Return when the actions of a state were taken."""
        return [action.time_s for action in self.actions if action.state is state]


def taken(line: Timeline, lines: Mapping[str, Timeline], mutes: Iterable[MuteRule], end_s: float) -> Taken:
    """Return the actions that an alarm takes until a moment; none, when they are switched off.

    The state that an alarm is created in is no change: what it goes into first is, as in CloudWatch. A log alarm acts
    for each of its contributors. An alarm whose definition says nothing of actions counts as having some for each
    state, since files often leave them to the deployment; otherwise only the states for which it lists any.
    """
    alarm = line.alarm
    if not alarm.acts:
        return Taken(())
    if isinstance(alarm, CompositeAlarm) and alarm.suppressor is not None:
        suppressor = lines[alarm.suppressor].changes
        wanted = actions(line.changes, suppressor, alarm.wait_s, alarm.extension_s)
    elif isinstance(alarm, LogAlarm):
        changes = sorted((change for each in line.contributors.values() for change in each), key=_time)
        wanted = [Action(change.time_s, change.state) for change in changes]
    else:
        wanted = [Action(change.time_s, change.state) for change in line.changes]
    wanted = [action for action in wanted if alarm.actions is None or alarm.actions[action.state]]
    start_s = min((change.time_s for change in line.changes), default=end_s)
    return unmuted(wanted, line.changes, muted(alarm.name, mutes, start_s, end_s), end_s)


def _time(change: Change) -> int:
    return change.time_s


def muted(name: str, mutes: Iterable[MuteRule], start_s: float, end_s: float) -> list[Muted]:
    """Return when the actions of an alarm are muted between two moments, first come first."""
    found = []
    for rule in mutes:
        if name not in rule.alarms:
            continue
        since = start_s - rule.duration_s
        for moment in starts_s(rule.schedule, rule.timezone, max(since, rule.start_s or since), end_s):
            if rule.expire_s is None or moment < rule.expire_s:
                last = moment + rule.duration_s
                found.append(Muted(moment, min(last, rule.expire_s or last), rule.name))
    return sorted(found, key=lambda each: each.start_s)


def unmuted(wanted: Sequence[Action], changes: Sequence[Change], windows: Sequence[Muted], end_s: float) -> Taken:
    """Return which actions are taken, given when they are muted.

    What is muted is taken when the muting ends, if the alarm is then still in the state it was muted in.
    """
    kept: list[Action] = []
    swallowed: list[tuple[Action, str]] = []
    for action in wanted:
        moment, rule = action.time_s, ""
        while True:
            window = next((each for each in windows if each.start_s <= moment < each.end_s), None)
            if window is None:
                break
            moment, rule = window.end_s, window.rule
        left = any(action.time_s < change.time_s <= moment for change in changes)
        if not rule:
            kept.append(action)
        elif left or moment > end_s:
            swallowed.append((action, rule))
        else:
            kept.append(Action(moment, action.state))
    return Taken(tuple(kept), tuple(swallowed))


def actions(alarm: Sequence[Change], suppressor: Sequence[Change], wait_s: float, extension_s: float) -> list[Action]:
    """Return when actions are taken for an alarm's changes, given its suppressor's changes.

    A change waits `wait_s` for the suppressor to go into ALARM; while that is in ALARM nothing is done; after it has
    left ALARM, `extension_s` pass before what is pending is done. A new change restarts the wait.
    """
    return _Suppression(wait_s, extension_s).run(alarm, suppressor)


class _Suppression:
    def __init__(self, wait_s: float, extension_s: float) -> None:
        self.wait_s, self.extension_s = wait_s, extension_s
        self.pending: State | None = None
        self.silenced = False
        self.due_s = math.inf
        self.taken: list[Action] = []

    def run(self, alarm: Sequence[Change], suppressor: Sequence[Change]) -> list[Action]:
        # At one moment the suppressor goes first: an alarm that comes together with its suppressor is suppressed.
        events = sorted([(c.time_s, 0, c) for c in suppressor] + [(c.time_s, 1, c) for c in alarm], key=lambda e: e[:2])
        for time_s, kind, change in events:
            self.act_until(time_s)
            if kind:
                self.pending = change.state
                self.due_s = math.inf if self.silenced else time_s + self.wait_s
            elif self.silenced != (change.state is State.ALARM):
                self.silenced = not self.silenced
                self.due_s = math.inf if self.silenced or self.pending is None else time_s + self.extension_s
        self.act_until(math.inf)
        return self.taken

    def act_until(self, time_s: float) -> None:
        if self.pending is not None and self.due_s <= time_s and self.due_s < math.inf:
            self.taken.append(Action(self.due_s, self.pending))
            self.pending, self.due_s = None, math.inf
