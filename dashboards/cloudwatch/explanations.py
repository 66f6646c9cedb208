"""What an alarm was judged by, in words: its series, its window, its states over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import CompositeAlarm, LogAlarm, MetricAlarm
from dashboards.cloudwatch.rules import parse_rule
from dashboards.cloudwatch.series import Grid
from dashboards.cloudwatch.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dashboards.cloudwatch.series import Store
    from dashboards.cloudwatch.timeline import Timeline

_SHOWN = 60  # steps of a series in a failure: an hour of minutes
_UNITS = (("d", 86_400, 10**9), ("h", 3600, 24), ("m", 60, 60), ("s", 1, 60))


def explain(
    line: Timeline, lines: Mapping[str, Timeline], store: Store, start_s: int, at_s: int | None
) -> Iterator[str]:
    """Yield what a timeline is judged by: the series, the evaluation at a moment, the states."""
    alarm = line.alarm
    if isinstance(alarm, CompositeAlarm):
        yield f"  rule    {alarm.rule}"
        for child in sorted(parse_rule(alarm.rule).children):
            yield f"  child   {child}: {states(lines[child], start_s)}"
    elif isinstance(alarm, LogAlarm):
        yield f"  query   {alarm.query} | stats {alarm.aggregation}"
        yield f"  judged  {alarm.datapoints} of {alarm.periods} runs, one every {alarm.every_s} s, {alarm.condition}"
        for name, changes in line.contributors.items():
            told = ", ".join(f"{moment(change.time_s - start_s)} {change.state}" for change in changes)
            yield f"  of      {name or 'all lines'}: {told or 'no result'}"
    else:
        yield from _explain_metric(alarm, line, store, start_s, at_s)
    yield f"  states  {states(line, start_s)}"


def _explain_metric(alarm: MetricAlarm, line: Timeline, store: Store, start_s: int, at_s: int | None) -> Iterator[str]:
    for query in alarm.queries:
        if query.metric:
            step_s = line.watched.grid.step_s if isinstance(line.watched, Watched) else alarm.period_s
            length = line.watched.grid.length if isinstance(line.watched, Watched) else len(line.values)
            values = store.statistic(
                query.metric, query.statistic, Grid(start_s, step_s, min(length, _SHOWN)), 1, query.unit
            )
            in_unit = f" in {query.unit}" if query.unit else ""
            yield f"  series  {query.statistic} of {query.metric}{in_unit}: {shown(values)}"
        else:
            yield f"  maths   {query.id} = {query.expression}"
    clock = f" on the clock of {alarm.wall_clock}" if alarm.wall_clock is not None else ""
    yield (
        f"  judged  {alarm.datapoints} of {alarm.periods} periods of {alarm.period_s} s{clock} {alarm.condition}, "
        f"missing is {alarm.treatment}"
    )
    if at_s is not None:
        window, judged = line.window_at(at_s)
        yield f"  window  at {moment(at_s - start_s)}: {window} = {shown(judged)}"


def states(line: Timeline, start_s: int) -> str:
    """Return the states over time in one line."""
    changes = [f"{moment(change.time_s - start_s)} {change.state}" for change in line.changes]
    return ", ".join(["0s INSUFFICIENT_DATA", *changes])


def shown(values: Iterable[float | None]) -> str:
    """Return values in one line, `_` for none."""
    return " ".join("_" if value is None else f"{value:g}" for value in values)


def moment(seconds: float) -> str:
    """Return seconds as `1d2h3m4s`."""
    parts = [f"{int(seconds // size % limit)}{name}" for name, size, limit in _UNITS if seconds // size % limit]
    return "".join(parts) or "0s"


def in_moments(seconds: Iterable[float]) -> str:
    """Return moments in one line."""
    return ", ".join(map(moment, seconds)) or "no time"
