"""From the parameters of PutMetricAlarm, PutCompositeAlarm, PutLogAlarm and PutAlarmMuteRule to alarms and mute rules.

Every property that the API knows is named here: one that is not is refused, since it may change what the alarm does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import (
    Actions,
    Comparison,
    CompositeAlarm,
    LogAlarm,
    Metric,
    MetricAlarm,
    Missing,
    MuteRule,
    Query,
    State,
    WarmUp,
)
from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError
from dashboards.cloudwatch.metric_math import check
from dashboards.cloudwatch.rules import alarm_name, parse_rule
from dashboards.cloudwatch.schedules import check_schedule, every_s, iso_duration_s, moment_s, zone_of
from dashboards.cloudwatch.statistics import parse_statistic

if TYPE_CHECKING:
    from enum import StrEnum

Json = Mapping[str, Any]

ACTIONS = {
    State.OK: "OKActions",
    State.ALARM: "AlarmActions",
    State.INSUFFICIENT_DATA: "InsufficientDataActions",
}
_COMMON = {"AlarmName", "AlarmDescription", "ActionsEnabled", *ACTIONS.values(), "Tags", "ActionConfiguration"}
_STATE = {
    "AlarmArn", "AlarmConfigurationUpdatedTimestamp", "StateValue", "StateReason", "StateReasonData",
    "StateUpdatedTimestamp", "StateTransitionedTimestamp", "EvaluationState", "ActionsSuppressedBy",
    "ActionsSuppressedReason",
}  # fmt: skip
"""What describe-alarms adds to the parameters: the state of the moment, which offline nothing depends on."""

METRIC_PROPERTIES = _COMMON | {
    "MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit", "EvaluationPeriods",
    "DatapointsToAlarm", "Threshold", "ComparisonOperator", "TreatMissingData", "EvaluateLowSampleCountPercentile",
    "Metrics", "ThresholdMetricId", "EvaluationWindow", "WarmUpConfiguration", "EvaluationCriteria",
    "EvaluationInterval",
}  # fmt: skip
COMPOSITE_PROPERTIES = _COMMON | {
    "AlarmRule", "ActionsSuppressor", "ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod",
}  # fmt: skip
LOG_PROPERTIES = _COMMON | {
    "ScheduledQueryConfiguration", "QueryResultsToEvaluate", "QueryResultsToAlarm", "Threshold", "ComparisonOperator",
    "TreatMissingData", "ActionLogLineCount", "ActionLogLineRoleArn", "WarmUpConfiguration",
}  # fmt: skip
MUTE_PROPERTIES = {"Name", "Description", "Rule", "MuteTargets", "Tags", "StartDate", "ExpireDate"}
PARTS = {
    "Dimensions": {"Name", "Value"},
    "Metrics": {"Id", "MetricStat", "Expression", "Label", "ReturnData", "Period", "AccountId"},
    "MetricStat": {"Metric", "Period", "Stat", "Unit"},
    "Metric": {"Namespace", "MetricName", "Dimensions"},
    "EvaluationWindow": {"WallClockWindow", "SlidingWindow"},
    "WallClockWindow": {"Timezone"},
    "SlidingWindow": set(),
    "WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes", "OnlyStartEvaluatingAfterWarmUpPeriodEnds"},
    "EvaluationCriteria": {"PromQLCriteria"},
    "PromQLCriteria": {"Query", "PendingPeriod", "RecoveryPeriod"},
    "ScheduledQueryConfiguration": {
        "QueryString", "LogGroupIdentifiers", "QueryARN", "ScheduledQueryRoleARN", "ScheduleConfiguration",
        "AggregationExpression", "Tags",
    },
    "ScheduleConfiguration": {"ScheduleExpression", "StartTimeOffset", "EndTimeOffset"},
    "Rule": {"Schedule"},
    "Schedule": {"Expression", "Duration", "Timezone"},
    "MuteTargets": {"AlarmNames"},
}  # fmt: skip
"""The members of what is nested, by the property that holds it."""

_LATER = {"QueryLanguage", "AlarmMuteRuleArn", "Status", "LastUpdatedTimestamp", "MuteType", "Arn"}
"""What CloudFormation or a description adds to the API's parameters."""

UNITS = {
    "Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits",
    "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count", "Bytes/Second", "Kilobytes/Second",
    "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second",
    "Gigabits/Second", "Terabits/Second", "Count/Second", "None",
}  # fmt: skip

_NEEDED_NOW = (
    "ComparisonOperator", "DatapointsToAlarm", "EvaluationPeriods", "ExtendedStatistic", "Period", "Statistic",
    "Threshold", "TreatMissingData", "QueryResultsToEvaluate", "QueryResultsToAlarm",
)  # fmt: skip
"""What must be a number or one of a few words: a placeholder cannot be evaluated."""


