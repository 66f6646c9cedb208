"""Nothing gets in half: what a catalog lacks, all of it at once, by name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm_files import parse_alarms
from dashboards.cloudwatch.body import lines, problems
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.errors import DashboardError
from dashboards.cloudwatch.rules import in_order, parse_rule
from dashboards.product.specs import Catalog, alarm_parameters, metric_of
from telemetry.watch.checks import alarm_faults, faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dashboards.cloudwatch.alarm import Metric


def incomplete(source: Catalog, bodies: Mapping[str, Any], matrix: Path) -> Iterator[str]:
    """Yield everything that keeps a catalog from being built: faults of its own, and what is lacking around it."""
    found = faults(source.rows, dashboards=source.dashboards)
    found += alarm_faults(source.rows, source.alarms, source.composites, source.slos)
    yield from found
    panels = Counter((panel.dashboard, panel.title) for row in source.rows for panel in row.panels)
    yield from (f"{board}: panel {title!r} stands {n} times" for (board, title), n in panels.items() if n > 1)
    yield from _undrawn(source, bodies)
    yield from _rules(source, sound=not found)
    yield from _unforeseen(source, matrix)
    for name, body in bodies.items():
        yield from (f"dashboard {name}: {problem}" for problem in problems(body))


def _undrawn(source: Catalog, bodies: Mapping[str, Any]) -> Iterator[str]:
    widgets = (widget for body in bodies.values() for widget in body["widgets"])
    drawn: set[Metric | None] = {line.metric for widget in widgets for line in lines(widget["properties"])}
    for alarm in source.alarms:
        for signal in alarm.signals:
            metric = metric_of(signal, source.names)
            if metric not in drawn:
                yield f"{alarm.name}: no panel draws {metric}"


def _rules(source: Catalog, *, sound: bool) -> Iterator[str]:
    rules = {}
    for composite in source.composites:
        try:
            rules[composite.name] = parse_rule(composite.rule)
        except DashboardError as error:
            yield f"{composite.name}: {error}"
    try:
        in_order(rules)
        if sound:
            parse_alarms(alarm_parameters(source), "the catalog")
    except DashboardError as error:
        yield str(error)
        return
    yield from _unheard(source, {name: rule.children for name, rule in rules.items()})


def _unheard(source: Catalog, children: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yield alarms that nobody hears of, and those that would call the same person twice for one cause."""
    every = {alarm.name: alarm for alarm in source.everything}

    def above(name: str) -> set[str]:
        parents = {parent for parent, watched in children.items() if name in watched}
        return parents | {other for parent in parents for other in above(parent)}

    for name, alarm in every.items():
        parents = above(name)
        loud = {parent for parent in parents if every[parent].notifies}
        if parents and not alarm.notifies and not loud:
            yield f"{name}: notifies nobody, and nor does {', '.join(sorted(parents))}"
        twice = sorted(parent for parent in loud if alarm.notifies and every[parent].severity == alarm.severity)
        if twice:
            yield f"{name}: calls beside {', '.join(twice)} for one cause; let only one of them notify"


def _unforeseen(source: Catalog, matrix: Path) -> Iterator[str]:
    """Yield alarms that no fault of the matrix sets off: nobody has shown that they call, nor that others do not."""
    data: Any = load(matrix)
    foreseen = {name for fault in data["faults"] for name in fault.get("fires") or ()}
    for alarm in source.everything:
        if alarm.name not in foreseen:
            yield f"{alarm.name}: no fault of {matrix.parent.name}/{matrix.name} sets it off"
