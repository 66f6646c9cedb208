"""What each alarm would have done over a recording: when it fired, how late, whether it flapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import Alarm, MetricAlarm, State
from dashboards.cloudwatch.alarm_tests import calls, states
from dashboards.cloudwatch.timeline import Timeline, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dashboards.cloudwatch.series import Store

FLAPPING_S = 3600
FLAPPING_TIMES = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """One alarm over a recording; times in seconds from its start.

    Attributes:
        fired_s: When it went into ALARM.
        called_s: When its actions were taken: later than `fired_s`, or never, when a suppressor holds them back.
        delays_s: Per firing of a metric alarm, from the first bad values to ALARM.
        flapping: It fired three times or more within an hour.
        seen: Some of its metrics were in the recording; an alarm that saw nothing proves nothing.
    """

    name: str
    states: str
    last: State
    fired_s: tuple[float, ...]
    called_s: tuple[float, ...]
    delays_s: tuple[float, ...]
    flapping: bool
    seen: bool


def backtest(alarms: Mapping[str, Alarm], store: Store, start_s: int, end_s: int) -> list[Verdict]:
    """Return a verdict per alarm, those that fired first."""
    lines = run(alarms, store, start_s, end_s)
    verdicts = [_verdict(line, lines, store, start_s) for line in lines.values()]
    return sorted(verdicts, key=lambda verdict: (not verdict.fired_s, verdict.name))


def bounds_s(store: Store) -> tuple[int, int]:
    """Return the minutes a recording begins and ends with, as epoch seconds."""
    first, last = store.span_s() or (0.0, 0.0)
    return int(first // 60 * 60), int(last // 60 * 60) + 60


def _verdict(line: Timeline, lines: Mapping[str, Timeline], store: Store, start_s: int) -> Verdict:
    alarm, fired = line.alarm, [float(change.time_s - start_s) for change in line.fired]
    within = zip(fired, fired[FLAPPING_TIMES - 1 :], strict=False)
    return Verdict(
        name=alarm.name,
        states=states(line, start_s),
        last=line.changes[-1].state if line.changes else State.INSUFFICIENT_DATA,
        fired_s=tuple(fired),
        called_s=tuple(time - start_s for time in calls(line, lines)),
        delays_s=tuple(float(change.time_s - change.since_s) for change in line.fired if change.since_s is not None),
        flapping=any(last - first <= FLAPPING_S for first, last in within),
        seen=not isinstance(alarm, MetricAlarm)
        or any(query.metric in store.samples for query in alarm.queries if query.metric),
    )