def check_known(parameters: Json, known: set[str]) -> None:
    """Raise for a property that the API does not know, here or in what is nested, and for what is not known yet."""
    for key, value in parameters.items():
        if key not in known | _STATE | _LATER:
            near = get_close_matches(key, known, 1)
            raise UnsupportedError(
                f"property {key!r} is not known to this version" + "".join(f"; is it {name}?" for name in near)
            )
        if key in _NEEDED_NOW and (isinstance(value, Mapping) or "${" in str(value) or "{{resolve:" in str(value)):
            raise UnsupportedError(f"{key} is {value}, which only a deployment knows")
        for part in value if isinstance(value, list) else [value]:
            if key in PARTS and isinstance(part, Mapping):
                check_known(part, PARTS[key])


def metric_alarm(parameters: Json) -> MetricAlarm:
    """Return the alarm of PutMetricAlarm's parameters; UnsupportedError for what is not evaluated offline."""
    check_known(parameters, METRIC_PROPERTIES)
    if parameters.get("EvaluationCriteria") or parameters.get("EvaluationInterval"):
        raise UnsupportedError("EvaluationCriteria: a PromQL query is not evaluated offline")
    queries, result, period_s = _queries(parameters)
    periods = int(parameters["EvaluationPeriods"])
    band = str(parameters.get("ThresholdMetricId") or "")
    alarm = MetricAlarm(
        name=str(parameters["AlarmName"]),
        queries=queries,
        result=result,
        period_s=period_s,
        periods=periods,
        datapoints=int(parameters.get("DatapointsToAlarm") or periods),
        threshold=float("nan") if band else float(parameters["Threshold"]),
        comparison=Comparison(_one_of(Comparison, "ComparisonOperator", parameters["ComparisonOperator"])),
        missing=Missing(_one_of(Missing, "TreatMissingData", parameters.get("TreatMissingData") or Missing.MISSING)),
        ignore_low_samples=parameters.get("EvaluateLowSampleCountPercentile") == "ignore",
        warm_up=_warm_up(parameters.get("WarmUpConfiguration")),
        acts=truth(parameters.get("ActionsEnabled", True)),
        actions=_actions(parameters),
        band=band,
        wall_clock=_wall_clock(parameters.get("EvaluationWindow") or {}),
    )
    check(alarm)
    return alarm


def composite_alarm(parameters: Json) -> CompositeAlarm:
    """Return the alarm of PutCompositeAlarm's parameters, its rule checked."""
    check_known(parameters, COMPOSITE_PROPERTIES)
    parse_rule(parameters["AlarmRule"])
    suppressor = parameters.get("ActionsSuppressor")
    return CompositeAlarm(
        str(parameters["AlarmName"]),
        parameters["AlarmRule"],
        alarm_name(str(suppressor)) if suppressor else None,
        int(parameters.get("ActionsSuppressorWaitPeriod") or 0),
        int(parameters.get("ActionsSuppressorExtensionPeriod") or 0),
        truth(parameters.get("ActionsEnabled", True)),
        _actions(parameters),
    )


def log_alarm(parameters: Json) -> LogAlarm:
    """Return the alarm of PutLogAlarm's parameters."""
    check_known(parameters, LOG_PROPERTIES)
    query = parameters["ScheduledQueryConfiguration"]
    if query.get("QueryLanguage", "CWLI") not in {"CWLI", "LogsQL"}:
        raise UnsupportedError(f"a query in {query['QueryLanguage']} is not evaluated offline")
    schedule = query["ScheduleConfiguration"]
    periods = int(parameters["QueryResultsToEvaluate"])
    return LogAlarm(
        name=str(parameters["AlarmName"]),
        query=str(query.get("QueryString", "")),
        aggregation=str(query["AggregationExpression"]),
        every_s=every_s(str(schedule["ScheduleExpression"])),
        start_offset_s=int(schedule["StartTimeOffset"]),
        end_offset_s=int(schedule.get("EndTimeOffset") or 0),
        periods=periods,
        datapoints=int(parameters.get("QueryResultsToAlarm") or periods),
        threshold=float(parameters["Threshold"]),
        comparison=Comparison(_one_of(Comparison, "ComparisonOperator", parameters["ComparisonOperator"])),
        missing=Missing(_one_of(Missing, "TreatMissingData", parameters.get("TreatMissingData") or Missing.MISSING)),
        warm_up=_warm_up(parameters.get("WarmUpConfiguration")),
        acts=truth(parameters.get("ActionsEnabled", True)),
        actions=_actions(parameters),
    )


