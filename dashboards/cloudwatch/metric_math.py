"""Metric math: the expressions of alarms and dashboards over whole series at once."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.expressions import Node, calls, names, parse_expression
from dashboards.cloudwatch.metric_functions import (
    CLOCKS,
    ELSEWHERE,
    KEYWORDS,
    LOOKING_BACK,
    Scope,
    Series,
    Value,
    arithmetic,
    call,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dashboards.cloudwatch.alarm import MetricAlarm

_tree = lru_cache(maxsize=4096)(parse_expression)


def resolve(expressions: Mapping[str, str], scope: Scope) -> dict[str, list[Series]]:
    """Return the series of every expression by id, those it refers to evaluated first.

    Raises:
        DefinitionError: An expression cannot be read, refers to nothing or to itself, or gives a single number.
        UnsupportedError: It uses something that is not evaluated offline; the message names it.
    """
    trees = {name: _tree(text) for name, text in expressions.items()}
    values: dict[str, Value] = dict(scope.metrics)
    known = replace(scope, values=values)

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise DefinitionError(f"expressions refer to each other in a circle: {' -> '.join([*above, name])}")
        if name in values or name not in trees:
            return
        for child in sorted(names(trees[name])):
            visit(child, (*above, name))
        values[name] = calculate(trees[name], known)

    for name in trees:
        visit(name, ())
    return {name: _result(values[name], expressions[name]) for name in trees}


def check(alarm: MetricAlarm) -> None:
    """Raise for maths that cannot be evaluated, now and not in the middle of a simulation."""
    if not any(query.expression for query in alarm.queries):
        return
    starts_s = range(0, alarm.evaluation_range * alarm.period_s, alarm.period_s)
    nothing = Series([None] * alarm.evaluation_range)
    metrics = {query.id: nothing for query in alarm.queries if query.metric}
    watched(alarm, Scope(starts_s, alarm.period_s, metrics, metrics, band=(nothing, nothing), alarm=True))


def watched(alarm: MetricAlarm, scope: Scope) -> tuple[Series, tuple[Series, Series] | None]:
    """Return the series that an alarm compares, and the band that it compares with, if it does."""
    waiting = {query.id: query.expression for query in alarm.queries if query.expression}
    found: Mapping[str, list[Series]] = {name: [series] for name, series in scope.metrics.items()}
    if waiting:
        found = {**found, **resolve(waiting, scope)}
    if len(found[alarm.result]) != 1:
        raise DefinitionError(
            f"EVALUATION_ERROR: the watched expression gives {len(found[alarm.result])} series; an alarm compares one"
        )
    band = found[alarm.band] if alarm.band else []
    if alarm.band and len(band) != 2:  # noqa: PLR2004  the lower and the upper bound
        raise DefinitionError(f"ThresholdMetricId {alarm.band!r} is no ANOMALY_DETECTION_BAND")
    return found[alarm.result][0], (band[0], band[1]) if band else None


def functions(alarm: MetricAlarm) -> set[str]:
    """Return the functions that an alarm's expressions call."""
    return set().union(*(calls(_tree(query.expression)) for query in alarm.queries if query.expression))


def needs_band(alarm: MetricAlarm) -> bool:
    """Whether an alarm depends on an anomaly band, which nobody but CloudWatch and a test can give."""
    return "ANOMALY_DETECTION_BAND" in functions(alarm)


def looks_back(alarm: MetricAlarm) -> bool:
    """Whether a point of the watched series depends on the other points that are retrieved with it."""
    return any(_looks_back(_tree(query.expression)) for query in alarm.queries if query.expression)


def _looks_back(node: Node) -> bool:
    kind, children, value = node
    repeats = value == "FILL" and any(child[2] in {"REPEAT", "LINEAR"} for child in children)
    return (kind == "call" and (value in LOOKING_BACK or repeats)) or any(map(_looks_back, children))


def tells_time(alarm: MetricAlarm) -> bool:
    """Whether the watched series depends on the time of its points."""
    return bool(functions(alarm) & CLOCKS)


def _result(value: Value, text: str) -> list[Series]:
    if isinstance(value, float | str):
        raise DefinitionError(
            f"the expression {text!r} gives a single value; CloudWatch wants a series: TIME_SERIES(...)"
        )
    return [value] if isinstance(value, Series) else value


def calculate(node: Node, scope: Scope) -> Value:
    """Return the value of a tree in a scope."""
    kind, children, value = node
    if kind in {"number", "text"}:
        return value
    if kind == "name":
        return _named(str(value), scope)
    # What is not evaluated offline is named before its arguments, which may be words that only it knows.
    arguments = [] if value in ELSEWHERE else [calculate(child, scope) for child in children]
    match kind:
        case "array":
            return [series for argument in arguments for series in _series(argument)]
        case "negative":
            return arithmetic("-", 0.0, arguments[0])
        case "binary":
            return arithmetic(str(value), arguments[0], arguments[1])
        case _:
            return call(str(value), arguments, scope)


def _named(name: str, scope: Scope) -> Value:
    if name in scope.values:
        return scope.values[name]
    if name in KEYWORDS:
        return name
    raise DefinitionError(f"the expression refers to {name!r}; known ids: {', '.join(sorted(scope.values)) or 'none'}")


def _series(value: Value) -> list[Series]:
    if isinstance(value, Series):
        return [value]
    if isinstance(value, list):
        return value
    raise DefinitionError(f"an array holds series, not {value!r}")
