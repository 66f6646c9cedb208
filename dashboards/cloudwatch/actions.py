"""When a composite alarm really calls somebody: its changes of state, held back by a suppressor.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm_Suppression.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboards.cloudwatch.timeline import Change


@dataclass(frozen=True, slots=True)
class Action:
    """At `time_s` the actions for `state` were taken."""

    time_s: float
    state: State


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
