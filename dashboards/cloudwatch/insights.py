"""The part of CloudWatch Logs Insights that dashboards and runbooks use, over recorded lines.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError
from dashboards.cloudwatch.grammar import Conditions
from dashboards.cloudwatch.schedules import duration_s

Row = dict[str, Any]
LIMIT = 10_000
_CONDITION = re.compile(
    r"\s*(?:(?P<mark>[()\[\],])|(?P<operator>=~|!=|<=|>=|=|<|>)|/(?P<regex>(?:[^/\\]|\\.)*)/"
    r"|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|`(?P<tick>[^`]*)`"
    r"|(?P<number>-?\d+(?:\.\d+)?)(?![\w.])|(?P<word>[@\w][\w.@-]*))"
)
_AGGREGATE = re.compile(
    r"(?P<name>count|sum|avg|min|max|pct|count_distinct)\(\s*(?P<field>[^,)]*)(?:,\s*(?P<n>\d+(?:\.\d+)?))?\s*\)"
)


def query(text: str, lines: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of a query; raise UnsupportedError by name for a command that is not evaluated offline."""
    rows = [dict(line) for line in lines]
    for command in _commands(text):
        verb, _, rest = command.partition(" ")
        step = _COMMANDS.get(verb.lower())
        if step is None:
            raise UnsupportedError(f"Logs Insights command {verb!r}; evaluated are {', '.join(sorted(_COMMANDS))}")
        rows = step(rest.strip(), rows)
    # What a row shows is looked up at the end: only for those that are left.
    return [{**row, **{name: value_of(row, name) for name in row.get("@shown", ())}} for row in rows[:LIMIT]]


def _commands(text: str) -> list[str]:
    """Split at pipes that stand outside of quotes and regular expressions."""
    parts = re.findall(r"(?:\"[^\"]*\"|'[^']*'|/(?:[^/\\\n]|\\.)*/|[^|])+", text)
    return [command for part in parts if (command := " ".join(part.split())) and not command.startswith("#")]


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


def _columns(text: str) -> list[tuple[str, str]]:
    pairs = [re.split(r"\s+as\s+", part.strip(), flags=re.IGNORECASE) for part in re.split(r",(?![^(]*\))", text)]
    return [(pair[0].strip("`"), pair[-1].strip("`")) for pair in pairs if pair[0]]


def _fields(text: str, rows: list[Row]) -> list[Row]:
    columns = _columns(text)
    for source, _ in columns:
        if not re.fullmatch(r"[@\w][\w.@-]*", source):
            raise UnsupportedError(f"{source!r} in fields: only members, not functions, are evaluated offline")
    # What a row shows is what was asked for; what it was made of stays for the commands that follow.
    shown = {"@shown": [name for _, name in columns]}
    renamed = [(source, name) for source, name in columns if source != name]
    return [{**row, **{name: value_of(row, source) for source, name in renamed}, **shown} for row in rows]


def _sort(text: str, rows: list[Row]) -> list[Row]:
    field, _, order = text.partition(" ")
    down = order.strip().lower() == "desc"
    known = [row for row in rows if value_of(row, field) is not None]
    known.sort(key=lambda row: _ordered(value_of(row, field)), reverse=down)
    return known + [row for row in rows if value_of(row, field) is None]


def _ordered(value: object) -> tuple[int, float, str]:
    number = _number(value)
    return (1, 0.0, str(value)) if number is None else (0, number, "")


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _limit(text: str, rows: list[Row]) -> list[Row]:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise DefinitionError(f"limit {text!r} is no number of rows")
    return rows[: int(text)]


def _stats(text: str, rows: list[Row]) -> list[Row]:
    aggregates, _, by = (
        re.split(r"(\s+by\s+)", text + " ", maxsplit=1, flags=re.IGNORECASE) if " by " in text else (text, "", "")
    )
    keys = _columns(by)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(_key(row, source)) for source, _ in keys), []).append(row)
    wanted = [(_aggregate(source), name) for source, name in _columns(aggregates)]
    names = [name for _, name in keys]
    return [
        {**dict(zip(names, group, strict=True)), **{name: work(members) for work, name in wanted}}
        for group, members in groups.items()
    ]


