"""Expressions of Logs Insights: members of a row, operators, functions, and aggregates of rows.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-operations-functions.html
"""

from __future__ import annotations

import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError
from dashboards.cloudwatch.grammar import MAX_DEPTH, Tokens
from dashboards.cloudwatch.insights_functions import AGGREGATES, FUNCTIONS, number_of, text_of
from dashboards.cloudwatch.search_limit import search_of

Row = dict[str, Any]
Value = Callable[[Row], Any]
_DIGITS = 18
"""As many digits of a whole number are kept exactly."""

MEMBERS = "@rows"
"""The member of a group's row that holds the rows of the group."""

_TOKEN = re.compile(
    r"\s*(?:(?P<mark>=~|!=|<=|>=|[()\[\],=<>+*%^-])|(?:(?<=like )|(?<=~ ))/(?P<regex>(?:[^/\\]|\\.)+)/|(?P<slash>/)"
    r"|\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>(?:[^'\\]|\\.)*)'|`(?P<tick>[^`]*)`"
    r"|(?P<duration>\d+(?:ms|s|m|h|d|w|mo|q|y)\b)|(?P<number>\d+(?:\.\d+)?)(?![\w.])|(?P<word>[@\w][\w.@]*))",
    re.IGNORECASE,
)
_BEFORE_REGEX = re.compile(r"(\blike|=~)\s*/", re.IGNORECASE)
_COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ADDS: Mapping[str, Callable[[float, float], float]] = {"+": operator.add, "-": operator.sub}
_MULTIPLIES: Mapping[str, Callable[[float, float], float]] = {
    "*": operator.mul, "/": operator.truediv, "%": math.fmod,
}  # fmt: skip
_UNITS_S: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTHS: Mapping[str, int] = {"mo": 1, "q": 3, "y": 12}
_TIME_FUNCTIONS = ("bin", "datefloor", "dateceil")


