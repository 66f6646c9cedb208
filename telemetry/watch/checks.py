"""Are the catalog and what watches it sound? Every fault is reported by name, in one run."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from telemetry.catalog import parts
from telemetry.engine.failures import FAULT
from telemetry.engine.operation import OTHER, Unit
from telemetry.engine.standard import LOG_KEYS
from telemetry.watch.prices import prices
from telemetry.watch.slos import BURN_RATES
from telemetry.watch.types import OURS, Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from telemetry.engine.operation import Dimension, Metric, Operation
    from telemetry.watch.types import Alarm, Composite, Runbook, Slo

T = TypeVar("T")

BUDGET_USD = 300.0
"""What all metrics of the catalog may cost by the month, each value of each dimension in use all the time."""
MAX_METRICS, MAX_DIMENSIONS, MAX_VALUES = 100, 30, 30
MAX_VALUE = 32
"""Characters of a dimension's value, so that a line never has to be cut there (CloudWatch takes 1,024)."""
_FIELD, _NAME, _VALUE = r"[a-z][a-z0-9_]{0,249}", r"[A-Z][A-Za-z0-9]{0,249}", rf"[A-Za-z0-9._-]{{1,{MAX_VALUE}}}"
STATISTIC = re.compile(r"Sum|Maximum|Minimum|Average|p\d{1,2}(\.\d+)?")
_FORBIDDEN_DIMENSIONS = re.compile(r"bucket|key|uri|path|(^|_)id$|request|trace", re.IGNORECASE)
_HOUR_S, _DAY_S, _WEEK_S = 3600, 86_400, 604_800


@dataclass(frozen=True)
class Cost:
    """What the catalog's metrics cost by the month at most."""

    metrics: int
    usd: float


def cost(rows: Iterable[Operation]) -> Cost:
    """Return the number of custom metrics when every value of every dimension set is in use, and their price."""
    count = 0
    for row in rows:
        values = {dimension.field: len(dimension.values) for dimension in row.dimensions}
        sets = 1 + sum(math.prod(values.get(field, 1) for field in fields) for fields in row.dimension_sets)
        count += len(row.all_metrics) * sets
    left, usd = count, 0.0
    for step, price in prices()["metric_month"]:
        usd += min(left, step or left) * price
        left -= min(left, step or left)
    return Cost(count, round(usd, 2))


def faults(
    rows: Sequence[Operation],
    budget_usd: float = BUDGET_USD,
    dashboards: Collection[str] = parts.DASHBOARDS,
) -> list[str]:
    """Return everything that is wrong with the rows of a catalog, sorted; empty when they are sound."""
    found = [fault for row in rows for fault in _row_faults(row, dashboards)]
    found += _agreement_faults(rows)
    total = cost(rows)
    if total.usd > budget_usd:
        found.append(
            f"{total.metrics:,} custom metrics cost {total.usd:,.2f} USD a month; the budget is {budget_usd:,.2f}"
        )
    return sorted(found)


def _row_faults(row: Operation, dashboards: Collection[str]) -> Iterator[str]:
    if not re.fullmatch(r"[A-Z][A-Za-z]+", row.name) or not re.fullmatch(r"[a-z ]+", row.span):
        yield f"{row.name}: the name must be in PascalCase and the span in lower-case words"
    if not row.meaning:
        yield f"{row.name}: no meaning"
    if len(row.all_metrics) > MAX_METRICS:
        yield f"{row.name}: {len(row.all_metrics)} metrics; a line holds {MAX_METRICS}"
    yield from _collision_faults(row)
    for metric in row.all_metrics:
        yield from _metric_faults(row, metric)
    for dimension in row.dimensions:
        yield from _dimension_faults(row, dimension)
    yield from _dimension_set_faults(row)
    for prop in row.properties:
        if not re.fullmatch(_FIELD, prop.field) or not prop.meaning:
            yield f"{row.name}.{prop.field}: a property must be in snake_case and say its meaning"
    yield from _panel_faults(row, dashboards)


