"""From the catalog's panels to dashboard bodies: what stands where, drawn how."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.body import COLUMNS
from dashboards.product.specs import home
from telemetry.catalog import OPERATION_DIMENSION, Unit
from telemetry.watch import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.product.specs import Catalog
    from telemetry.catalog import Metric, Operation, Panel
    from telemetry.watch import Alarm, Composite, Limits, Names, Signal, Slo

REGION = "${AWS::Region}"
"""Filled in where the body is deployed (Fn::Sub); only a deployment knows its region and account."""

_ARN = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
_CHOSEN = "chosen-target"
"""What the variable of a dashboard replaces by the target that its reader chooses."""

_PERIOD_S, _HOUR_S, _WEEK_S = 300, 3600, 604_800
_COLORS = {"page": "#d13212", "ticket": "#b7791f"}
_GREEN = "#2ca02c"
_ASKED_FIRST = ("packaging-broken", "packaging-impaired")
_MANY = 6  # lines whose names below the chart would leave no room for it
_INTRODUCTIONS = {
    "overview": "Is packaging working, for whom is it not, how close are the limits?",
    "service": "The function and what is around it: invocations, the API, state machines, dead letters, records.",
    "storage": "Scratch disk and memory: now, the trend, and week by week what was reached.",
    "targets": "Every target on its own, and every step of the way to its component.",
    "telemetry": "Can what the other dashboards say be relied on?",
}
Body = dict[str, Any]
Line = list[Any]


@dataclass
class _Page:
    """Places widgets left to right in rows of equal height; what stands in a row shares its 24 columns."""

    widgets: list[Body] = field(default_factory=list)
    x: int = 0
    y: int = 0
    row: int = 0

    def put(self, kind: str, properties: Body, width: int = 8, height: int = 6) -> None:
        if self.x + width > COLUMNS or (self.x and height != self.row):
            self.end_row()
        self.widgets.append(
            {"type": kind, "x": self.x, "y": self.y, "width": width, "height": height, "properties": properties}
        )
        self.x, self.row = self.x + width, height

    def end_row(self) -> None:
        """Widen what stands in the row until it is full, and begin the next."""
        standing = [widget for widget in self.widgets if widget["y"] == self.y]
        width = COLUMNS // max(1, len(standing))
        for number, widget in enumerate(standing):
            widget |= {"x": number * width, "width": width}
        self.x, self.y = 0, self.y + self.row


def dashboard_bodies(source: Catalog) -> dict[str, Body]:
    """Return the body of every dashboard by name."""
    return {name: _body(name, source) for name in source.dashboards}


def _body(name: str, source: Catalog) -> Body:
    page, first = _Page(), name == source.dashboards[0]
    page.put("text", {"markdown": introduction(name, source)}, 24, 2)
    arns = [_ARN + source.prefix + alarm for alarm in _alarms_of(name, source)]
    if arns:
        only = {"states": ["ALARM"], "sortBy": "stateUpdatedTimestamp"} if first else {}
        title = "In alarm, what names the cause first" if first else "Alarms"
        page.put("alarm", {"title": title, "alarms": arns, **only}, 24, 3 if first else 1 + -(-len(arns) // 4))
    for slo in source.slos if first else ():
        page.put("metric", _budget(slo, source.names), 12)
    panels = [(row, panel) for row in source.rows for panel in row.panels if panel.dashboard == name]
    # The overview has the catalog's order. Elsewhere what an alarm compares, and who is hit, stands above the details,
    # and of those the rows first that the dashboard answers for.
    ahead = [pair for pair in panels if not first and (_watching(*pair, source) or pair[1].by == "target")]
    rest = [pair for pair in panels if pair not in ahead]
    if not first:
        rest.sort(key=lambda pair: not _answers(pair[0], name, source))
    above, below = ([_metric_widget(*pair, source) for pair in pairs] for pairs in (ahead, rest))
    around = [*_elsewhere(name, source)]
    for widget in (*above, *_history(name, source), *(below + around if first else around + below)):
        page.put("metric", widget)
    split = next((row for row, panel in panels if panel.by == "target"), None)
    page.end_row()
    for widget in _one_target(split, source.names) if split else ():
        page.put("metric", widget)
    for alarm in _asked(name, source):
        page.put("log", _log(alarm, source.names), 24)
    page.end_row()
    variables = {"variables": [_variable(split)]} if split else {}
    return {"start": "-PT12H", "periodOverride": "inherit", **variables, "widgets": page.widgets}


def introduction(name: str, source: Catalog) -> str:
    """Return the text at the top of a dashboard: its name, what it is for, and the limits of the deployment."""
    limits = source.limits
    facts = f"{limits.scratch_bytes >> 20:,} MiB scratch, {limits.memory_bytes >> 20:,} MiB memory, {limits.time_s} s"
    about = _INTRODUCTIONS.get(name, "")
    return f"# {source.prefix}{name}\n{about} Limits: {facts}. Every alarm has a runbook of its name."


def _alarms_of(name: str, source: Catalog) -> Iterator[str]:
    """Yield the alarms a dashboard answers for: on the first one all, those that name causes first; else its rows'."""
    if name == source.dashboards[0]:
        slow = tuple(slo.name for slo in source.slos)
        yield from sorted((alarm.name for alarm in source.alarms), key=lambda alarm: alarm.startswith(slow))
        yield from (composite.name for composite in source.composites)
        return
    slos = tuple(slo.name for slo in source.slos)  # their parts mean nothing alone; the overview shows the whole
    for row in source.rows:
        if _answers(row, name, source):
            alarms = source.alarms_of(row)
            yield from (alarm.name for alarm in alarms if not (slos and alarm.name.startswith(slos)))


