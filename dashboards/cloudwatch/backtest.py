"""What each alarm would have done over a recording: when it fired and called, how late, how long, how noisy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards.cloudwatch.actions import taken
from dashboards.cloudwatch.alarm import Alarm, MetricAlarm, State
from dashboards.cloudwatch.explanations import states
from dashboards.cloudwatch.timeline import Lines, Timeline, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dashboards.cloudwatch.alarm import MuteRule
    from dashboards.cloudwatch.series import Store

FLAPPING_S = 3600
FLAPPING_TIMES = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """One alarm over a recording; times in seconds from its start.

    Attributes:
        fired_s: When it went into ALARM.
        called_s: When its actions were taken: later than `fired_s`, or never, when a suppressor or a mute rule holds
            them back.
        delays_s: Per firing of a metric alarm, from the first bad values to ALARM.
        flapping: It fired three times or more within an hour.
        seen: Some of its metrics were in the recording; an alarm that saw nothing proves nothing.
        alarm_s: How long it was in ALARM, all in all.
        longest_s: How long it was in ALARM at a stretch, at most.
        muted: How many of its calls a mute rule swallowed.
    """

    name: str
    states: str
    last: State
    fired_s: tuple[float, ...]
    called_s: tuple[float, ...]
    delays_s: tuple[float, ...]
    flapping: bool
    seen: bool
    alarm_s: float = 0
    longest_s: float = 0
    muted: int = 0


def backtest(  # noqa: PLR0913, PLR0917  alarms, data and a time
    alarms: Mapping[str, Alarm],
    store: Store,
    start_s: int,
    end_s: int,
    mutes: Iterable[MuteRule] = (),
    lines: Lines = (),
    failed: dict[str, str] | None = None,
) -> list[Verdict]:
    """Return a verdict per alarm, those that fired first; `failed` as in `run`."""
    timelines = run(alarms, store, start_s, end_s, lines, failed=failed)
    found = verdicts(timelines, store, start_s, end_s, list(mutes))
    return sorted(found, key=lambda verdict: (not verdict.fired_s, verdict.name))


def verdicts(
    lines: Mapping[str, Timeline], store: Store, start_s: int, end_s: int, mutes: list[MuteRule]
) -> list[Verdict]:
    """Return a verdict for each timeline."""
    return [_verdict(line, lines, store, (start_s, end_s), mutes) for line in lines.values()]


def bounds_s(store: Store, lines: Lines = ()) -> tuple[int, int]:
    """Return the minutes a recording begins and ends with, as epoch seconds."""
    moments = [line["@timestamp"] for line in lines] if store.span_s() is None else []
    first, last = store.span_s() or ((min(moments), max(moments)) if moments else (0.0, 0.0))
    return int(first // 60 * 60), int(last // 60 * 60) + 60


def in_alarm(line: Timeline, end_s: float) -> list[tuple[int, float]]:
    """Return from when to when an alarm was in ALARM."""
    ends = [*(change.time_s for change in line.changes[1:]), end_s]
    return [
        (change.time_s, end)
        for change, end in zip(line.changes, ends, strict=False)
        if change.state is State.ALARM and end > change.time_s
    ]


def _verdict(
    line: Timeline, lines: Mapping[str, Timeline], store: Store, span_s: tuple[int, int], mutes: list[MuteRule]
) -> Verdict:
    start_s, end_s = span_s
    alarm, fired = line.alarm, [float(change.time_s - start_s) for change in line.fired]
    within = zip(fired, fired[FLAPPING_TIMES - 1 :], strict=False)
    acted = taken(line, lines, mutes, end_s)
    spells = [end - begin for begin, end in in_alarm(line, end_s)]
    return Verdict(
        name=alarm.name,
        states=states(line, start_s),
        last=line.changes[-1].state if line.changes else State.INSUFFICIENT_DATA,
        fired_s=tuple(fired),
        called_s=tuple(time - start_s for time in acted.times(State.ALARM)),
        delays_s=tuple(float(change.time_s - change.since_s) for change in line.fired if change.since_s is not None),
        flapping=any(last - first <= FLAPPING_S for first, last in within),
        seen=not isinstance(alarm, MetricAlarm) or any(any(store.columns_of(metric)) for metric in alarm.metrics),
        alarm_s=sum(spells),
        longest_s=max(spells, default=0),
        muted=sum(action.state is State.ALARM for action, _ in acted.swallowed),
    )
