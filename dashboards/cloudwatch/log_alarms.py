"""The runs of a log alarm's query over recorded lines: a value for each contributor and run.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-log.html
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch import insights
from dashboards.cloudwatch.alarm import MAX_CONTRIBUTORS, Comparison, LogAlarm
from dashboards.cloudwatch.errors import UnsupportedError
from dashboards.cloudwatch.search_limit import limited_searches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HOLDS: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.GREATER: lambda value, limit: value > limit,
    Comparison.GREATER_OR_EQUAL: lambda value, limit: value >= limit,
    Comparison.LESS: lambda value, limit: value < limit,
    Comparison.LESS_OR_EQUAL: lambda value, limit: value <= limit,
}


@dataclass
class Runs:
    """When the query ran, and what each contributor came to by number of the run; a run without it has no value.

    `dropped` is the largest number of groups beyond the 500 that CloudWatch evaluates.
    """

    start_s: int
    times_s: list[float] = field(default_factory=list)
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    dropped: int = 0

    def mark(self, alarm: LogAlarm, value: float | None) -> str:
        """Return what a result is to the alarm: good (0), breaching (X), or missing (-)."""
        return "-" if value is None else "X" if _HOLDS[alarm.comparison](value, alarm.threshold) else "0"


def run_query(alarm: LogAlarm, lines: Sequence[Mapping[str, Any]], start_s: int, end_s: int) -> Runs:
    """Run the query of an alarm on its schedule between two moments.

    A run that finds nothing gives no value: `stats` makes no row out of no line.

    Raises:
        UnsupportedError: The query uses what is not evaluated offline.
    """
    text = f"{alarm.query} | stats {alarm.aggregation}" if alarm.query.strip() else f"stats {alarm.aggregation}"
    ordered = sorted(lines, key=lambda line: line["@timestamp"])
    insights.query(text, [])  # what cannot be evaluated is named also where there is no line
    runs = Runs(start_s, [float(time) for time in range(start_s + alarm.every_s, end_s + 1, alarm.every_s)])
    with limited_searches():
        _run(alarm, text, ordered, runs)
    return runs


def _run(alarm: LogAlarm, text: str, ordered: Sequence[Mapping[str, Any]], runs: Runs) -> None:
    moments = [line["@timestamp"] for line in ordered]
    for number, time_s in enumerate(runs.times_s):
        first = bisect_left(moments, time_s - alarm.start_offset_s)
        last = bisect_left(moments, time_s - alarm.end_offset_s)
        rows = insights.query(text, ordered[first:last]) if last > first else []
        runs.dropped = max(runs.dropped, len(rows) - MAX_CONTRIBUTORS)
        for row in rows[:MAX_CONTRIBUTORS]:
            name, value = _contributor(row)
            if value is not None:
                runs.values.setdefault(name, {})[number] = value


def _contributor(row: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return the name of a group and the number that its row holds; None when no line had a number to aggregate."""
    shown = {name: value for name, value in row.items() if not name.startswith("@")}
    keys = [str(value) for value in list(shown.values())[:-1]]
    value = next(reversed(shown.values()), None)
    if value is None:
        return " ".join(keys), None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsupportedError(f"an aggregation that gives {value!r} and no number")
    return " ".join(keys), float(value)
