"""The functions of Logs Insights: of one row's values, and the aggregates of many rows.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-operations-functions.html
"""

from __future__ import annotations

import ipaddress
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Function = Callable[..., Any]


def number_of(value: object) -> float | None:
    """Return a value as a number, None for what is none: the members of log lines are often numbers in quotes."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def text_of(value: object) -> str:
    """Return a value as a query shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004  exact as it is written
        return str(int(value))
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _numeric(work: Callable[..., float]) -> Function:
    """Have a function answer with nothing for what is no number, or outside of what it is defined for."""

    def applied(*values: object) -> float | None:
        numbers = [number for value in values if (number := number_of(value)) is not None]
        if len(numbers) < len(values):
            return None
        try:
            return work(*numbers)
        except (ArithmeticError, ValueError):
            return None

    return applied


def _textual(work: Callable[..., Any]) -> Function:
    """Have a function of texts answer with nothing when the first is not there."""

    def applied(first: object, *rest: object) -> Any:  # noqa: ANN401  what the function gives
        return None if first is None else work(text_of(first), *rest)

    return applied


def _substring(text: str, start: object, length: object = None) -> str:
    first = int(number_of(start) or 0)
    return text[first:] if length is None else text[first : first + int(number_of(length) or 0)]


def _parsed(text: str) -> Any:  # noqa: ANN401  somebody's JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_address(text: str, version: int | None = None) -> bool:
    try:
        return ipaddress.ip_address(text).version in {version or 4, version or 6}
    except ValueError:
        return False


def _in_subnet(text: str, subnet: object, version: int | None = None) -> bool:
    try:
        network = ipaddress.ip_network(str(subnet), strict=False)
        return _is_address(text, version) and ipaddress.ip_address(text) in network
    except ValueError:
        return False


def _extreme(work: Callable[[Sequence[float]], float]) -> Function:
    def applied(*values: object) -> float | None:
        numbers = [number for value in values if (number := number_of(value)) is not None]
        return work(numbers) if numbers else None

    return applied


def _stripped(side: str) -> Callable[..., str]:
    def applied(text: str, characters: object = None) -> str:
        return str(getattr(text, side)(None if characters is None else str(characters)))

    return applied


FUNCTIONS: Mapping[str, Function] = {
    "abs": _numeric(abs),
    "ceil": _numeric(math.ceil),
    "floor": _numeric(math.floor),
    "sqrt": _numeric(math.sqrt),
    "log": _numeric(math.log),
    "greatest": _extreme(max),
    "least": _extreme(min),
    "ispresent": lambda value: value is not None,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "isempty": lambda value: value is None or not text_of(value),
    "isblank": lambda value: not text_of(value).strip(),
    "concat": lambda *values: "".join(map(text_of, values)),
    "trim": _textual(_stripped("strip")),
    "ltrim": _textual(_stripped("lstrip")),
    "rtrim": _textual(_stripped("rstrip")),
    "strlen": _textual(len),
    "toupper": _textual(str.upper),
    "tolower": _textual(str.lower),
    "substr": _textual(_substring),
    "replace": _textual(lambda text, old, new: text.replace(text_of(old), text_of(new))),
    "strcontains": _textual(lambda text, part: int(text_of(part) in text)),
    "jsonparse": _textual(_parsed),
    "jsonstringify": lambda value: None if value is None else json.dumps(value, separators=(",", ":")),
    "isvalidip": _textual(_is_address),
    "isvalidipv4": _textual(lambda text: _is_address(text, 4)),
    "isvalidipv6": _textual(lambda text: _is_address(text, 6)),
    "isipinsubnet": _textual(_in_subnet),
    "isipv4insubnet": _textual(lambda text, subnet: _in_subnet(text, subnet, 4)),
    "isipv6insubnet": _textual(lambda text, subnet: _in_subnet(text, subnet, 6)),
    "tomillis": _numeric(lambda seconds: seconds * 1000),
    "frommillis": _numeric(lambda milliseconds: milliseconds / 1000),
}
"""By name in small letters. Moments are epoch seconds here, as `@timestamp` is."""


def _percentile(numbers: Sequence[float], wanted: float) -> float:
    return numbers[min(len(numbers) - 1, int(wanted / 100 * len(numbers)))]


def _over_numbers(work: Callable[..., float]) -> Callable[..., Any]:
    def applied(values: Sequence[tuple[float, Any]], *extra: float) -> float | None:
        numbers = sorted(number for _, value in values if (number := number_of(value)) is not None)
        return work(numbers, *extra) if numbers else None

    return applied


def _ordered(values: Sequence[tuple[float, Any]]) -> list[Any]:
    return [value for _, value in sorted(values, key=lambda pair: pair[0])]


AGGREGATES: Mapping[str, Callable[..., Any]] = {
    "count": len,
    "count_distinct": lambda values: len({text_of(value) for _, value in values}),
    "sum": lambda values: math.fsum(number_of(value) or 0.0 for _, value in values),
    "avg": _over_numbers(statistics.fmean),
    "min": _over_numbers(lambda numbers: numbers[0]),
    "max": _over_numbers(lambda numbers: numbers[-1]),
    "median": _over_numbers(statistics.median),
    "stddev": _over_numbers(statistics.pstdev),
    "pct": _over_numbers(_percentile),
    "percentile": _over_numbers(_percentile),
    "earliest": lambda values: _ordered(values)[0] if values else None,
    "latest": lambda values: _ordered(values)[-1] if values else None,
    "sortsfirst": lambda values: min((text_of(value) for _, value in values), default=None),
    "sortslast": lambda values: max((text_of(value) for _, value in values), default=None),
}
"""By name in small letters: each takes the moments and values of those rows that have the field."""