def _collision_faults(row: Operation) -> Iterator[str]:
    """Yield what would overwrite something else in one of the renderings: metric line, log line, span."""
    names = [*(metric.name for metric in row.all_metrics), *(item.name for item in row.dimensions)]
    for name in _doubles([parts.OPERATION_DIMENSION, *names, *(prop.field for prop in row.properties)]):
        yield f"{row.name}: {name} is there twice; one would overwrite the other"
    keys = [metric.field for metric in row.all_metrics] + [prop.field for prop in row.properties]
    for name in _doubles(keys + [dimension.field for dimension in row.dimensions]):
        yield f"{row.name}: the field {name} is there twice"
    taken = {key.field for key in LOG_KEYS} - {"duration_ms", FAULT}
    for name in sorted(taken.intersection(keys + [dimension.key for dimension in row.dimensions])):
        yield f"{row.name}: {name} is a key of every log line"
    for name in sorted({key.field for key in parts.CONTEXT_KEYS}.intersection(keys)):
        yield f"{row.name}: {name} is a key of the context"


def _metric_faults(row: Operation, metric: Metric) -> Iterator[str]:
    name = f"{row.name}.{metric.field}"
    if metric.unit not in set(Unit):
        yield f"{name}: the unit {metric.unit} is none of CloudWatch's"
    for suffix, units in (
        ("_bytes", {Unit.BYTES}),
        ("_ms", {Unit.MILLISECONDS}),
        ("_per_s", {Unit.BYTES_PER_SECOND}),
        ("_s", {Unit.SECONDS, Unit.BYTES_PER_SECOND}),
    ):
        if metric.field.endswith(suffix) and metric.unit not in units:
            yield f"{name}: a field that ends in {suffix} cannot be in {metric.unit}"
    if metric.field.startswith("bytes_") and metric.unit is not Unit.BYTES:
        yield f"{name}: a field that begins with bytes_ cannot be in {metric.unit}"
    if not re.fullmatch(_FIELD, metric.field) or not re.fullmatch(_NAME, metric.name):
        yield f"{name}: the field must be in snake_case and the name {metric.name} in PascalCase"
    if not STATISTIC.fullmatch(metric.statistic):
        yield f"{name}: {metric.statistic} is no statistic"
    if metric.resolution_s not in {1, 60}:
        yield f"{name}: a resolution of {metric.resolution_s} s; 1 and 60 are allowed"
    if not metric.meaning:
        yield f"{name}: no meaning"


def _dimension_faults(row: Operation, dimension: Dimension) -> Iterator[str]:
    name = f"{row.name}.{dimension.field}"
    if not dimension.values or len(dimension.values) > MAX_VALUES:
        yield f"{name}: {len(dimension.values)} values; a dimension is a closed set of 1 to {MAX_VALUES}"
    if OTHER not in dimension.values:
        yield f"{name}: the set lacks {OTHER!r}, to which unknown values fall"
    for value in dimension.values:
        if not re.fullmatch(_VALUE, value):
            yield f"{name}: {value!r} is no value of 1 to {MAX_VALUE} letters, digits, dots, dashes and underscores"
    for value in _doubles(dimension.values):
        yield f"{name}: {value!r} is there twice"
    if _FORBIDDEN_DIMENSIONS.search(dimension.field):
        yield f"{name}: an identifier is no dimension; make it a property"
    if not re.fullmatch(_FIELD, dimension.field) or not re.fullmatch(_NAME, dimension.name):
        yield f"{name}: the field must be in snake_case and the name {dimension.name} in PascalCase"
    if not dimension.meaning:
        yield f"{name}: no meaning"


