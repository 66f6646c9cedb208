"""From the catalog's panels to dashboard bodies: what stands where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.product.grid import DashboardGrid
from dashboards.product.overview import alarm_arn, glance
from dashboards.product.specs import home
from dashboards.product.widgets import (
    GIB,
    chart,
    colored,
    log,
    metric_widget,
    scale,
    scaled,
    signal_line,
    threshold,
    watching,
    words,
)
from telemetry.catalog import OPERATION_DIMENSION
from telemetry.watch import OURS, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.product.specs import Catalog
    from dashboards.product.widgets import Body
    from telemetry.catalog import Operation, Panel
    from telemetry.watch import Alarm, Composite, Names, Signal

_CHOSEN = "chosen-target"
"""What the variable of a dashboard replaces by the target that its reader chooses."""

_WEEK_S = 604_800
_INTRODUCTIONS = {
    "overview": "Is packaging working, for whom is it not, how close are the limits?",
    "service": "The function and what is around it: invocations, the API, state machines, dead letters, records.",
    "storage": "Scratch disk and memory: now, the trend, and week by week what was reached.",
    "targets": "Every target on its own, and every step of the way to its component.",
    "telemetry": "Can what the other dashboards say be relied on?",
}


def dashboard_bodies(source: Catalog) -> dict[str, Body]:
    """Return the body of every dashboard by name."""
    return {name: _body(name, source) for name in source.dashboards}


def _body(name: str, source: Catalog) -> Body:
    page, panels = (
        DashboardGrid(),
        [(row, panel) for row in source.rows for panel in row.panels if panel.dashboard == name],
    )
    page.put("text", {"markdown": introduction(name, source)}, 24, 2)
    split = next((row for row, panel in panels if panel.by == "target"), None)
    if name == source.dashboards[0]:
        glance(page, source, panels)
        for widget in elsewhere(name, source):
            page.put("metric", widget)
    else:
        arns = [alarm_arn(source, alarm) for alarm in _alarms_of(name, source)]
        if arns:
            page.put("alarm", {"title": "Alarms", "alarms": arns}, 24, 1 + -(-len(arns) // 4))
        _details(page, name, source, panels)
    page.end_row()
    for widget in _one_target(split, source.names) if split else ():
        page.put("metric", widget)
    for alarm in _asked(name, source):
        page.put("log", log(alarm, source.names), 24)
    page.end_row()
    variables = {"variables": [_variable(split)]} if split else {}
    return {"start": "-PT12H", "periodOverride": "inherit", **variables, "widgets": page.widgets}


def _details(page: DashboardGrid, name: str, source: Catalog, panels: Sequence[tuple[Operation, Panel]]) -> None:
    """Place the panels: what an alarm compares and who is hit above the details, what this page answers for first."""
    ahead = [pair for pair in panels if watching(*pair, source) or pair[1].by == "target"]
    rest = [pair for pair in panels if pair not in ahead]
    rest.sort(key=lambda pair: not _answers(pair[0], name, source))
    above, below = ([metric_widget(*pair, source) for pair in pairs] for pairs in (ahead, rest))
    for widget in (*above, *_history(name, source), *elsewhere(name, source), *below):
        page.put("metric", widget)


def introduction(name: str, source: Catalog) -> str:
    """Return the text at the top of a dashboard: its name, what it is for, and the limits of the deployment."""
    limits = source.limits
    facts = f"{limits.scratch_bytes >> 20:,} MiB scratch, {limits.memory_bytes >> 20:,} MiB memory, {limits.time_s} s"
    about = _INTRODUCTIONS.get(name, "")
    return f"# {source.prefix}{name}\n{about} Limits: {facts}. Every alarm has a runbook of its name."


def _alarms_of(name: str, source: Catalog) -> Iterator[str]:
    """Yield the alarms that a dashboard answers for: those of its rows."""
    slos = tuple(slo.name for slo in source.slos)  # their parts mean nothing alone; the overview shows the whole
    for row in source.rows:
        if _answers(row, name, source):
            alarms = source.alarms_of(row)
            yield from (alarm.name for alarm in alarms if not (slos and alarm.name.startswith(slos)))


def _asked(name: str, source: Catalog) -> Iterator[Alarm | Composite]:
    """Yield the alarms whose first query a dashboard shows: none on the first one, whose tables answer who is hurt."""
    if name == source.dashboards[0]:
        return
    if name == source.dashboards[1]:
        yield from (alarm for alarm in source.composites if alarm.severity is Severity.PAGE and alarm.notifies)
    firsts = (source.alarms_of(row)[0] for row in source.rows if _answers(row, name, source))
    yield from (alarm for alarm in firsts if alarm.runbook)


def _answers(row: Operation, name: str, source: Catalog) -> bool:
    """Tell whether a row's alarms are a dashboard's to answer for."""
    return bool(source.alarms_of(row) and row.panels and home(row) == name)


def elsewhere(name: str, source: Catalog) -> Iterator[Body]:
    """Yield widgets for what alarms watch and no row emits: metrics of AWS's own namespaces, each once."""
    drawn: dict[tuple[str, ...], list[Alarm]] = {}
    for alarm in source.alarms:
        signals = [signal for signal in alarm.signals if signal.namespace != OURS]
        about_logs = any(signal.namespace == "AWS/Logs" for signal in signals)
        if signals and name == source.dashboards[-1 if about_logs else min(1, len(source.dashboards) - 1)]:
            drawn.setdefault(tuple(signal.metric for signal in signals), []).append(alarm)
    for alarms in drawn.values():
        signals = [signal for signal in alarms[0].signals if signal.namespace != OURS]
        title = f"{signals[0].namespace}: {', '.join(dict.fromkeys(words(signal.metric) for signal in signals))}"
        lines = [signal_line(signal, source.names, label=_label(signal)) for signal in signals]
        plain = [threshold(alarm, source.limits) for alarm in alarms if not alarm.expression]
        yield chart(title, lines, alarms[0].period_s, **({"annotations": {"horizontal": plain}} if plain else {}))


def _label(signal: Signal) -> str:
    many = any(value.endswith("-many") for _, value in signal.dimensions)
    return words(signal.metric) + (" (many models)" if many else "")


def _history(name: str, source: Catalog) -> Iterator[Body]:
    """Yield, for the storage dashboard, what each metric with a limit in bytes reached per week over twelve weeks."""
    found: dict[Signal, list[Alarm]] = {}
    for alarm in source.alarms if name == "storage" else ():
        if alarm.threshold.of.endswith("_bytes") and not alarm.expression:
            found.setdefault(alarm.signals[0], []).append(alarm)
    for signal, alarms in found.items():
        limits = {"horizontal": [threshold(alarm, source.limits, by=GIB.by) for alarm in alarms]}
        title = f"History: {words(signal.metric).lower()}, largest of each week"
        line = signal_line(signal, source.names, label=words(signal.metric))
        drawn = [*scaled([line], GIB, 1)]
        axis = {"left": {"label": GIB.name, "showUnits": False, "min": 0}}
        yield chart(title, drawn, _WEEK_S, start="-P84D", end="P0D", annotations=limits, yAxis=axis)


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
                {"label": words(m.name), "stat": m.statistic, **colored(m)},
            ]
            for m in metrics
        ]
        unit = metrics[0].unit
        drawn = [*scaled(lines, scale(unit), 1)]
        axis = {"left": {"label": scale(unit).name, "showUnits": False, "min": 0}}
        yield chart(f"Target {_CHOSEN}: {title}", drawn, yAxis=axis)


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
