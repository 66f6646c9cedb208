"""From the catalog's panels to dashboard bodies: what stands where, drawn how."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from telemetry.catalog import NAMESPACE, OPERATION_DIMENSION, Alarm, Limits, Metric, Operation, Panel, Severity, Slo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dashboards.specs import Catalog

REGION = "${AWS::Region}"
"""Filled in where the body is deployed (Fn::Sub); only a deployment knows its region and account."""

_ARN = "arn:aws:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
_PERIOD_S = 300
_DAY_S = 86_400
_COLORS = {"page": "#d13212", "ticket": "#b7791f"}
_INTRODUCTIONS = {
    "overview": "Is packaging working, for whom is it not, how close are the limits?",
    "storage": "Scratch disk and memory: now, the trend, and the history of four weeks.",
    "targets": "Every target on its own, and every step of the way to its component.",
    "telemetry": "Can what the other dashboards say be relied on? And the portal's records beside it.",
}
Body = dict[str, Any]


@dataclass
class _Page:
    """Places widgets left to right in rows of equal height, full rows of 24 columns."""

    widgets: list[Body] = field(default_factory=list)
    x: int = 0
    y: int = 0
    row: int = 0

    def put(self, kind: str, properties: Body, width: int = 8, height: int = 6) -> None:
        if self.x + width > 24 or (self.x and height != self.row):  # noqa: PLR2004  columns of the grid
            self.x, self.y = 0, self.y + self.row
        self.widgets.append(
            {"type": kind, "x": self.x, "y": self.y, "width": width, "height": height, "properties": properties}
        )
        self.x, self.row = self.x + width, height


def dashboard_bodies(source: Catalog) -> dict[str, Body]:
    """Return the body of every dashboard by name."""
    return {name: _body(name, source) for name in source.dashboards}


def _body(name: str, source: Catalog) -> Body:
    page = _Page()
    own = [row for row in source.rows if any(panel.dashboard == name for panel in row.panels)]
    page.put("text", {"markdown": _introduction(name, source)}, 24, 2)
    arns = [_ARN + source.prefix + alarm for alarm in _alarms_of(name, source)]
    if arns:
        page.put("alarm", {"title": "Alarms", "alarms": arns}, 24, 2 + -(-len(arns) // 4))
    for slo in source.slos if name == source.dashboards[0] else ():
        page.put("metric", _budget(slo, source.limits), 12)
    for row in own:
        for panel in row.panels:
            if panel.dashboard == name:
                page.put("metric", _metric_widget(row, panel, source))
    for properties in _elsewhere(name, source):
        page.put("metric", properties)
    for properties in _history(name, source):
        page.put("metric", properties, 12)
    for title, query in _queries(name, own, source.limits):
        page.put("log", {"title": title, "query": query, "region": REGION, "view": "table"}, 24)
    body: Body = {"start": "-PT12H", "periodOverride": "inherit", "widgets": page.widgets}
    variable = _variable(name, own)
    if variable:
        body["variables"] = [variable]
    return body


def _introduction(name: str, source: Catalog) -> str:
    limits = source.limits
    facts = f"{limits.scratch_bytes >> 20:,} MiB scratch, {limits.memory_bytes >> 20:,} MiB memory, {limits.time_s} s"
    about = _INTRODUCTIONS.get(name, "")
    return f"# {source.prefix}{name}\n{about} Limits: {facts}. Every alarm has a runbook of its name."


def _alarms_of(name: str, source: Catalog) -> Iterator[str]:
    """Yield the alarms a dashboard answers for: those that notify on the first one, else those of its rows."""
    if name == source.dashboards[0]:
        heard = [alarm for alarm in source.everything if alarm.notifies]
        yield from (alarm.name for alarm in sorted(heard, key=lambda alarm: alarm.severity is not Severity.PAGE))
        return
    for row in source.rows:
        if row.panels and _home(row) == name:
            yield from (alarm.name for alarm in row.alarms if not _is_burn(alarm, source))


def _home(row: Operation) -> str:
    boards = [panel.dashboard for panel in row.panels]
    return max(sorted(set(boards)), key=boards.count)


def _is_burn(alarm: Alarm, source: Catalog) -> bool:
    return any(alarm.name.startswith(slo.name) for slo in source.slos)


def _metric_widget(row: Operation, panel: Panel, source: Catalog) -> Body:
    known = {metric.field: metric for metric in row.all_metrics}
    metrics = [known[name] for name in panel.fields if name in known]
    units = list(dict.fromkeys(metric.unit for metric in metrics))
    watching = [alarm for alarm in row.alarms if _draws(alarm, row, metrics)]
    properties: Body = {
        "title": panel.title,
        "region": REGION,
        "view": "timeSeries",
        "stacked": False,
        "period": min((alarm.period_s for alarm in watching), default=_PERIOD_S),
        "metrics": list(_lines(row, panel, metrics)),
        "yAxis": {
            side: {"label": str(unit), "showUnits": False, "min": 0}
            for side, unit in zip(("left", "right"), units, strict=False)
        },
    }
    if watching and not panel.by:
        properties["annotations"] = {"horizontal": [_threshold(alarm, metrics, units, source) for alarm in watching]}
    return properties


def _lines(row: Operation, panel: Panel, metrics: list[Metric]) -> Iterator[list[Any]]:
    units = list(dict.fromkeys(metric.unit for metric in metrics))
    split = next((dimension for dimension in row.dimensions if dimension.field == panel.by), None)
    for metric in metrics:
        side = {} if metric.unit == units[0] else {"yAxis": "right"}
        line = [NAMESPACE, metric.name, OPERATION_DIMENSION, row.name]
        if split is None:
            yield [*line, {"label": f"{_words(metric.name)} ({metric.statistic})", "stat": metric.statistic, **side}]
            continue
        for value in split.values:
            label = value if len(metrics) == 1 else f"{_words(metric.name)}: {value}"
            yield [*line, split.name, value, {"label": label, "stat": metric.statistic, **side}]


def _words(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return words[0] + words[1:].lower()


def _draws(alarm: Alarm, row: Operation, metrics: list[Metric]) -> bool:
    """Tell whether an alarm's threshold is a value of one of these metrics, not of an expression over several."""
    names = {metric.name for metric in metrics}
    ours = ((OPERATION_DIMENSION, row.name),)
    return not alarm.expression and all(s.metric in names and s.dimensions == ours for s in alarm.signals)