def _dimension_set_faults(row: Operation) -> Iterator[str]:
    known = {dimension.field for dimension in row.dimensions}
    for fields in row.dimension_sets:
        for field in set(fields) - known:
            yield f"{row.name}: a dimension set names {field}, which the row does not declare"
        if len(fields) >= MAX_DIMENSIONS:
            yield f"{row.name}: {len(fields)} dimensions in a set; at most {MAX_DIMENSIONS - 1} beside the operation"
        if not fields or len(set(fields)) < len(fields):
            yield f"{row.name}: the dimension set {fields} is empty or names one twice"
    for doubled in _doubles(tuple(sorted(fields)) for fields in row.dimension_sets):
        yield f"{row.name}: the dimension set {doubled} is there twice, and would be paid for twice"


def _panel_faults(row: Operation, dashboards: Collection[str]) -> Iterator[str]:
    fields = {metric.field: metric for metric in row.all_metrics}
    for panel in row.panels:
        for field in panel.fields:
            if field not in fields:
                yield f"{row.name}: panel {panel.title!r} draws {field}, which nothing emits"
        if len({fields[field].unit for field in panel.fields if field in fields}) > 2:  # noqa: PLR2004  two axes
            yield f"{row.name}: panel {panel.title!r} needs more than two axes"
        if panel.dashboard not in dashboards:
            yield f"{row.name}: panel {panel.title!r} stands on {panel.dashboard!r}, which is no dashboard"
        if panel.by and (panel.by,) not in row.dimension_sets:
            yield f"{row.name}: panel {panel.title!r} splits by {panel.by}, for which no metrics are kept"
    drawn = {field for panel in row.panels for field in panel.fields}
    for field in fields.keys() - drawn:
        yield f"{row.name}.{field}: a metric that nothing looks at; give it a panel"


def _agreement_faults(rows: Sequence[Operation]) -> Iterator[str]:
    for name in _doubles([row.name for row in rows]):
        yield f"{name}: two rows of one name"
    seen: dict[str, Metric] = {}
    for metric in (metric for row in rows for metric in row.all_metrics):
        first = seen.setdefault(metric.name, metric)
        if first.unit is not metric.unit or first.field != metric.field:
            yield f"{metric.name}: {first.field} in {first.unit} here, {metric.field} in {metric.unit} there"
    kinds: dict[str, Dimension] = {}
    for dimension in (dimension for row in rows for dimension in row.dimensions):
        if kinds.setdefault(dimension.name, dimension) != dimension:
            yield f"{dimension.name}: one dimension with two fields, sets of values or meanings"
    names = {row.name for row in rows}
    for row in rows:
        if row.links_to and row.links_to not in names:
            yield f"{row.name}: links to {row.links_to}, which is no row"


def alarm_faults(
    rows: Sequence[Operation],
    alarms: Sequence[Alarm] = (),
    composites: Sequence[Composite] = (),
    slos: Sequence[Slo] = (),
) -> list[str]:
    """Return everything that is wrong with what watches the rows, sorted; empty when it is sound."""
    found: list[str] = [*_owner_faults(rows, alarms, slos), *_composite_faults(alarms, composites)]
    emitted = {(row.name, metric.name) for row in rows for metric in row.all_metrics}
    found += [fault for alarm in alarms for fault in _one_alarm_faults(alarm, emitted)]
    known = {alarm.name for alarm in alarms} | {composite.name for composite in composites}
    return sorted([*found, *(fault for slo in slos for fault in _slo_faults(slo, known))])


def _owner_faults(rows: Sequence[Operation], alarms: Sequence[Alarm], slos: Sequence[Slo]) -> Iterator[str]:
    names = {row.name for row in rows}
    owners = [(one.name, one.row) for one in alarms] + [(one.name, one.row) for one in slos]
    yield from (f"{name}: belongs to {row}, which is no row" for name, row in owners if row not in names)