def _asked(name: str, source: Catalog) -> Iterator[Alarm | Composite]:
    """Yield the alarms whose first query a dashboard shows: on the first one what is asked when packaging fails."""
    if name == source.dashboards[0]:
        yield from (alarm for alarm in source.composites if alarm.name in _ASKED_FIRST)
        return
    firsts = (source.alarms_of(row)[0] for row in source.rows if _answers(row, name, source))
    yield from (alarm for alarm in firsts if alarm.runbook)


def _answers(row: Operation, name: str, source: Catalog) -> bool:
    """Tell whether a row's alarms are a dashboard's to answer for."""
    return bool(source.alarms_of(row) and row.panels and home(row) == name)


def _chart(title: str, metrics: list[Line], period_s: int = _PERIOD_S, **properties: object) -> Body:
    about: Body = {"title": title, "region": REGION, "view": "timeSeries", "period": period_s, "metrics": metrics}
    return {**about, **properties}


def _metric_widget(row: Operation, panel: Panel, source: Catalog) -> Body:
    metrics, watching = _drawn(row, panel), _watching(row, panel, source)
    units = list(dict.fromkeys(metric.unit for metric in metrics))
    axes = dict(zip(("left", "right"), units, strict=False))
    thresholds = [
        _threshold(alarm, source.limits, axis)
        for alarm in watching
        for metric in metrics
        for axis, unit in axes.items()
        if metric.name == alarm.signals[0].metric and metric.unit == unit
    ]
    drawn = [
        line
        for metric in metrics
        for line in _lines(source.names.namespace, row, panel, metric, "left" if metric.unit == units[0] else "right")
    ]
    return _chart(
        panel.title,
        drawn,
        min((alarm.period_s for alarm in watching), default=_PERIOD_S),
        yAxis={axis: {"label": _axis(unit), "showUnits": False, "min": 0} for axis, unit in axes.items()},
        **({"legend": {"position": "right"}} if len(drawn) > _MANY else {}),
        **({"annotations": {"horizontal": thresholds}} if thresholds else {}),
    )


def _axis(unit: Unit) -> str:
    return "Ratio" if unit is Unit.NONE else str(unit)


def _drawn(row: Operation, panel: Panel) -> list[Metric]:
    known = {metric.field: metric for metric in row.all_metrics}
    return [known[name] for name in panel.fields if name in known]


def _watching(row: Operation, panel: Panel, source: Catalog) -> list[Alarm]:
    """Return the alarms whose threshold is a value of the panel's metrics, not of an expression over several."""
    names = {metric.name for metric in _drawn(row, panel)}
    ours = ((OPERATION_DIMENSION, row.name),)
    plain = [alarm for alarm in source.alarms_of(row) if not alarm.expression and not panel.by]
    return [alarm for alarm in plain if all(s.metric in names and s.dimensions == ours for s in alarm.signals)]


def _lines(namespace: str, row: Operation, panel: Panel, metric: Metric, axis: str) -> Iterator[Line]:
    side = {"yAxis": axis} if axis == "right" else {}
    line = [namespace, metric.name, OPERATION_DIMENSION, row.name]
    split = next((dimension for dimension in row.dimensions if dimension.field == panel.by), None)
    if split is None:
        label = f"{_words(metric.name)} ({metric.statistic})"
        yield [*line, {"label": label, "stat": metric.statistic, **side, **_colored(metric)}]
        return
    for value in split.values:
        label = value if len(panel.fields) == 1 else f"{_words(metric.name)}: {value}"
        yield [*line, split.name, value, {"label": label, "stat": metric.statistic, **side}]


def _colored(metric: Metric) -> Body:
    """Return good in green and bad in red, wherever they stand alone."""
    color = {"success": _GREEN, "failure": _COLORS["page"], "targets_failed": _COLORS["page"]}.get(metric.field)
    return {"color": color} if color else {}


def _words(name: str) -> str:
    words = re.findall(r"[A-Z]{2,}(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+", name)
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])


def _threshold(alarm: Alarm, limits: Limits, axis: str = "left") -> Body:
    color = _COLORS.get(alarm.severity, _COLORS["page"])
    value = alarm.threshold.value(limits)
    return {"label": f"{alarm.name}, {alarm.severity}", "value": value, "color": color, "yAxis": axis}


