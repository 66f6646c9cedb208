"""The calls of AWS's command line that fetch the history of alarms, with labels that say what each result is.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import DAY_S, HIGH_RESOLUTION_S, MINUTE_S, Alarm, MetricAlarm
from dashboards.cloudwatch.exports import Fetched, label
from dashboards.cloudwatch.templates import unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dashboards.cloudwatch.alarm import Metric, Query

MAX_QUERIES = 500
_KEPT_S = ((15 * DAY_S, 60), (63 * DAY_S, 300), (455 * DAY_S, 3600))
"""How long CloudWatch keeps data of a period, shortest first."""

_ADDED_UP = ("Sum", "SampleCount", "Minimum", "Maximum")


def fetched(alarm: MetricAlarm, age_s: float) -> Iterator[tuple[Fetched, Query]]:
    """Yield what has to be fetched for an alarm whose history begins `age_s` ago.

    Sums, counts and extremes of short periods give those of every sliding window; an average is a sum by a count. Other
    statistics are fetched at the alarm's own period, and then stand for as long as a period.
    """
    finest_s = finest(age_s)
    short_s = alarm.period_s if alarm.period_s in HIGH_RESOLUTION_S else MINUTE_S
    for query in alarm.queries:
        if query.metric:
            names = ("Sum", "SampleCount") if query.statistic == "Average" else (query.statistic,)
            for name in names:
                period_s = max(finest_s, short_s if name in _ADDED_UP else alarm.period_s)
                yield Fetched(query.metric, name, period_s), query


def finest(age_s: float) -> int:
    """Return the shortest period in seconds of which CloudWatch still has data that old."""
    return next((period_s for kept_s, period_s in _KEPT_S if age_s <= kept_s), _KEPT_S[-1][1])


def calls(alarms: Mapping[str, Alarm], start_s: float, end_s: float, now_s: float) -> tuple[list[str], list[str]]:
    """Return the commands to run, and the metrics whose names only a deployment knows: nobody can ask for them."""
    wanted: dict[Fetched, str | None] = {}
    for alarm in alarms.values():
        for each, query in fetched(alarm, now_s - start_s) if isinstance(alarm, MetricAlarm) else ():
            wanted[each] = query.unit
    open_ = [str(each.metric) for each in wanted if unknown(each.metric)]
    known = [(each, unit) for each, unit in wanted.items() if not unknown(each.metric)]
    groups = [known[first : first + MAX_QUERIES] for first in range(0, len(known), MAX_QUERIES)]
    return [_command(group, number, start_s, end_s) for number, group in enumerate(groups, 1)], sorted(set(open_))


def _command(group: Sequence[tuple[Fetched, str | None]], number: int, start_s: float, end_s: float) -> str:
    queries = [_query(each, unit, f"q{index}") for index, (each, unit) in enumerate(group, 1)]
    words = [
        "aws", "cloudwatch", "get-metric-data", "--output", "json",
        "--start-time", _iso(start_s), "--end-time", _iso(end_s), "--metric-data-queries", json.dumps(queries),
    ]  # fmt: skip
    return f"{shlex.join(words)} > history-{number}.json"


def _query(each: Fetched, unit: str | None, name: str) -> dict[str, Any]:
    stat: dict[str, Any] = {"Metric": _metric(each.metric), "Period": each.period_s, "Stat": each.statistic}
    if unit:
        stat["Unit"] = unit
    return {"Id": name, "Label": label(each), "MetricStat": stat}


def _metric(metric: Metric) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in metric.dimensions]
    return {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
