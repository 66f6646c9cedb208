"""The operators and functions of metric math, one small function each."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dashboards.cloudwatch.series import Values


@dataclass(frozen=True, slots=True)
class Series:
    """One time series of an expression, with the label a graph shows."""

    values: Values
    label: str = ""


Value = float | str | Series | list["Series"]


@dataclass
class Scope:
    """What an expression can see.

    Attributes:
        starts_s: When the period of each point begins: CloudWatch stamps a period by its start.
        period_s: The period of the metrics in seconds.
        metrics: Series by query id, without expressions.
        values: Results by query id, expressions included.
        search: Looks up SEARCH(text, statistic, period); None where searching is not allowed.
        band: The bounds of normal values, lowest first, where somebody gave them.
        began_s: When anything is known from: to the functions of time, a period that reaches further back begins then.
        alarm: In an alarm the number of points retrieved is CloudWatch's secret, and what depends on it refused.
    """

    starts_s: Sequence[int]
    period_s: int
    metrics: Mapping[str, Series] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    search: Callable[[str, str, int], list[Series]] | None = None
    band: tuple[Series, Series] | None = None
    began_s: float = -math.inf
    alarm: bool = False

    @property
    def length(self) -> int:
        """Points of every series."""
        return len(self.starts_s)


KEYWORDS = {"REPEAT", "LINEAR", "ASC", "DESC", "AVG", "SUM", "MIN", "MAX", "STDDEV"}
CLOCKS = {"MINUTE", "HOUR", "DAY", "DATE", "MONTH", "YEAR", "EPOCH"}
"""Functions of the time of a point."""

LOOKING_BACK = {"DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM", "REMOVE_EMPTY", "SORT"}
"""Functions whose value at a point depends on the other points that were retrieved; FILL does when it repeats."""

ELSEWHERE = {
    "INSIGHT_RULE_METRIC": "needs a Contributor Insights rule",
    "SERVICE_QUOTA": "needs the account's quotas",
    "DB_PERF_INSIGHTS": "needs Performance Insights",
    "LAMBDA": "needs a function of the account",
}


def _divide(left: float, right: float) -> float | None:
    return left / right if right else None


def _power(left: float, right: float) -> float | None:
    try:
        result = left**right
    except (OverflowError, ZeroDivisionError):
        return None
    return result if isinstance(result, float) else None


_OPERATORS: dict[str, Callable[[float, float], float | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "^": _power,
    "==": lambda left, right: float(left == right),
    "!=": lambda left, right: float(left != right),
    "<": lambda left, right: float(left < right),
    ">": lambda left, right: float(left > right),
    "<=": lambda left, right: float(left <= right),
    ">=": lambda left, right: float(left >= right),
    "AND": lambda left, right: float(bool(left) and bool(right)),
    "OR": lambda left, right: float(bool(left) or bool(right)),
}


def arithmetic(symbol: str, left: Value, right: Value) -> Value:
    """Apply an operator; a gap counts as 0 beside a value, a division by zero is dropped."""
    work = _OPERATORS[symbol]
    match left, right:
        case (str(), _) | (_, str()):
            raise DefinitionError(f"{symbol} works on numbers and series, not on text")
        case (list(), list()):
            raise DefinitionError(f"{symbol} between two arrays; CloudWatch wants a series or a number on one side")
        case (list(), _):
            return [_pointwise(work, series, right) for series in left]
        case (_, list()):
            return [_pointwise(work, left, series) for series in right]
        case (float(), float()):
            result = work(left, right)
            if result is None:
                raise DefinitionError(f"{left} {symbol} {right} has no value")
            return result
        case _:
            return _pointwise(work, left, right)


def _pointwise(work: Callable[[float, float], float | None], left: Value, right: Value) -> Series:
    match left, right:
        case Series(), Series():
            pairs = zip(left.values, right.values, strict=True)
            return Series([None if a is None and b is None else work(a or 0.0, b or 0.0) for a, b in pairs], left.label)
        case Series(), float(scalar):
            return Series([None if a is None else work(a, scalar) for a in left.values], left.label)
        case float(scalar), Series():
            return Series([None if b is None else work(scalar, b) for b in right.values], right.label)
    raise DefinitionError("an operator needs a series or a number on each side")


def call(name: str, arguments: list[Value], scope: Scope) -> Value:
    """Call a function of metric math by name."""
    if name in ELSEWHERE:
        raise UnsupportedError(f"{name} {ELSEWHERE[name]}; it is not evaluated offline")
    function = _FUNCTIONS.get(name)
    if function is None:
        raise UnsupportedError(f"function {name}; evaluated are {', '.join(sorted(_FUNCTIONS))}")
    try:
        return function(scope, *arguments)
    except TypeError as error:
        raise DefinitionError(f"{name} cannot take {len(arguments)} such arguments: {error}") from error


def _each(work: Callable[[Scope, Series], Series]) -> Callable[..., Value]:
    def apply(scope: Scope, value: Value) -> Value:
        if isinstance(value, list):
            return [work(scope, series) for series in value]
        return work(scope, _one(value))

    return apply


def _one(value: Value) -> Series:
    if not isinstance(value, Series):
        raise DefinitionError(f"a series is wanted, not {'an array' if isinstance(value, list) else repr(value)}")
    return value


def _many(value: Value) -> list[Series]:
    if not isinstance(value, list):
        raise DefinitionError("an array of series is wanted: METRICS(), SEARCH(...) or [m1, m2]")
    return value


def _scalar(value: Value) -> float:
    if not isinstance(value, int | float):
        raise DefinitionError("a number is wanted")
    return value


def _mapped(work: Callable[[float], float | None]) -> Callable[..., Value]:
    return _each(lambda _, s: Series([None if v is None else work(v) for v in s.values], s.label))


def _logarithm(base: Callable[[float], float]) -> Callable[[float], float | None]:
    return lambda value: base(value) if value > 0 else None


def _reduced(name: str, work: Callable[[list[float]], float], *, gaps_are_zero: bool = False) -> Callable[..., Value]:
    def apply(scope: Scope, value: Value) -> Value:
        if isinstance(value, list):
            columns = zip(*(series.values for series in value), strict=True)
            return Series([_column(work, column, gaps_are_zero=gaps_are_zero) for column in columns], name)
        if scope.alarm:
            raise UnsupportedError(
                f"{name} of one series in an alarm: it depends on how many points CloudWatch retrieves, which AWS "
                f"does not publish and advises against; use an array, {name}([m1, m2]), or a longer period"
            )
        known = [v for v in _one(value).values if v is not None]
        return work(known) if known else 0.0

    return apply


def _column(
    work: Callable[[list[float]], float], column: tuple[float | None, ...], *, gaps_are_zero: bool
) -> float | None:
    known = [v for v in column if v is not None]
    if not known:
        return None
    return work([v or 0.0 for v in column] if gaps_are_zero else known)


def _steps(work: Callable[[float, float], float]) -> Callable[..., Value]:
    """Make a function of the change of value and of the seconds since the point before."""

    def apply(scope: Scope, series: Series) -> Series:
        values: list[float | None] = [None] * len(series.values)
        known = [(index, value) for index, value in enumerate(series.values) if value is not None]
        for (before, earlier), (index, value) in pairwise(known):
            values[index] = work(value - earlier, float(scope.starts_s[index] - scope.starts_s[before]))
        return Series(values, series.label)

    return _each(apply)


def _fill(scope: Scope, value: Value, filler: Value) -> Value:
    if isinstance(value, list):
        return [_one(_fill(scope, series, filler)) for series in value]
    series = _one(value)
    match filler:
        case "REPEAT":
            filled = list(series.values)
            for index in range(1, len(filled)):
                filled[index] = filled[index - 1] if filled[index] is None else filled[index]
            return Series(filled, series.label)
        case "LINEAR":
            if scope.alarm:
                raise UnsupportedError(
                    "FILL(..., LINEAR) in an alarm draws on points yet to come; use REPEAT or a number"
                )
            return Series(_interpolated(series.values), series.label)
        case Series():
            pairs = zip(series.values, filler.values, strict=True)
            return Series([b if a is None else a for a, b in pairs], series.label)
    constant = _scalar(filler)
    return Series([constant if v is None else v for v in series.values], series.label)


def _interpolated(values: list[float | None]) -> list[float | None]:
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    filled = list(values)
    for (left, a), (right, b) in pairwise(known):
        for index in range(left + 1, right):
            filled[index] = a + (b - a) * (index - left) / (right - left)
    return filled


def _if(scope: Scope, condition: Value, then: Value, otherwise: Value | None = None) -> Value:
    length = scope.length
    if isinstance(condition, float):
        chosen = then if condition else otherwise
        return Series([None] * length) if chosen is None else chosen
    yes, no = _spread(then, length), _spread(otherwise, length)
    values: list[float | None] = []
    for index, truth in enumerate(_one(condition).values):
        if truth is None:
            values.append(None)
        elif truth:
            values.append(yes[index] or 0.0)  # documented: 0 where the condition holds and the value is missing
        else:
            values.append(no[index])
    return Series(values, then.label if isinstance(then, Series) else "")


def _spread(value: Value | None, length: int) -> list[float | None]:
    if isinstance(value, Series):
        return value.values
    return [None if value is None else _scalar(value)] * length


def _metrics(scope: Scope, text: Value = "") -> Value:
    return [series for name, series in scope.metrics.items() if str(text) in name]


def _search(scope: Scope, text: Value, statistic: Value, period: Value | None = None) -> Value:
    if scope.search is None:
        raise UnsupportedError("SEARCH in an alarm: CloudWatch refuses it; name the metrics")
    found = scope.search(str(text), str(statistic), scope.period_s if period is None else int(_scalar(period)))
    return list(found)


def _sort(scope: Scope, value: Value, by: Value, order: Value, limit: Value | None = None) -> Value:
    key = _FUNCTIONS[str(by)]
    ordered = sorted(_many(value), key=lambda series: _scalar(key(scope, series)), reverse=order == "DESC")
    return ordered[: None if limit is None else int(_scalar(limit))]


def _slice(_: Scope, value: Value, start: Value, end: Value | None = None) -> Value:
    return _many(value)[int(_scalar(start)) : None if end is None else int(_scalar(end))]


def _running_sum(scope: Scope, series: Series) -> Series:
    if scope.alarm:
        raise UnsupportedError("RUNNING_SUM in an alarm: it depends on how many points CloudWatch retrieves")
    return Series(list(accumulate(v or 0.0 for v in series.values)), series.label)


def _band(scope: Scope, value: Value, deviations: Value = 2.0) -> Value:
    _one(value)
    _scalar(deviations)
    if scope.band is None:
        raise UnsupportedError("ANOMALY_DETECTION_BAND needs a model that CloudWatch trains: give its bounds in a test")
    return list(scope.band)


def _clock(part: Callable[[datetime], float]) -> Callable[..., Value]:
    def apply(scope: Scope, series: Series) -> Series:
        times = [datetime.fromtimestamp(max(start_s, scope.began_s), UTC) for start_s in scope.starts_s]
        return Series([float(part(time)) for time in times], series.label)

    return _each(apply)


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "ABS": _mapped(abs),
    "CEIL": _mapped(lambda v: float(math.ceil(v))),
    "FLOOR": _mapped(lambda v: float(math.floor(v))),
    "LOG": _mapped(_logarithm(math.log)),
    "LOG10": _mapped(_logarithm(math.log10)),
    "SUM": _reduced("SUM", math.fsum),
    "AVG": _reduced("AVG", fmean, gaps_are_zero=True),
    "MIN": _reduced("MIN", min),
    "MAX": _reduced("MAX", max),
    "STDDEV": _reduced("STDDEV", pstdev),
    "DATAPOINT_COUNT": _reduced("DATAPOINT_COUNT", lambda known: float(len(known))),
    "DIFF": _steps(lambda change, _: change),
    "DIFF_TIME": _steps(lambda _, seconds: seconds),
    "RATE": _steps(lambda change, seconds: change / seconds),
    "ANOMALY_DETECTION_BAND": _band,
    "FILL": _fill,
    "IF": _if,
    "METRICS": _metrics,
    "SEARCH": _search,
    "METRIC_COUNT": lambda _, value: float(len(_many(value))),
    "PERIOD": lambda scope, _: float(scope.period_s),
    "TIME_SERIES": lambda scope, value: Series([_scalar(value)] * scope.length),
    "FIRST": lambda _, value: _many(value)[0],
    "LAST": lambda _, value: _many(value)[-1],
    "SORT": _sort,
    "SLICE": _slice,
    "REMOVE_EMPTY": lambda _, value: [s for s in _many(value) if any(v is not None for v in s.values)],
    "RUNNING_SUM": _each(_running_sum),
    "MINUTE": _clock(lambda time: time.minute),
    "HOUR": _clock(lambda time: time.hour),
    "DAY": _clock(lambda time: time.isoweekday()),
    "DATE": _clock(lambda time: time.day),
    "MONTH": _clock(lambda time: time.month),
    "YEAR": _clock(lambda time: time.year),
    "EPOCH": _clock(datetime.timestamp),
}