def _key(row: Row, source: str) -> Any:  # noqa: ANN401  a member of somebody's JSON
    match = re.fullmatch(r"bin\((\w+)\)", source)
    if not match:
        return value_of(row, source)
    width_s = duration_s(match[1])
    time_s = _number(row.get("@timestamp"))
    if not width_s or time_s is None:
        raise DefinitionError(f"{source} needs a length of time, and lines with a @timestamp")
    return int(time_s // width_s * width_s)


def _aggregate(text: str) -> Callable[[list[Row]], float]:
    match = _AGGREGATE.fullmatch(text)
    if not match:
        raise UnsupportedError(f"{text!r} in stats; evaluated are count, count_distinct, sum, avg, min, max and pct")
    name, field = match["name"], match["field"].strip()

    def work(rows: list[Row]) -> float:
        present = [row for row in rows if field in {"", "*"} or value_of(row, field) is not None]
        if name == "count":
            return len(present)
        if name == "count_distinct":
            return len({str(value_of(row, field)) for row in present})
        numbers = sorted(n for row in present if (n := _number(value_of(row, field))) is not None)
        if not numbers:
            return 0.0
        if name == "pct":
            return numbers[min(len(numbers) - 1, int(float(match["n"] or 50) / 100 * len(numbers)))]
        return {"sum": sum(numbers), "avg": sum(numbers) / len(numbers), "min": numbers[0], "max": numbers[-1]}[name]

    return work


def _filter(text: str, rows: list[Row]) -> list[Row]:
    holds = _Condition(text, _CONDITION, "filter").whole()
    return [row for row in rows if holds(row)]


Test = Callable[[Row], bool]


class _Condition(Conditions[Row]):
    def element(self) -> Test:
        if self.took("ispresent"):
            self.expect("(")
            field = self.take()[1]
            self.expect(")")
            return lambda row: value_of(row, field) is not None
        return self.comparison(self.take()[1])

    def comparison(self, field: str) -> Test:
        negative = self.took("not")
        operator = self.take()[1].lower()
        test = self.membership(field) if operator == "in" else _compared(field, operator, self.take())
        return (lambda row: not test(row)) if negative else test

    def membership(self, field: str) -> Test:
        self.expect("[")
        wanted: set[str] = set()
        while not self.took("]"):
            wanted.add(self.take()[1])
            self.took(",")
        return lambda row: str(value_of(row, field)) in wanted


def _compared(field: str, operator: str, operand: tuple[str, str]) -> Test:
    kind, wanted = operand
    if operator in {"like", "=~"}:
        pattern = _pattern(wanted if kind == "regex" else re.escape(wanted))
        return lambda row: (found := value_of(row, field)) is not None and bool(pattern.search(str(found)))
    if operator in {"=", "!="}:
        return lambda row: _same(value_of(row, field), wanted) == (operator == "=")
    if operator not in {"<", "<=", ">", ">="}:
        raise UnsupportedError(f"operator {operator!r} in a filter is not evaluated offline")
    bound = _number(wanted)
    if bound is None:
        raise DefinitionError(f"{field} {operator} {wanted!r} compares with something that is no number")
    return lambda row: (found := _number(value_of(row, field))) is not None and {
        "<": found < bound, "<=": found <= bound, ">": found > bound, ">=": found >= bound,
    }[operator]  # fmt: skip


def _pattern(text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a set within a set, which means the same in both languages
            return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise DefinitionError(f"the regular expression /{text}/ cannot be read: {error}") from error


def _same(found: object, wanted: str) -> bool:
    if isinstance(found, bool):
        return str(int(found)) == wanted or str(found).lower() == wanted
    number, other = _number(found), _number(wanted)
    return number == other if number is not None and other is not None else str(found) == wanted


_COMMANDS: dict[str, Callable[[str, list[Row]], list[Row]]] = {
    "fields": _fields,
    "display": _fields,
    "filter": _filter,
    "sort": _sort,
    "limit": _limit,
    "stats": _stats,
    "source": lambda _, rows: rows,
}
