"""Metric math: the expressions of alarms and dashboards over whole series at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.expressions import Node, names, parse_expression
from dashboards.cloudwatch.metric_functions import KEYWORDS, Scope, Series, Value, arithmetic, call

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolve(expressions: Mapping[str, str], scope: Scope) -> dict[str, list[Series]]:
    """Return the series of every expression by id, those it refers to evaluated first.

    Raises:
        DefinitionError: An expression cannot be read, refers to nothing or to itself, or gives a single number.
        UnsupportedError: It uses something that is not evaluated offline; the message names it.
    """
    trees = {name: parse_expression(text) for name, text in expressions.items()}
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
    arguments = [calculate(child, scope) for child in children]
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
