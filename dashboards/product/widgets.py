"""Widgets: charts of panels with their thresholds, objectives, numbers and tables of log lines, each as properties."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telemetry.catalog import OPERATION_DIMENSION, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.product.specs import Catalog
    from telemetry.catalog import Metric, Operation, Panel
    from telemetry.watch import Alarm, Composite, Limits, Names, Signal, Slo

REGION = "${AWS::Region}"
"""Filled in where the body is deployed (Fn::Sub); only a deployment knows its region and account."""

PERIOD_S, HOUR_S = 300, 3600
COLORS = {"page": "#d13212", "ticket": "#b7791f"}
_GREEN = "#2ca02c"
_MANY = 6  # lines whose names below the chart would leave no room for it
Body = dict[str, Any]
Line = list[Any]


def chart(title: str, metrics: list[Line], period_s: int = PERIOD_S, **properties: object) -> Body:
    """Return a chart over time; `properties` go beside its own, and before them."""
    about: Body = {"title": title, "region": REGION, "view": "timeSeries", "period": period_s, "metrics": metrics}
    return {**about, **properties}


@dataclass(frozen=True)
class Scale:
    """How numbers of a unit are shown to people: divided by so much, under that name."""

    by: float
    name: str


MIB, GIB = Scale(float(1 << 20), "MiB"), Scale(float(1 << 30), "GiB")
_SCALES: dict[Unit, tuple[Scale, ...]] = {
    Unit.BYTES: (MIB, GIB),
    Unit.BYTES_PER_SECOND: (Scale(MIB.by, "MiB/s"),),
    Unit.MILLISECONDS: (Scale(1000.0, "s"), Scale(60_000.0, "min")),
    Unit.SECONDS: (Scale(60.0, "min"),),
    Unit.NONE: (Scale(1.0, "Ratio"),),
}
_READABLE = 600
"""From here on a limit is told in the next larger unit: 15 min, not 900 s; 6 GiB, not 6,144 MiB."""


def scale(unit: Unit, limits: Sequence[float] = ()) -> Scale:
    """Return how numbers of a unit are shown beside limits in that unit."""
    first, *larger = _SCALES.get(unit, (Scale(1.0, str(unit)),))
    return larger[0] if larger and max(limits, default=0.0) / first.by >= _READABLE else first


def metric_widget(row: Operation, panel: Panel, source: Catalog) -> Body:
    """Return the chart of a panel: bytes in MiB or GiB, times in seconds or minutes, with the limits of its alarms."""
    metrics, alarms = _drawn(row, panel), watching(row, panel, source)
    units = list(dict.fromkeys(metric.unit for metric in metrics))
    axes = dict(zip(("left", "right"), units, strict=False))
    bounds = [
        (alarm, axis, metric.unit)
        for alarm in alarms
        for metric in metrics
        for axis, unit in axes.items()
        if metric.name == alarm.signals[0].metric and metric.unit == unit
    ]
    scales = {
        unit: scale(unit, [alarm.threshold.value(source.limits) for alarm, _, of in bounds if of == unit])
        for unit in units
    }
    drawn = [
        line
        for number, metric in enumerate(metrics, 1)
        for line in scaled(
            [*_lines(source.names.namespace, row, panel, metric, "left" if metric.unit == units[0] else "right")],
            scales[metric.unit],
            number,
        )
    ]
    thresholds = [threshold(alarm, source.limits, axis, scales[unit].by) for alarm, axis, unit in bounds]
    return chart(
        panel.title,
        drawn,
        min((alarm.period_s for alarm in alarms), default=PERIOD_S),
        yAxis={axis: {"label": scales[unit].name, "showUnits": False, "min": 0} for axis, unit in axes.items()},
        **({"legend": {"position": "right"}} if len(drawn) > _MANY else {}),
        **({"annotations": {"horizontal": thresholds}} if thresholds else {}),
    )


def scaled(lines: Sequence[Line], shown_in: Scale, number: int) -> Iterator[Line]:
    """Yield lines as they are shown: where they are divided, the metric is there for the expression alone."""
    if shown_in.by == 1:
        yield from lines
        return
    for count, line in enumerate(lines, 1):
        name, shown = f"m{number}x{count}", dict(line[-1])
        yield [*line[:-1], {"id": name, "stat": shown.pop("stat"), "visible": False}]
        yield [{"expression": f"{name} / {shown_in.by:.0f}", "id": f"e{number}x{count}", **shown}]


def _drawn(row: Operation, panel: Panel) -> list[Metric]:
    known = {metric.field: metric for metric in row.all_metrics}
    return [known[name] for name in panel.fields if name in known]


def watching(row: Operation, panel: Panel, source: Catalog) -> list[Alarm]:
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
        label = f"{words(metric.name)} ({metric.statistic})"
        yield [*line, {"label": label, "stat": metric.statistic, **side, **colored(metric)}]
        return
    for value in split.values:
        label = value if len(panel.fields) == 1 else f"{words(metric.name)}: {value}"
        yield [*line, split.name, value, {"label": label, "stat": metric.statistic, **side}]


def colored(metric: Metric) -> Body:
    """Return good in green and bad in red, wherever they stand alone."""
    color = {"success": _GREEN, "failure": COLORS["page"], "targets_failed": COLORS["page"]}.get(metric.field)
    return {"color": color} if color else {}


def words(name: str) -> str:
    """Return the words of a metric's name: `BytesRead` is `Bytes read`."""
    words = re.findall(r"[A-Z]{2,}(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+", name)
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])