def value_of(row: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401  a member of somebody's JSON
    """Return a member by its path (`detail.0.name`), None when it is not there."""
    if path in row:
        return row[path]
    found: Any = row
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


@lru_cache(maxsize=512)
def parse_expression(text: str, *, aggregates: bool = False) -> Value:
    """Return what an expression makes of a row; with `aggregates`, of a row whose MEMBERS are the rows of a group.

    Raises:
        DefinitionError: It cannot be read.
        UnsupportedError: It calls a function that is not evaluated offline.
    """
    # A regular expression stands only there; anywhere else a slash divides.
    parser = _Expressions(_BEFORE_REGEX.sub(r"\1 /", text), _TOKEN, "expression")
    parser.aggregates = aggregates
    value = parser.either()
    parser.end()
    return value


class _Expressions(Tokens):
    aggregates = False
    depth = 0

    def either(self) -> Value:
        value = self.both()
        while self.took("or"):
            value = _joined(value, self.both(), any)
        return value

    def both(self) -> Value:
        value = self.negated()
        while self.took("and"):
            value = _joined(value, self.negated(), all)
        return value

    def negated(self) -> Value:
        negative = False
        while self.took("not"):
            negative = not negative
        value = self.compared()
        return (lambda row: not true(value(row))) if negative else value

    def compared(self) -> Value:
        left = self.added()
        negative = self.took("not")
        word = self.peek().lower()
        if word in {"in", "like", "=~"}:
            self.take()
            test = self.membership(left) if word == "in" else self.matched(left)
            return (lambda row: not test(row)) if negative else test
        if negative:
            raise self.error(f"`in` or `like` is missing after `not`, not {word!r}")
        if word in {"=", "!="}:
            self.take()
            return _equals(left, self.added(), same=word == "=")
        if word in _COMPARES:
            self.take()
            return _orders(left, self.added(), _COMPARES[word])
        return left

    def membership(self, left: Value) -> Value:
        self.expect("[")
        wanted: list[Value] = []
        while not self.took("]"):
            wanted.append(self.added())
            self.took(",")
        return lambda row: (found := left(row)) is not None and any(equal(found, each(row)) for each in wanted)

    def matched(self, left: Value) -> Value:
        kind, wanted = self.take()
        if kind not in {"regex", "double", "single", "tick", "word"}:
            raise self.error(f"a text or a /regular expression/ is to stand instead of {wanted!r}")
        found = search_of(pattern_of(wanted if kind == "regex" else re.escape(wanted)))
        return lambda row: (value := left(row)) is not None and found(text_of(value)) is not None

    def added(self) -> Value:
        value = self.multiplied()
        while self.peek() in _ADDS:
            value = _calculated(_ADDS[self.take()[1]], value, self.multiplied())
        return value

    def multiplied(self) -> Value:
        value = self.raised()
        while self.peek() in _MULTIPLIES:
            value = _calculated(_MULTIPLIES[self.take()[1]], value, self.raised())
        return value

    def raised(self) -> Value:
        value = self.single()
        return _calculated(operator.pow, value, self.raised()) if self.took("^") else value

    def single(self) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnsupportedError(f"an expression nested more than {MAX_DEPTH} deep; split it")
        value = self.element()
        self.depth -= 1
        return value

    def element(self) -> Value:
        if self.took("("):
            value = self.either()
            self.expect(")")
            return value
        if self.took("-"):
            return _calculated(operator.mul, lambda _: -1.0, self.single())
        kind, word = self.take()
        if kind in {"double", "single"}:
            text = re.sub(r"\\(.)", r"\1", word)
            return lambda _: text
        if kind == "number":
            number = float(word) if "." in word or len(word) > _DIGITS else int(word)
            return lambda _: number
        if kind == "tick" or (kind == "word" and self.peek() != "("):
            return _member(word, literal=kind == "word")
        if kind != "word":
            raise self.error(f"unexpected {word!r}")
        self.take()
        return self.called(word)

    def called(self, name: str) -> Value:
        lower = name.lower()
        if lower in _TIME_FUNCTIONS:
            return self.timed(lower)
        if lower == "now":
            self.expect(")")
            return lambda row: row.get("@now", datetime.now(UTC).timestamp())
        if self.aggregates and lower in AGGREGATES:
            return self.aggregated(lower)
        function = FUNCTIONS.get(lower)
        if function is None:
            raise UnsupportedError(f"the function {name} in {self.text!r} is not evaluated offline")
        given = self.arguments()

        def value(row: Row) -> Any:  # noqa: ANN401  what the function gives
            try:
                return function(*[each(row) for each in given])
            except (OverflowError, TypeError) as error:
                raise DefinitionError(f"{name} takes other arguments than those in {self.text!r}") from error

        return value

    def arguments(self) -> list[Value]:
        given: list[Value] = []
        while not self.took(")"):
            given.append(self.either())
            if self.peek() != ")":
                self.expect(",")
        return given

    def aggregated(self, name: str) -> Value:
        work = AGGREGATES[name]
        if self.took("*"):
            self.expect(")")
            return lambda row: len(row[MEMBERS])
        self.aggregates = False  # what an aggregate is made of is a value of each row
        given = self.arguments()
        self.aggregates = True
        extra = [number_of(each({})) for each in given[1:]]
        if None in extra or len(extra) != (name in {"pct", "percentile"}):
            raise self.error(f"{name} takes other arguments")
        if not given:
            return lambda row: work([(0.0, row)] * len(row[MEMBERS]))

        def value(row: Row) -> Any:  # noqa: ANN401  what the aggregate gives
            pairs = ((each.get("@timestamp", 0.0), given[0](each)) for each in row[MEMBERS])
            return work([pair for pair in pairs if pair[1] is not None], *extra)

        return value

    def timed(self, name: str) -> Value:
        """Return a moment cut to its period: `bin(5m)` of the row's own, `datefloor(@timestamp, 1h)` of any."""
        moment: Value = lambda row: row.get("@timestamp")  # noqa: E731  one of two
        if name != "bin":
            moment = self.added()
            self.expect(",")
        kind, word = self.take()
        if kind != "duration":
            raise self.error(f"a period (5m) is to stand instead of {word!r}")
        self.expect(")")
        cut, upwards = period_of(word), name == "dateceil"

        def value(row: Row) -> float | None:
            time_s = number_of(moment(row))
            try:
                return None if time_s is None else cut(time_s, upwards)
            except (OverflowError, ValueError):
                return None  # on no calendar

        return value


def period_of(text: str) -> Callable[[float, bool], float]:
    """Return what cuts a moment to periods (`30s`, `5m`, `1mo`) of UTC: to the one it lies in, or up to the next."""
    match = re.fullmatch(r"(\d{1,6})(\D+)", text)
    count, unit = (int(match[1]), match[2]) if match else (0, "")
    if not count or unit not in {*_UNITS_S, *_MONTHS}:
        raise DefinitionError(f"{text!r} is no period; write 30s, 5m, 1h, 1d, 1w or 1mo")
    if unit in _MONTHS:
        return lambda time_s, upwards: _month(time_s, count * _MONTHS[unit], upwards=upwards)
    width_s = count * _UNITS_S[unit]

    def cut(time_s: float, upwards: bool) -> float:  # noqa: FBT001  a value of a caller's, not a switch
        return (math.ceil(time_s / width_s) if upwards else math.floor(time_s / width_s)) * width_s

    return cut


def _month(time_s: float, months: int, *, upwards: bool) -> float:
    time = datetime.fromtimestamp(time_s, UTC)
    number = (time.year * 12 + time.month - 1) // months * months
    start_s = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()
    if not upwards or start_s == time_s:
        return start_s
    number += months
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()


@lru_cache(maxsize=256)
def pattern_of(text: str) -> re.Pattern[str]:
    """Return a regular expression, with named groups as Logs Insights writes them: `(?<name>...)`.

    Raises:
        DefinitionError: It is none that can be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a set within a set, which means the same in both languages
            return re.compile(re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", text))
    except (re.error, OverflowError, RecursionError) as error:
        raise DefinitionError(f"the regular expression /{text}/ cannot be read: {error}") from error


def true(value: object) -> bool:
    """Tell whether a value counts as true."""
    return value not in (None, False, 0, "", "false", "0")


def equal(found: object, wanted: object) -> bool:
    """Tell whether two values are the same: numbers as numbers, wherever both are some; true is 1."""
    if isinstance(found, bool) and text_of(found) == text_of(wanted).lower():
        return True
    number, other = number_of(found), number_of(wanted)
    return number == other if number is not None and other is not None else text_of(found) == text_of(wanted)


def _member(path: str, *, literal: bool) -> Value:
    if literal and path.lower() in {"true", "false"}:
        return lambda _: path.lower() == "true"
    return lambda row: value_of(row, path)


def _joined(left: Value, right: Value, how: Callable[[Any], bool]) -> Value:
    return lambda row: how(true(each(row)) for each in (left, right))


def _equals(left: Value, right: Value, *, same: bool) -> Value:
    def holds(row: Row) -> bool:
        found, wanted = left(row), right(row)
        if found is None or wanted is None:
            return (found is wanted) == same
        return equal(found, wanted) == same

    return holds


def _orders(left: Value, right: Value, work: Callable[[Any, Any], bool]) -> Value:
    """Compare numbers as numbers, and two texts letter by letter; what is not there is neither more nor less."""

    def holds(row: Row) -> bool:
        found, wanted = left(row), right(row)
        number, other = number_of(found), number_of(wanted)
        if number is not None and other is not None:
            return work(number, other)
        return isinstance(found, str) and isinstance(wanted, str) and work(found, wanted)

    return holds


def _calculated(work: Callable[[float, float], Any], left: Value, right: Value) -> Value:
    def value(row: Row) -> float | None:
        number, other = number_of(left(row)), number_of(right(row))
        if number is None or other is None:
            return None
        try:
            result = work(number, other)
        except (ArithmeticError, ValueError):
            return None
        return None if isinstance(result, complex) else float(result)

    return value
