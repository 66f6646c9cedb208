"""Nothing gets in half: what a catalog lacks, all of it at once, by name."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from dashboards.alarm_files import load, parse_alarms
from dashboards.body import lines, problems
from dashboards.errors import DashboardError
from dashboards.rules import in_order, parse_rule
from dashboards.specs import Catalog, alarm_parameters, metric_of
from telemetry.catalog import BURN_RATES, NAMESPACE, OPERATION_DIMENSION, OTHER, Alarm, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dashboards.model import Metric

CASES = ("fires", "silent", "missing")
_UNBOUNDED = re.compile(r"(?:^|_)(?:bucket|key|id|uri|path|name|sha256|hash)$")
_MAX_VALUES = 50


def incomplete(source: Catalog, bodies: Mapping[str, Any], cases: Path) -> Iterator[str]:
    """Yield everything that keeps a catalog from being built."""
    yield from _twice(source)
    for row in source.rows:
        yield from _row(row, source)
    drawn = _drawn(bodies)
    for alarm in source.alarms:
        yield from _alarm(alarm, source, drawn)
    yield from _slos(source)
    yield from _rules(source)
    yield from _untested(source, cases)
    for name, body in bodies.items():
        yield from (f"dashboard {name}: {problem}" for problem in problems(body))


def _twice(source: Catalog) -> Iterator[str]:
    kinds = {
        "alarm": [alarm.name for alarm in source.everything],
        "row": [row.name for row in source.rows],
        "panel": [f"{panel.dashboard}: {panel.title}" for row in source.rows for panel in row.panels],
    }
    for kind, names in kinds.items():
        yield from (f"{kind} {name}: stands {count} times" for name, count in Counter(names).items() if count > 1)


def _row(row: Operation, source: Catalog) -> Iterator[str]:
    known = {metric.field for metric in row.all_metrics}
    for panel in row.panels:
        where = f"panel {panel.title} of {row.name}"
        if panel.dashboard not in source.dashboards:
            yield f"{where}: there is no dashboard {panel.dashboard}"
        yield from (f"{where}: draws {name}, which nothing emits" for name in panel.fields if name not in known)
        if panel.by and (panel.by,) not in row.dimension_sets:
            yield f"{where}: is split by {panel.by}, for which no metrics are kept"
        units = {metric.unit for metric in row.all_metrics if metric.field in panel.fields}
        if len(units) > 2:  # noqa: PLR2004  a left and a right axis
            yield f"{where}: has {len(units)} units, and two axes"
    seen = {name for panel in row.panels for name in panel.fields}
    yield from (
        f"metric {metric.name} of {row.name}: nothing looks at it"
        for metric in row.all_metrics
        if metric.field not in seen
    )
    for dimension in row.dimensions:
        if OTHER not in dimension.values or len(dimension.values) > _MAX_VALUES or _UNBOUNDED.search(dimension.field):
            yield f"dimension {dimension.name} of {row.name}: is not a small closed set with {OTHER!r} in it"


def _drawn(bodies: Mapping[str, Any]) -> set[Metric]:
    """Return the metrics that the dashboards draw."""
    widgets = (widget for body in bodies.values() for widget in body["widgets"])
    return {line.metric for widget in widgets for line in lines(widget["properties"]) if line.metric}


def _alarm(alarm: Alarm, source: Catalog, drawn: set[Metric]) -> Iterator[str]:
    where = f"alarm {alarm.name}"
    yield from (f"{where}: {problem}" for problem in _words(alarm))
    rows = {row.name: row for row in source.rows}
    for signal in alarm.signals:
        values = signal.dimension_values(source.limits)
        row = rows.get(values.get(OPERATION_DIMENSION, ""))
        emitted = {metric.name for metric in row.all_metrics} if row else set()
        if signal.namespace == NAMESPACE and signal.metric not in emitted:
            yield f"{where}: watches {signal.metric} {values}, which nothing emits"
        if metric_of(signal, source.limits) not in drawn:
            yield f"{where}: no panel draws {signal.metric} {values}"


def _words(alarm: Any) -> Iterator[str]:  # noqa: ANN401  an alarm or a composite, perhaps half
    runbook = alarm.runbook
    if runbook is None:
        yield "has no runbook"
        return
    parts = ("meaning", "hurt", "look_first", "query", "causes", "actions", "escalate", "over")
    yield from (f"its runbook says nothing about {part}" for part in parts if not getattr(runbook, part))
    if not alarm.severity:
        yield "has no severity"
    if isinstance(alarm, Alarm) and not alarm.missing_why:
        yield "does not say why missing data is treated as it is"


def _slos(source: Catalog) -> Iterator[str]:
    names = {alarm.name for alarm in source.everything}
    for slo in source.slos:
        for rate in BURN_RATES:
            if rate.factor * slo.budget > 1:
                yield (
                    f"SLO {slo.name}: cannot burn {rate.factor:g} times its budget of {slo.budget:.3g}; "
                    f"raise the objective above {1 - 1 / rate.factor:.3g}"
                )
            if f"{slo.name}-{rate.name}" not in names:
                yield f"SLO {slo.name}: no alarm tells of its {rate.name}"


def _rules(source: Catalog) -> Iterator[str]:
    known = {alarm.name for alarm in source.everything}
    rules = {}
    for composite in source.composites:
        where = f"alarm {composite.name}"
        yield from (f"{where}: {problem}" for problem in _words(composite))
        try:
            rules[composite.name] = parse_rule(composite.rule)
        except DashboardError as error:
            yield f"{where}: {error}"
            continue
        watched = rules[composite.name].children | ({composite.suppressor} - {""})
        yield from (f"{where}: watches {name}, which does not exist" for name in sorted(watched - known))
    try:
        in_order(rules)
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
        loud = {parent for parent in above(name) if every[parent].notifies}
        if not alarm.notifies and not loud:
            yield f"alarm {name}: nobody hears of it; let it notify, or put it into a composite that does"
        twice = sorted(parent for parent in loud if alarm.notifies and every[parent].severity == alarm.severity)
        if twice:
            yield f"alarm {name}: calls beside {', '.join(twice)} for one cause; let only one of them notify"


def _untested(source: Catalog, cases: Path) -> Iterator[str]:
    covered: set[tuple[str, str]] = set()
    for path in sorted(cases.glob("*.yaml")):
        data: Any = load(path)
        for test in data["tests"]:
            covered |= {(str(wanted.get("alarm")), str(test.get("case"))) for wanted in test.get("expect", ())}
    for alarm in source.everything:
        lacking = [case for case in CASES if (source.prefix + alarm.name, case) not in covered]
        if lacking:
            yield f"alarm {alarm.name}: no test in {cases.name}/ for the case {', '.join(lacking)}"