def _signal(signal: Signal, names: Names, **rendering: object) -> Line:
    dimensions = [part for pair in signal.dimension_values(names).items() for part in pair]
    return [names.filled(signal.namespace), signal.metric, *dimensions, {"stat": signal.statistic, **rendering}]


def _budget(slo: Slo, names: Names) -> Body:
    """Return the widget of an SLO: the share of bad events per hour against what the budget allows."""
    signals = {signal.id: signal for signal in (*slo.bad, *slo.total)}
    bad = " + ".join(f"FILL({signal.id}, 0)" for signal in slo.bad)
    total = " + ".join(signal.id for signal in slo.total)
    share = {"expression": f"100 * ({bad}) / ({total})", "label": "Bad events (%)", "id": "share"}
    allowed = {"label": f"budget of {slo.window_days} days", "value": round(100 * slo.budget, 6)}
    return _chart(
        f"SLO: {slo.meaning[0].lower()}{slo.meaning[1:]}",
        [*(_signal(signal, names, id=name, visible=False) for name, signal in signals.items()), [share]],
        _HOUR_S,
        yAxis={"left": {"label": "Percent", "showUnits": False, "min": 0}},
        annotations={"horizontal": [{**allowed, "color": _COLORS["ticket"]}]},
    )


def _elsewhere(name: str, source: Catalog) -> Iterator[Body]:
    """Yield widgets for what alarms watch and no row emits: metrics of AWS's own namespaces, each once."""
    drawn: dict[tuple[str, ...], list[Alarm]] = {}
    for alarm in source.alarms:
        signals = [signal for signal in alarm.signals if signal.namespace != OURS]
        about_logs = any(signal.namespace == "AWS/Logs" for signal in signals)
        if signals and name == source.dashboards[-1 if about_logs else min(1, len(source.dashboards) - 1)]:
            drawn.setdefault(tuple(signal.metric for signal in signals), []).append(alarm)
    for alarms in drawn.values():
        signals = [signal for signal in alarms[0].signals if signal.namespace != OURS]
        title = f"{signals[0].namespace}: {', '.join(dict.fromkeys(_words(signal.metric) for signal in signals))}"
        lines = [_signal(signal, source.names, label=_label(signal)) for signal in signals]
        plain = [_threshold(alarm, source.limits) for alarm in alarms if not alarm.expression]
        yield _chart(title, lines, alarms[0].period_s, **({"annotations": {"horizontal": plain}} if plain else {}))


def _label(signal: Signal) -> str:
    many = any(value.endswith("-many") for _, value in signal.dimensions)
    return _words(signal.metric) + (" (many models)" if many else "")


def _history(name: str, source: Catalog) -> Iterator[Body]:
    """Yield, for the storage dashboard, what each metric with a limit in bytes reached per week over twelve weeks."""
    found: dict[Signal, list[Alarm]] = {}
    for alarm in source.alarms if name == "storage" else ():
        if alarm.threshold.of.endswith("_bytes") and not alarm.expression:
            found.setdefault(alarm.signals[0], []).append(alarm)
    for signal, alarms in found.items():
        limits = {"horizontal": [_threshold(alarm, source.limits) for alarm in alarms]}
        title = f"History: {_words(signal.metric).lower()}, largest of each week"
        line = _signal(signal, source.names, label=_words(signal.metric))
        yield _chart(title, [line], _WEEK_S, start="-P84D", end="P0D", annotations=limits)


def _one_target(row: Operation, names: Names) -> Iterator[Body]:
    """Yield the widgets that show the target which the dashboard's reader chooses."""
    split = next(dimension for dimension in row.dimensions if dimension.field == "target")
    for title, fields in (("good and bad", {"success", "failure"}), ("time", {"duration_ms"})):
        metrics = [metric for metric in row.all_metrics if metric.field in fields]
        lines = [
            [
                names.namespace,
                m.name,
                OPERATION_DIMENSION,
                row.name,
                split.name,
                _CHOSEN,
                {"label": _words(m.name), "stat": m.statistic, **_colored(m)},
            ]
            for m in metrics
        ]
        yield _chart(f"Target {_CHOSEN}: {title}", lines)


def _variable(row: Operation) -> Body:
    values = next(dimension for dimension in row.dimensions if dimension.field == "target").values
    return {
        "id": "target",
        "type": "pattern",
        "pattern": _CHOSEN,
        "inputType": "select",
        "label": "Target",
        "defaultValue": values[0],
        "visible": True,
        "values": [{"label": value, "value": value} for value in values],
    }


def _log(alarm: Alarm | Composite, names: Names) -> Body:
    query = f"SOURCE '/aws/lambda/{names.function}' | {alarm.runbook.query}"
    return {
        "title": f"Logs: first query of the runbook {alarm.name}",
        "query": query,
        "region": REGION,
        "view": "table",
    }
