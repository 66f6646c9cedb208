"""Reads alarms from anybody's files: our own, CloudFormation templates, and what describe-alarms prints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import Alarm, Comparison, CompositeAlarm, Metric, MetricAlarm, Missing, Query, WarmUp
from dashboards.cloudwatch.errors import DashboardError, DefinitionError, UnsupportedError
from dashboards.cloudwatch.rules import alarm_name, parse_rule
from dashboards.cloudwatch.series import Grid, Store, percentile
from dashboards.cloudwatch.templates import COMPOSITE, METRIC, alarms_of
from dashboards.cloudwatch.timeline import watched_values

if TYPE_CHECKING:
    from pathlib import Path

Json = Mapping[str, Any]
Definition = tuple[Callable[[Json], Alarm], Json]
_INTEGER = "tag:yaml.org,2002:int"
_KNOWN = (
    "ComparisonOperator", "DatapointsToAlarm", "EvaluationPeriods", "ExtendedStatistic", "Period", "Statistic",
    "Threshold", "TreatMissingData",
)  # fmt: skip
_ELSEWHERE = ("ThresholdMetricId", "EvaluationCriteria", "EvaluationInterval")


def read_alarms(path: Path, skipped: list[str] | None = None) -> dict[str, Alarm]:
    """Return the alarms of a file by name: parameters, a CloudFormation template or a describe-alarms dump.

    Alarms of a kind that is not evaluated offline, and composites over them, are left out and named in `skipped`;
    without that list they raise UnsupportedError.

    Raises:
        DefinitionError: The file cannot be read or CloudWatch would refuse an alarm of it.
    """
    found = parse_alarms(load(path), str(path), skipped)
    if not found and not skipped:
        raise DefinitionError(f"{path} holds no CloudWatch alarm")
    return found


def parse_alarms(data: object, where: str, skipped: list[str] | None = None) -> dict[str, Alarm]:
    """Return the alarms of loaded JSON or YAML by name; `skipped` as for `read_alarms`."""
    if not isinstance(data, Mapping):
        raise DefinitionError(f"{where} holds neither alarms nor a template")
    found: dict[str, Alarm] = {}
    try:
        for make, parameters in _from_template(data) if "Resources" in data else _from_dump(data):
            try:
                _only_known(parameters)
                found[parameters["AlarmName"]] = make(parameters)
            except UnsupportedError as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, DashboardError):
            raise
        raise DefinitionError(f"{where} holds something that is no alarm: {error!r}") from error
    return found if skipped is None else _without_orphans(found, skipped)


def _only_known(parameters: Json) -> None:
    """Raise UnsupportedError when what has to be a number or one of a few words is for a deployment to say."""
    for key in _KNOWN:
        value = parameters.get(key)
        if isinstance(value, Mapping) or "${" in str(value):
            raise UnsupportedError(
                f"{parameters['AlarmName']}: {key} is {value}, which only a deployment knows; give it a Default"
            )


def _without_orphans(found: dict[str, Alarm], skipped: list[str]) -> dict[str, Alarm]:
    """Leave out composites that watch something that is not there, and those that watch them."""
    for name, alarm in found.items():
        if isinstance(alarm, CompositeAlarm):
            absent = ({alarm.suppressor} - {None} | parse_rule(alarm.rule).children) - found.keys()
            if absent:
                skipped.append(f"{name}: watches {', '.join(sorted(map(str, absent)))}, which is not among the alarms")
                return _without_orphans({other: found[other] for other in found if other != name}, skipped)
    return found


def load(path: Path) -> object:
    """Return the JSON or YAML of a file; CloudFormation's short forms (`!Ref`) read as their long ones."""
    import yaml  # noqa: PLC0415  an extra of the package

    # A class of our own, since what is registered changes the class; libyaml's is ten times as fast where it is there.
    loader: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != _INTEGER]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    # `0x60` is the text it is: a series of zeros, not the number 96.
    loader.add_implicit_resolver(_INTEGER, re.compile(r"[-+]?(?:0|[1-9]\d*)$"), list("-+0123456789"))
    loader.add_multi_constructor("!", _intrinsic)
    try:
        text = path.read_text("utf-8")
        return json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, loader)  # noqa: S506  a SafeLoader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from error


def _intrinsic(loader: Any, suffix: str, node: Any) -> dict[str, object]:  # noqa: ANN401  the types of an extra
    """Return a short form of CloudFormation (`!Sub`) as its long one (`Fn::Sub`)."""
    construct = {"scalar": loader.construct_scalar, "sequence": partial(loader.construct_sequence, deep=True)}
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    return {name: construct.get(node.id, partial(loader.construct_mapping, deep=True))(node)}


def _from_dump(data: Json) -> Iterator[Definition]:
    yield from ((metric_alarm, parameters) for parameters in data.get("MetricAlarms", ()))
    yield from ((composite_alarm, parameters) for parameters in data.get("CompositeAlarms", ()))


