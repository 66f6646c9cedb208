"""What others print of metrics: CloudWatch's get-metric-data and get-metric-statistics, and tables in CSV."""

from __future__ import annotations

import csv
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from dashboards.cloudwatch.alarm import Alarm, Metric, MetricAlarm
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.notation import parse_metric
from dashboards.cloudwatch.schedules import moment_s
from dashboards.cloudwatch.series import Given, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dashboards.cloudwatch.series import Store

_LABEL = re.compile(r"(?P<metric>.+\S)\s+\|\s+(?P<statistic>\S+)\s+\|\s+(?P<period>\d+)\s*s?")
_BASIC = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
_TIMES = ("timestamp", "time", "date", "@timestamp")
_EPOCH_MS = 1e11
"""Numbers above it are milliseconds: as seconds it is the year 5138."""


class Fetched(NamedTuple):
    """A statistic of a metric, made over a period."""

    metric: Metric
    statistic: str
    period_s: int


def label(fetched: Fetched) -> str:
    """Return the label that says of a result what it is: `Shop/Load{Host=a} | Sum | 60`."""
    return f"{fetched.metric} | {fetched.statistic} | {fetched.period_s}"


def looks_whole(head: str) -> bool:
    """Whether a file that begins so is one document that AWS's command line printed, not one document a line."""
    first, _, rest = head.lstrip().partition("\n")
    known = re.match(
        r'\{\s*"(?:events|results|MetricDataResults|Datapoints|Label|Messages|searchedLogStreams|statistics)"',
        head.lstrip(),
    )
    return bool(known) or (first.strip() in {"{", "["} and bool(rest))


def add_results(store: Store, document: Mapping[str, Any], where: str, alarms: Mapping[str, Alarm]) -> None:
    """Add what get-metric-data or get-metric-statistics returned; `alarms` tells what a label stands for.

    Raises:
        DefinitionError: Nothing says which metric a result is of.
    """
    if "Datapoints" in document:
        _add_statistics(store, document, where, alarms)
        return
    for result in document["MetricDataResults"]:
        times = [_time_s(time) for time in result.get("Timestamps") or ()]
        known = _named(str(result.get("Label", "")), str(result.get("Id", "")), times, alarms)
        if known is None:
            raise DefinitionError(
                f"{where}: nothing says which metric {result.get('Label')!r} is; fetch it with the calls that "
                "`dashboards queries` prints, whose labels say it"
            )
        points = [
            Given(time, float(value), known.period_s) for time, value in zip(times, result["Values"], strict=True)
        ]
        store.column(known.metric).given.setdefault(known.statistic, []).extend(points)


def _add_statistics(store: Store, document: Mapping[str, Any], where: str, alarms: Mapping[str, Alarm]) -> None:
    points = document["Datapoints"]
    times = [_time_s(point["Timestamp"]) for point in points]
    known = _named(str(document.get("Label", "")), "", times, alarms)
    if known is None:
        raise DefinitionError(f"{where}: no alarm watches exactly one metric called {document.get('Label')!r}")
    column = store.column(known.metric)
    for time, point in zip(times, points, strict=True):
        made = {name: point[name] for name in _BASIC if name in point} | (point.get("ExtendedStatistics") or {})
        for statistic, value in made.items():
            column.given.setdefault(statistic, []).append(Given(time, float(value), known.period_s))


def _named(text: str, name: str, times: list[float], alarms: Mapping[str, Alarm]) -> Fetched | None:
    match = _LABEL.fullmatch(text.strip())
    if match:
        return Fetched(parse_metric(match["metric"]), match["statistic"], int(match["period"]))
    candidates = {
        Fetched(query.metric, query.statistic, alarm.period_s)
        for alarm in alarms.values()
        if isinstance(alarm, MetricAlarm)
        for query in alarm.queries
        if query.metric and text in {query.metric.name, str(query.metric)}
    }
    if len(candidates) > 1:
        candidates = {each for each in candidates if each.statistic == name} or candidates
    if len({each.metric for each in candidates}) != 1:
        return None
    found = min(candidates)
    gaps = [later - earlier for earlier, later in pairwise(sorted(times)) if later > earlier]
    return found._replace(period_s=int(min(gaps))) if gaps else found


def _time_s(value: object) -> float:
    if isinstance(value, int | float):
        return value / 1000 if value > _EPOCH_MS else float(value)
    return moment_s(str(value))


def add_csv(store: Store, lines: Iterable[str], where: str) -> None:
    """Add a table: a column of times and one for each metric, or the columns `metric` and `value` (`unit`, `count`).

    Raises:
        DefinitionError: The table has no time, or a cell is no number.
    """
    rows = csv.DictReader(lines)
    names = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = names
    time = next((name for name in names if name.lower() in _TIMES), None)
    if time is None:
        raise DefinitionError(f"{where}: a table needs a column `timestamp`; it has {', '.join(names) or 'none'}")
    for number, row in enumerate(rows, 2):
        try:
            moment = _time_s(_number(row[time]) if _is_number(row[time]) else row[time])
            for metric, value, unit, count in _cells(row, names, time):
                store.add(metric, Sample(moment, value, count), unit)
        except (TypeError, ValueError) as error:
            raise DefinitionError(f"{where}: line {number}: {error}") from error


def _cells(row: Mapping[str, str], names: list[str], time: str) -> Iterator[tuple[Metric, float, str, float]]:
    lower = {name.lower(): name for name in names}
    if {"metric", "value"} <= lower.keys():
        if (row[lower["value"]] or "").strip():
            unit = row.get(lower.get("unit", ""), "") or ""
            count = row.get(lower.get("count", ""), "") or "1"
            yield parse_metric(row[lower["metric"]]), _number(row[lower["value"]]), unit.strip(), _number(count)
        return
    for name in names:
        if name != time and (row[name] or "").strip():
            yield parse_metric(name), _number(row[name]), "", 1.0


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"\s*\d+(\.\d+)?\s*", text or ""))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no number that CloudWatch keeps")
    return value
