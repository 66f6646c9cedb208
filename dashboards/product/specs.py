"""From the catalog to the parameters of PutMetricAlarm and PutCompositeAlarm, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import Comparison, Metric
from telemetry import catalog, watch
from telemetry.watch import Alarm, Composite, Limits, Names, Signal, Slo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.catalog import Operation

Parameters = dict[str, Any]
_MAX_DESCRIPTION = 1024


@dataclass(frozen=True)
class Catalog:
    """What is built: the rows, what watches them, the limits of all thresholds, and the names of one stage."""

    rows: tuple[Operation, ...] = catalog.ROWS
    alarms: tuple[Alarm, ...] = watch.ALARMS
    composites: tuple[Composite, ...] = watch.COMPOSITES
    slos: tuple[Slo, ...] = watch.SLOS
    limits: Limits = field(default_factory=Limits)
    dashboards: tuple[str, ...] = catalog.DASHBOARDS
    names: Names = field(default_factory=Names)

    @property
    def prefix(self) -> str:
        return self.names.prefix

    def alarms_of(self, row: Operation) -> list[Alarm]:
        """Return the alarms that belong to a row."""
        return [alarm for alarm in self.alarms if alarm.row == row.name]

    @property
    def everything(self) -> tuple[Alarm | Composite, ...]:
        """Return all alarms, those over alarms first."""
        return (*self.composites, *self.alarms)

    def notifying_composites(self, alarm: Alarm | Composite) -> list[str]:
        """Return the names of the composites that call somebody for an alarm which does not do so itself."""
        found: dict[str, None] = {}
        for above in (composite for composite in self.composites if alarm.name in composite.children):
            found |= dict.fromkeys([above.name] if above.notifies else self.notifying_composites(above))
        return list(found)


def alarm_parameters(source: Catalog, topics: Mapping[str, str] | None = None) -> dict[str, list[Parameters]]:
    """Return `MetricAlarms` and `CompositeAlarms`, children before those that watch them.

    `topics` gives the ARN to notify by severity (`page`, `ticket`); alarms that a composite speaks for notify nobody.
    """
    known = topics or {}
    return {
        "MetricAlarms": [metric_parameters(alarm, source, known) for alarm in source.alarms],
        "CompositeAlarms": [composite_parameters(composite, source, known) for composite in source.composites],
    }


def metric_parameters(alarm: Alarm, source: Catalog, topics: Mapping[str, str]) -> Parameters:
    """Return the parameters of PutMetricAlarm, without Unit: with it, data of another unit would be missing data."""
    threshold = alarm.threshold.value(source.limits)
    gaps = f"Missing data is {alarm.missing}: {alarm.missing_why}."
    why = f"{alarm.meaning}. Threshold {threshold:,.12g} ({alarm.threshold}). {gaps}"
    return {
        **_common(alarm, source, topics, why),
        **_watched(alarm, source.names),
        "EvaluationPeriods": alarm.periods,
        "DatapointsToAlarm": alarm.datapoints,
        "Threshold": threshold,
        "ComparisonOperator": str(_COMPARISONS[alarm.comparison]),
        "TreatMissingData": str(alarm.missing),
        **({"WarmUpConfiguration": _warm_up(alarm.warm_up_s // 60)} if alarm.warm_up_s else {}),
    }


def composite_parameters(composite: Composite, source: Catalog, topics: Mapping[str, str]) -> Parameters:
    """Return the parameters of PutCompositeAlarm."""
    about = _common(composite, source, topics, f"{composite.meaning}.")
    parameters = {**about, "AlarmRule": composite.full_rule(source.prefix)}
    if composite.suppressor:
        parameters |= {
            "ActionsSuppressor": source.prefix + composite.suppressor,
            "ActionsSuppressorWaitPeriod": composite.suppressor_wait_s,
            "ActionsSuppressorExtensionPeriod": composite.suppressor_extension_s,
        }
    return parameters


def _common(alarm: Alarm | Composite, source: Catalog, topics: Mapping[str, str], why: str) -> Parameters:
    name = source.prefix + alarm.name
    description = f"[{alarm.severity}] {why} Runbook: {source.names.runbook(name)}"
    heard = [topics[alarm.severity]] if alarm.notifies and alarm.severity in topics else []
    return {
        "AlarmName": name,
        "AlarmDescription": description[:_MAX_DESCRIPTION],
        "ActionsEnabled": alarm.notifies,
        **({"AlarmActions": heard, "OKActions": heard} if heard else {}),
        "Tags": [{"Key": "severity", "Value": str(alarm.severity)}],
    }


def _warm_up(minutes: int) -> Parameters:
    return {"WarmUpPeriodDurationInMinutes": minutes, "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True}


_COMPARISONS = {each.sign: each for each in Comparison}


def _watched(alarm: Alarm, names: Names) -> Parameters:
    if not alarm.expression:
        (signal,) = alarm.signals
        kind = "Statistic" if signal.statistic[0].isupper() else "ExtendedStatistic"
        return {**_metric(signal, names), kind: signal.statistic, "Period": alarm.period_s}
    stats = [
        {
            "Id": signal.id,
            "MetricStat": {"Metric": _metric(signal, names), "Period": alarm.period_s, "Stat": signal.statistic},
            "ReturnData": False,
        }
        for signal in alarm.signals
    ]
    result = {"Id": "watched", "Expression": alarm.expression, "Label": alarm.name, "ReturnData": True}
    return {"Metrics": [*stats, result]}


def metric_of(signal: Signal, names: Names) -> Metric:
    """Return the metric that a signal asks for."""
    dimensions = tuple(sorted(signal.dimension_values(names).items()))
    return Metric(names.filled(signal.namespace), signal.metric, dimensions)


def _metric(signal: Signal, names: Names) -> Parameters:
    pairs = signal.dimension_values(names).items()
    dimensions = [{"Name": name, "Value": value} for name, value in pairs]
    return {"Namespace": names.filled(signal.namespace), "MetricName": signal.metric, "Dimensions": dimensions}


def slo_parameters(source: Catalog) -> list[Parameters]:
    """Return the SLOs as data: objective, budget, events, and the alarms that tell when the budget burns."""
    return [
        {
            "Name": slo.name,
            "Meaning": slo.meaning,
            "Objective": slo.objective,
            "WindowDays": slo.window_days,
            "Budget": round(slo.budget, 9),
            "Bad": [{**_metric(signal, source.names), "Stat": signal.statistic} for signal in slo.bad],
            "Total": [{**_metric(signal, source.names), "Stat": signal.statistic} for signal in slo.total],
            "MinimumEvents": slo.minimum_events,
            "Alarms": [_burn(slo, rate, source) for rate in watch.BURN_RATES],
        }
        for slo in source.slos
    ]


def _burn(slo: Slo, rate: watch.BurnRate, source: Catalog) -> Parameters:
    return {
        "Name": f"{source.prefix}{slo.name}-{rate.name}",
        "Severity": str(rate.severity),
        "BurnRate": rate.factor,
        "LongWindowSeconds": rate.long_s,
        "ShortWindowSeconds": rate.short_s,
    }