def _from_template(template: Json) -> Iterator[Definition]:
    makers: dict[str, Callable[[Json], Alarm]] = {METRIC: metric_alarm, COMPOSITE: composite_alarm}
    yield from ((makers[kind], properties) for kind, properties in alarms_of(template))


def composite_alarm(parameters: Json) -> CompositeAlarm:
    """Return the alarm of PutCompositeAlarm's parameters, its rule checked."""
    name = str(parameters["AlarmName"])
    try:
        parse_rule(parameters["AlarmRule"])
    except DefinitionError as error:
        raise DefinitionError(f"{name}: {error}") from error
    suppressor = parameters.get("ActionsSuppressor")
    return CompositeAlarm(
        name,
        parameters["AlarmRule"],
        alarm_name(suppressor) if suppressor else None,
        int(parameters.get("ActionsSuppressorWaitPeriod", 0)),
        int(parameters.get("ActionsSuppressorExtensionPeriod", 0)),
        _truth(parameters.get("ActionsEnabled", True)),
    )


def metric_alarm(parameters: Json) -> MetricAlarm:
    """Return the alarm of PutMetricAlarm's parameters; raise UnsupportedError for bands, PromQL and wall clocks."""
    name = str(parameters["AlarmName"])
    for key in _ELSEWHERE:
        if parameters.get(key):
            raise UnsupportedError(f"{name}: {key} (anomaly bands, PromQL) is not evaluated offline")
    if "WallClockWindow" in (parameters.get("EvaluationWindow") or {}):
        raise UnsupportedError(f"{name}: WallClockWindow is not evaluated offline, only sliding windows are")
    try:
        queries, result, period_s = _queries(parameters)
        periods = int(parameters["EvaluationPeriods"])
        alarm = MetricAlarm(
            name=name,
            queries=queries,
            result=result,
            period_s=period_s,
            periods=periods,
            datapoints=int(parameters.get("DatapointsToAlarm") or periods),
            threshold=float(parameters["Threshold"]),
            comparison=Comparison(parameters["ComparisonOperator"]),
            missing=Missing(parameters.get("TreatMissingData") or Missing.MISSING),
            ignore_low_samples=parameters.get("EvaluateLowSampleCountPercentile") == "ignore",
            warm_up=_warm_up(parameters.get("WarmUpConfiguration")),
            acts=_truth(parameters.get("ActionsEnabled", True)),
        )
    except KeyError as error:
        raise DefinitionError(f"{name}: {error} is missing") from error
    except ValueError as error:
        raise DefinitionError(f"{name}: {error}") from error
    # Its maths once over nothing: what cannot be evaluated is named now, not in the middle of a simulation.
    watched_values(alarm, Store(), Grid(0, alarm.period_s, 1))
    return alarm


def _truth(value: object) -> bool:
    return str(value).lower() == "true"  # templates write booleans as text, too


def _warm_up(configuration: Json | None) -> WarmUp | None:
    if not configuration:
        return None
    whole = _truth(configuration.get("OnlyStartEvaluatingAfterWarmUpPeriodEnds", False))
    return WarmUp(60 * int(configuration["WarmUpPeriodDurationInMinutes"]), whole)


def _queries(parameters: Json) -> tuple[tuple[Query, ...], str, int]:
    """Return the queries, the id of the watched one and the period in seconds."""
    entries = parameters.get("Metrics")
    if not entries:
        query = Query("m1", _metric(parameters), _statistic(parameters))
        return (query,), "m1", int(parameters["Period"])
    queries = tuple(_query(entry) for entry in entries)
    watched = [entry["Id"] for entry in entries if _truth(entry.get("ReturnData", True))]
    if len(watched) != 1:
        raise DefinitionError(
            f"{len(watched)} queries return data ({', '.join(watched)}); an alarm watches exactly one"
        )
    periods = {int(entry["MetricStat"]["Period"]) for entry in entries if "MetricStat" in entry}
    periods = periods or {int(entry["Period"]) for entry in entries if "Period" in entry}
    if len(periods) != 1:
        raise DefinitionError(f"periods {sorted(periods)} s; all metrics of an alarm share one period")
    return queries, watched[0], periods.pop()


def _query(entry: Json) -> Query:
    if "MetricStat" in entry:
        stat = entry["MetricStat"]
        return Query(entry["Id"], _metric(stat["Metric"]), _statistic({"Statistic": stat["Stat"]}))
    return Query(entry["Id"], expression=entry["Expression"])


def _metric(source: Json) -> Metric:
    dimensions = sorted((str(pair["Name"]), str(pair["Value"])) for pair in source.get("Dimensions") or ())
    return Metric(source["Namespace"], source["MetricName"], tuple(dimensions))


def _statistic(source: Json) -> str:
    name = str(source.get("ExtendedStatistic") or source["Statistic"])
    if name not in {"SampleCount", "Sum", "Average", "Minimum", "Maximum"}:
        percentile(name)
    return name