def threshold(alarm: Alarm, limits: Limits, axis: str = "left", by: float = 1.0) -> Body:
    """Return the line of an alarm's threshold, in units of `by`."""
    color = COLORS.get(alarm.severity, COLORS["page"])
    value = alarm.threshold.value(limits) / by
    return {"label": f"{alarm.name}, {alarm.severity}", "value": value, "color": color, "yAxis": axis}


def signal_line(signal: Signal, names: Names, **rendering: object) -> Line:
    """Return the line of a metric as an alarm asks for it."""
    dimensions = [part for pair in signal.dimension_values(names).items() for part in pair]
    return [names.filled(signal.namespace), signal.metric, *dimensions, {"stat": signal.statistic, **rendering}]


def budget(slo: Slo, names: Names) -> Body:
    """Return the widget of an SLO: the share of bad events per hour against what the budget allows."""
    signals = {signal.id: signal for signal in (*slo.bad, *slo.total)}
    bad = " + ".join(f"FILL({signal.id}, 0)" for signal in slo.bad)
    total = " + ".join(signal.id for signal in slo.total)
    share = {"expression": f"100 * ({bad}) / ({total})", "label": "Bad events (%)", "id": "share"}
    allowed = {"label": f"budget of {slo.window_days} days", "value": round(100 * slo.budget, 6)}
    return chart(
        f"SLO: {slo.meaning[0].lower()}{slo.meaning[1:]}",
        [*(signal_line(signal, names, id=name, visible=False) for name, signal in signals.items()), [share]],
        HOUR_S,
        yAxis={"left": {"label": "Percent", "showUnits": False, "min": 0}},
        annotations={"horizontal": [{**allowed, "color": COLORS["ticket"]}]},
    )


def log(alarm: Alarm | Composite, names: Names) -> Body:
    """Return the table of the first query of an alarm's runbook."""
    return table(f"Logs: first query of the runbook {alarm.name}", alarm.runbook.query, names)


def table(title: str, query: str, names: Names) -> Body:
    """Return the table of a query of Logs Insights on the function's lines."""
    source = f"SOURCE '/aws/lambda/{names.function}' | {query}"
    return {"title": title, "query": source, "region": REGION, "view": "table"}


def numbers(title: str, metrics: Sequence[Line], since: str) -> Body:
    """Return the widget of single numbers over the time since `since` (`-PT1H`): one value each, not the newest."""
    whole = {"setPeriodToTimeRange": True, "sparkline": False}
    return chart(title, [*metrics], view="singleValue", start=since, end="P0D", **whole)