def mute_rule(parameters: Json) -> MuteRule:
    """Return the rule of PutAlarmMuteRule's parameters."""
    check_known(parameters, MUTE_PROPERTIES)
    schedule = parameters["Rule"]["Schedule"]
    rule = MuteRule(
        name=str(parameters.get("Name") or "mute rule"),
        alarms=tuple(alarm_name(str(name)) for name in (parameters.get("MuteTargets") or {}).get("AlarmNames", ())),
        schedule=str(schedule["Expression"]),
        duration_s=iso_duration_s(str(schedule["Duration"])),
        timezone=str(schedule.get("Timezone") or "UTC"),
        start_s=_moment(parameters.get("StartDate")),
        expire_s=_moment(parameters.get("ExpireDate")),
    )
    check_schedule(rule.schedule, rule.timezone)
    return rule


def _one_of(kind: type[StrEnum], key: str, value: object) -> str:
    if value not in {*kind}:
        raise DefinitionError(f"{key} {value!r}; there are {', '.join(kind)}")
    return str(value)


def truth(value: object) -> bool:
    """Return a boolean that may be written as text, as in templates."""
    return str(value).lower() == "true"


def _moment(value: object) -> float | None:
    return None if value is None else float(value) if isinstance(value, int | float) else moment_s(str(value))


def _actions(parameters: Json) -> Actions | None:
    if not any(key in parameters for key in ACTIONS.values()):
        return None
    return {state: tuple(map(str, parameters.get(key) or ())) for state, key in ACTIONS.items()}


def _warm_up(configuration: Json | None) -> WarmUp | None:
    if not configuration:
        return None
    whole = truth(configuration.get("OnlyStartEvaluatingAfterWarmUpPeriodEnds", False))
    return WarmUp(60 * int(configuration["WarmUpPeriodDurationInMinutes"]), whole)


def _wall_clock(window: Json) -> str | None:
    if "WallClockWindow" not in window:
        return None
    zone = str((window["WallClockWindow"] or {}).get("Timezone") or "UTC")
    zone_of(zone)
    return zone


def _queries(parameters: Json) -> tuple[tuple[Query, ...], str, int]:
    """Return the queries, the id of the watched one and the period in seconds."""
    entries = parameters.get("Metrics")
    if not entries:
        query = Query("m1", _metric(parameters), _statistic(parameters), unit=_unit(parameters))
        return (query,), "m1", int(parameters["Period"])
    queries = tuple(_query(entry) for entry in entries)
    watched = [entry["Id"] for entry in entries if truth(entry.get("ReturnData", True))]
    # The band of an anomaly alarm returns data as well, and is what the other one is compared with.
    watched = [name for name in watched if name != parameters.get("ThresholdMetricId")]
    if len(watched) != 1:
        beside = " beside its band" if parameters.get("ThresholdMetricId") else ""
        which = f" ({', '.join(watched)})" if watched else ""
        raise DefinitionError(f"{len(watched)} queries{beside} return data{which}; an alarm watches exactly one")
    periods = {int(entry["MetricStat"]["Period"]) for entry in entries if entry.get("MetricStat")}
    periods = periods or {int(entry["Period"]) for entry in entries if entry.get("Period")}
    if len(periods) != 1:
        raise DefinitionError(f"periods {sorted(periods)} s; all metrics of an alarm share one period")
    return queries, watched[0], periods.pop()


def _query(entry: Json) -> Query:
    if entry.get("MetricStat"):
        stat = entry["MetricStat"]
        return Query(entry["Id"], _metric(stat["Metric"]), _statistic({"Statistic": stat["Stat"]}), unit=_unit(stat))
    return Query(entry["Id"], expression=entry["Expression"])


def _metric(source: Json) -> Metric:
    return Metric(str(source["Namespace"]), str(source["MetricName"]), dimensions(source.get("Dimensions") or ()))


def dimensions(pairs: Iterable[Json]) -> tuple[tuple[str, str], ...]:
    """Return the API's list of Name and Value as pairs, sorted."""
    return tuple(sorted((str(pair["Name"]), str(pair["Value"])) for pair in pairs))


def _unit(source: Json) -> str | None:
    unit = source.get("Unit")
    if unit and unit not in UNITS:
        near = get_close_matches(str(unit), UNITS, 1)
        raise DefinitionError(f"unit {unit!r} is none of CloudWatch's" + "".join(f"; is it {name}?" for name in near))
    return unit or None


def _statistic(source: Json) -> str:
    name = str(source.get("ExtendedStatistic") or source["Statistic"])
    parse_statistic(name)
    return name