def _threshold(alarm: Alarm, metrics: list[Metric], units: list[Any], source: Catalog) -> Body:
    metric = next(metric for metric in metrics if metric.name == alarm.signals[0].metric)
    return {
        "label": f"{alarm.name}, {alarm.severity}",
        "value": alarm.threshold.value(source.limits),
        "color": _COLORS.get(alarm.severity, _COLORS["page"]),
        "yAxis": "left" if metric.unit == units[0] else "right",
    }


def _budget(slo: Slo, limits: Limits) -> Body:
    """Return the widget of an SLO: the share of bad events per hour against what the budget allows."""
    signals = list(dict.fromkeys((*slo.bad, *slo.total)))
    metrics: list[list[Any]] = [
        [
            s.namespace,
            s.metric,
            *_flat(s.dimension_values(limits).items()),
            {"id": s.id, "stat": s.statistic, "visible": False},
        ]
        for s in signals
    ]
    bad = " + ".join(f"FILL({signal.id}, 0)" for signal in slo.bad)
    total = " + ".join(signal.id for signal in slo.total)
    metrics.append([{"expression": f"100 * ({bad}) / ({total})", "label": "Bad events (%)", "id": "share"}])
    allowed = {
        "label": f"budget of {slo.window_days} days",
        "value": round(100 * slo.budget, 6),
        "color": _COLORS["ticket"],
    }
    return {
        "title": f"Promise: {slo.meaning[0].lower()}{slo.meaning[1:]}",
        "region": REGION,
        "view": "timeSeries",
        "period": 3600,
        "metrics": metrics,
        "yAxis": {"left": {"label": "Percent", "showUnits": False, "min": 0}},
        "annotations": {"horizontal": [allowed]},
    }


def _flat(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [part for pair in pairs for part in pair]


def _elsewhere(name: str, source: Catalog) -> Iterator[Body]:
    """Yield widgets for what alarms watch and no row emits: metrics of AWS's own namespaces."""
    for row in source.rows:
        for alarm in row.alarms:
            signals = [signal for signal in alarm.signals if signal.namespace != NAMESPACE]
            board = source.dashboards[-1] if any(s.namespace == "AWS/Logs" for s in signals) else source.dashboards[0]
            if signals and board == name:
                yield {
                    "title": f"{signals[0].namespace}: {', '.join(_words(signal.metric) for signal in signals)}",
                    "region": REGION,
                    "view": "timeSeries",
                    "period": alarm.period_s,
                    "metrics": [
                        [
                            s.namespace,
                            s.metric,
                            *_flat(s.dimension_values(source.limits).items()),
                            {"stat": s.statistic},
                        ]
                        for s in signals
                    ],
                    "annotations": {
                        "horizontal": [{"label": alarm.name, "value": alarm.threshold.value(source.limits)}]
                    },
                }


def _history(name: str, source: Catalog) -> Iterator[Body]:
    """Yield what the limits' metrics reached per day over four weeks, where an alarm compares them with a limit."""
    for row in source.rows:
        for alarm in row.alarms if _home(row) == name or name == "storage" else ():
            signal = alarm.signals[0]
            if name == "storage" and alarm.threshold.of.endswith("_bytes") and signal.statistic == "Maximum":
                yield {
                    "title": f"Four weeks: {_words(signal.metric).lower()} of {row.span}, {alarm.name}",
                    "region": REGION,
                    "view": "timeSeries",
                    "start": "-P28D",
                    "end": "P0D",
                    "period": _DAY_S,
                    "metrics": [
                        [
                            signal.namespace,
                            signal.metric,
                            *_flat(signal.dimension_values(source.limits).items()),
                            {"stat": "Maximum"},
                        ]
                    ],
                    "annotations": {
                        "horizontal": [{"label": alarm.name, "value": alarm.threshold.value(source.limits)}]
                    },
                }


def _queries(name: str, own: list[Operation], limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield the first query of the first alarm of the dashboard's rows: what happened, in the log's own words."""
    for row in own:
        alarm = next((alarm for alarm in row.alarms if alarm.runbook), None)
        if alarm and _home(row) == name:
            yield f"Lines behind {alarm.name}", f"SOURCE '/aws/lambda/{limits.function_name}' | {alarm.runbook.query}"
            return


def _variable(name: str, own: list[Operation]) -> Body | None:
    """Return a variable over the values of the dimension that splits most panels, for dashboards with such panels."""
    split = [(row, panel.by) for row in own for panel in row.panels if panel.dashboard == name and panel.by == "target"]
    if not split:
        return None
    dimension = next(d for d in split[0][0].dimensions if d.field == "target")
    return {
        "id": "target",
        "type": "property",
        "property": dimension.name,
        "inputType": "select",
        "label": dimension.name,
        "visible": True,
        "values": [{"label": value, "value": value} for value in dimension.values],
    }