def _composite_faults(alarms: Sequence[Alarm], composites: Sequence[Composite]) -> Iterator[str]:
    every: list[Alarm | Composite] = [*alarms, *composites]
    for name in _doubles([alarm.name for alarm in every]):
        yield f"{name}: two alarms of one name"
    known = {alarm.name for alarm in every}
    spoken_for = {child for composite in composites for child in composite.children}
    for composite in composites:
        yield from (f"{composite.name}: {fault}" for fault in _runbook_faults(composite))
        for name in {*composite.children, *([composite.suppressor] if composite.suppressor else [])} - known:
            yield f"{composite.name}: asks for {name}, which is no alarm"
    for one in every:
        if not one.notifies and one.name not in spoken_for:
            yield f"{one.name}: notifies nobody, and no composite speaks for it"
    yield from _automation_faults(every)


def _automation_faults(alarms: Iterable[Alarm | Composite]) -> Iterator[str]:
    """Yield automations of one name with different steps, and those with the same steps under two names."""
    found = {alarm.runbook.automation for alarm in alarms if alarm.runbook and alarm.runbook.automation}
    for name in _doubles(each.name for each in found):
        yield f"{name}: two automations of one name"
    for steps in _doubles(each.steps for each in found):
        names = sorted(each.name for each in found if each.steps == steps)
        yield f"{', '.join(names)}: one automation under several names"


def _one_alarm_faults(alarm: Alarm, emitted: set[tuple[str, str]]) -> Iterator[str]:
    for signal in alarm.signals:
        operation = dict(signal.dimensions).get(parts.OPERATION_DIMENSION, "")
        if signal.namespace == OURS and (operation, signal.metric) not in emitted:
            yield f"{alarm.name}: watches {operation}.{signal.metric}, which nothing emits"
        if not STATISTIC.fullmatch(signal.statistic):
            yield f"{alarm.name}: {signal.statistic} is no statistic"
    if len(alarm.signals) != 1 and not alarm.expression:
        yield f"{alarm.name}: several signals and no expression"
    if len(alarm.signals) + bool(alarm.expression) > 10:  # noqa: PLR2004  CloudWatch's limit
        yield f"{alarm.name}: more than 10 metrics and expressions"
    if not alarm.missing_why or not alarm.meaning:
        yield f"{alarm.name}: says not what it means, or what missing data means"
    yield from (f"{alarm.name}: {fault}" for fault in _runbook_faults(alarm))
    if not math.isfinite(alarm.threshold.value(Limits())):
        yield f"{alarm.name}: a threshold of {alarm.threshold.value(Limits())}"
    yield from _window_faults(alarm)


def _runbook_faults(alarm: Alarm | Composite) -> Iterator[str]:
    runbook: Runbook | None = alarm.runbook
    if runbook is None:
        yield "has no runbook"
        return
    for each in dataclasses.fields(runbook):
        if each.name != "automation" and not getattr(runbook, each.name):
            yield f"its runbook says nothing about {each.name}"
    if not alarm.severity:
        yield "has no severity"


def _window_faults(alarm: Alarm) -> Iterator[str]:
    if not 1 <= alarm.datapoints <= alarm.periods:
        yield f"{alarm.name}: {alarm.datapoints} of {alarm.periods} periods can never be met"
    if alarm.period_s not in {10, 20, 30} and alarm.period_s % 60:
        yield f"{alarm.name}: a period of {alarm.period_s} s; 10, 20, 30 or whole minutes are allowed"
    longest = _DAY_S if alarm.period_s < _HOUR_S else _WEEK_S
    if alarm.period_s * alarm.periods > longest:
        yield f"{alarm.name}: looks back {alarm.period_s * alarm.periods:,} s; at most {longest:,} are allowed"


def _slo_faults(slo: Slo, known: set[str]) -> Iterator[str]:
    if not 0 < slo.objective < 1:
        yield f"{slo.name}: an objective of {slo.objective}"
    for rate in BURN_RATES:
        if rate.factor * slo.budget > 1:
            yield f"{slo.name}: {rate.name} fires above {rate.factor * slo.budget:.0%} bad, which cannot happen"
        if f"{slo.name}-{rate.name}" not in known:
            yield f"{slo.name}: no composite {slo.name}-{rate.name}"


def _doubles(names: Iterable[T]) -> list[T]:
    return [name for name, count in Counter(names).items() if count > 1]
