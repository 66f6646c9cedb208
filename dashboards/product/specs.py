"""From the catalog to the parameters of PutMetricAlarm and PutCompositeAlarm, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import Comparison, Metric
from telemetry import catalog, watch
from telemetry.watch import Alarm, Composite, Limits, Names, Signal, Slo

if TYPE_CHECKING:
    from telemetry.catalog import Operation

Parameters = dict[str, Any]
Topics = Mapping[str, Sequence[str]]
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

    def board_of(self, alarm: Alarm | Composite) -> str:
        """Return the dashboard to open when an alarm calls: the first one for a page, else that of most of its rows."""
        if alarm.severity is watch.Severity.PAGE:
            return self.dashboards[0]
        rows = {row.name: row for row in self.rows}
        boards = [home(rows[name]) for name in self._rows_of(alarm)]
        return max(sorted(set(boards)), key=boards.count)

    def _rows_of(self, alarm: Alarm | Composite) -> list[str]:
        if isinstance(alarm, Alarm):
            return [alarm.row]
        named = {each.name: each for each in self.everything}
        return [row for child in alarm.children for row in self._rows_of(named[child])]

    def notifying_composites(self, alarm: Alarm | Composite) -> list[str]:
        """Return the names of the composites that call somebody for an alarm which does not do so itself."""
        found: dict[str, None] = {}
        for above in (composite for composite in self.composites if alarm.name in composite.children):
            found |= dict.fromkeys([above.name] if above.notifies else self.notifying_composites(above))
        return list(found)


def home(row: Operation) -> str:
    """Return the dashboard that shows most of a row."""
    boards = [panel.dashboard for panel in row.panels]
    return max(sorted(set(boards)), key=boards.count)


def alarm_parameters(source: Catalog, topics: Topics | None = None) -> dict[str, list[Parameters]]:
    """Return `MetricAlarms` and `CompositeAlarms`, children before those that watch them.

    `topics` gives the ARNs to notify by severity (`page`, `ticket`); alarms that a composite speaks for notify nobody.
    """
    known = topics or {}
    return {
        "MetricAlarms": [metric_parameters(alarm, source, known) for alarm in source.alarms],
        "CompositeAlarms": [composite_parameters(composite, source, known) for composite in source.composites],
    }


def metric_parameters(alarm: Alarm, source: Catalog, topics: Topics) -> Parameters:
    """Return the parameters of PutMetricAlarm, without Unit: with it, data of another unit would be missing data."""
    threshold = alarm.threshold.value(source.limits)
    gaps = f"Missing data is {alarm.missing}: {alarm.missing_why}."
    return {
        **_common(alarm, source, topics, f"Threshold {threshold:,.12g} ({alarm.threshold}). {gaps}"),
        **_watched(alarm, source.names),
        "EvaluationPeriods": alarm.periods,
        "DatapointsToAlarm": alarm.datapoints,
        "Threshold": threshold,
        "ComparisonOperator": str(_COMPARISONS[alarm.comparison]),
        "TreatMissingData": str(alarm.missing),
        **({"WarmUpConfiguration": _warm_up(alarm.warm_up_s // 60)} if alarm.warm_up_s else {}),
    }


def composite_parameters(composite: Composite, source: Catalog, topics: Topics) -> Parameters:
    """Return the parameters of PutCompositeAlarm."""
    parameters = {
        **_common(composite, source, topics),
        "AlarmRule": composite.full_rule(source.prefix),
    }
    if composite.suppressor:
        parameters |= {
            "ActionsSuppressor": source.prefix + composite.suppressor,
            "ActionsSuppressorWaitPeriod": composite.suppressor_wait_s,
            "ActionsSuppressorExtensionPeriod": composite.suppressor_extension_s,
        }
    return parameters


def _common(alarm: Alarm | Composite, source: Catalog, topics: Topics, more: str = "") -> Parameters:
    heard = [*topics.get(alarm.severity, ())] if alarm.notifies else []
    return {
        "AlarmName": source.prefix + alarm.name,
        "AlarmDescription": _description(alarm, source, more),
        "ActionsEnabled": alarm.notifies,
        **({"AlarmActions": heard, "OKActions": heard} if heard else {}),
        "Tags": [{"Key": "severity", "Value": str(alarm.severity)}],
    }


def _description(alarm: Alarm | Composite, source: Catalog, more: str) -> str:
    """Return what whoever is called reads: what it means, where to read on, and what to look at first."""
    names = source.names
    parts = [f"[{alarm.severity}] {alarm.meaning}.", f"Runbook: {names.runbook(source.prefix + alarm.name)}"]
    if alarm.notifies:
        parts += [f"Dashboard: {names.dashboard(source.board_of(alarm), start='PT3H')}"]
        parts += [f"Query: {names.insights(alarm.runbook.query)}"]
    parts += [more] if more else []
    while len("\n".join(parts)) > _MAX_DESCRIPTION:
        parts.pop()
    return "\n".join(parts)


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
