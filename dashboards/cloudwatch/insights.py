"""Logs Insights over recorded lines: the commands of its query language.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError
from dashboards.cloudwatch.insights_expressions import (
    MEMBERS,
    Row,
    Value,
    parse_expression,
    pattern_of,
    period_of,
    true,
    value_of,
)
from dashboards.cloudwatch.insights_functions import number_of, text_of
from dashboards.cloudwatch.search_limit import limited_searches, search_of

LIMIT = 10_000
MAX_LETTERS = 10_000
BINS = "@bins"
"""The member of a row of `stats ... by bin(5m)` that holds the width of the periods in seconds, by column."""

TIMES = "@times"
"""The member of a row of `stats` that names its columns of moments: `earliest(@timestamp)` and the like."""

_TIME = re.compile(r"(?:earliest|latest|min|max)\(\s*@timestamp\s*\)", re.IGNORECASE)
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`"
_REGEX = r"(?:\blike\s+|=~\s*|\bparse\s+(?:[@\w.`]+\s+)?)/(?:[^/\\\n]|\\.)+/"
_WHOLE = rf"{_QUOTED}|{_REGEX}"
_PIECES = re.compile(rf"(?:{_WHOLE}|[^|])+", re.IGNORECASE)
_REMARK = re.compile(rf"({_WHOLE})|(?:(?<=[\s|])|^)#[^\n]*", re.IGNORECASE)
_COMMA = re.compile(rf"{_WHOLE}|[(\[]|[)\]]|,", re.IGNORECASE)
_NAMED = re.compile(r"(?P<value>.*?)\s+as\s+(?P<name>`[^`]+`|[\w@.-]+)", re.IGNORECASE | re.DOTALL)
_BY = re.compile(rf"{_QUOTED}|\s(by)\s", re.IGNORECASE)
_PARSE = re.compile(
    r"(?:(?P<source>@?[\w.@]+|`[^`]+`)\s+)?(?P<pattern>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|/(?:[^/\\]|\\.)+/)"
    r"(?:\s+as\s+(?P<names>.+))?",
    re.IGNORECASE | re.DOTALL,
)
_UNNEST = re.compile(r"(?P<source>.+?)\s+into\s+(?P<name>[\w@.`]+)", re.IGNORECASE | re.DOTALL)

Step = Callable[[list[Row]], list[Row]]


@dataclass(frozen=True, slots=True)
class _Shown:
    """One of the comma-separated parts of a command: what it shows, under which name."""

    text: str
    name: str


def query(text: str, lines: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of a query over lines (members, with `@timestamp` in epoch seconds and `@message`).

    Raises:
        UnsupportedError: It has a command or a function that is not evaluated offline; it is named.
        DefinitionError: It cannot be read.
    """
    rows = [dict(line) for line in lines]
    with limited_searches():
        for step in _steps(text):
            rows = step(rows)
    # What a row shows is looked up at the end: only for those that are left.
    return [{**row, **{name: value_of(row, name) for name in row.get("@shown", ())}} for row in rows[:LIMIT]]


@lru_cache(maxsize=256)
def _steps(text: str) -> tuple[Step, ...]:
    if len(text) > MAX_LETTERS:
        raise DefinitionError(f"a query of {len(text)} letters; CloudWatch takes {MAX_LETTERS}")
    steps = []
    for command in _commands(text):
        verb, _, rest = command.partition(" ")
        make = _COMMANDS.get(verb.lower())
        if make is None:
            raise UnsupportedError(f"Logs Insights command {verb!r}; evaluated are {', '.join(sorted(_COMMANDS))}")
        steps.append(make(rest.strip()))
    return tuple(steps)


def _commands(text: str) -> list[str]:
    """Split at pipes that stand outside of quotes and regular expressions, without the remarks."""
    bare = _REMARK.sub(lambda match: match[1] or "", text)
    return [re.sub(r"^(\S+)\s+", r"\1 ", command) for part in _PIECES.findall(bare) if (command := part.strip())]


def _split(text: str) -> list[str]:
    """Split at commas that stand outside of quotes and brackets."""
    parts, depth, start = [], 0, 0
    for match in _COMMA.finditer(text):
        mark = match[0]
        depth += (mark in "([") - (mark in ")]")
        if mark == "," and not depth:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return [part for part in (*parts, text[start:].strip()) if part]


def _columns(text: str) -> list[_Shown]:
    columns = []
    for part in _split(text):
        match = _NAMED.fullmatch(part)
        source = match["value"].strip() if match else part
        columns.append(_Shown(source, (match["name"] if match else source).strip("`")))
    if not columns:
        raise DefinitionError("a command of the query names no field")
    return columns


def _fields(text: str) -> Step:
    columns = [(column.name, _value(column)) for column in _columns(text)]
    shown = [name for name, _ in columns]
    made = [(name, value) for name, value in columns if value is not None]

    def added(row: Row) -> Row:
        # What a row shows is what was asked for; what it was made of stays for the commands that follow.
        row = {**row, "@shown": _shown(row, shown)}
        for name, value in made:
            row[name] = value(row)
        return row

    return lambda rows: [added(row) for row in rows]


def _shown(row: Row, names: list[str]) -> list[str]:
    """Return what a row shows: a second `fields` adds to the first."""
    before = row.get("@shown", [])
    return [*before, *(name for name in names if name not in before)]


def _display(text: str) -> Step:
    work, names = _fields(text), [column.name for column in _columns(text)]
    return lambda rows: [{**row, "@shown": names} for row in work(rows)]


def _value(column: _Shown) -> Value | None:
    """Return what makes a column; None for a member that is shown under its own name."""
    value = parse_expression(column.text)
    return None if column.name == column.text.strip("`") and re.fullmatch(r"`?[@\w][\w.@-]*`?", column.text) else value


def _sort(text: str) -> Step:
    keys = []
    for part in _split(text):
        source, _, order = part.rpartition(" ")
        if order.lower() not in {"asc", "desc"}:
            source, order = part, "asc"
        keys.append((_member_or_expression(source.strip()), order.lower() == "desc"))

    def step(rows: list[Row]) -> list[Row]:
        for value, down in reversed(keys):
            known = [row for row in rows if value(row) is not None]
            known.sort(key=lambda row, value=value: _ordered(value(row)), reverse=down)  # type: ignore[misc]
            rows = known + [row for row in rows if value(row) is None]
        return rows

    return step


def _member_or_expression(text: str) -> Value:
    """Return a value by its name, be it that of a column (`count(*)`), else as an expression."""
    name = text.strip("`")
    try:
        value = parse_expression(text)
    except UnsupportedError:
        return lambda row: value_of(row, name)
    return lambda row: row[name] if name in row else value(row)


def _ordered(value: object) -> tuple[int, float, str]:
    number = number_of(value)
    return (1, 0.0, text_of(value)) if number is None else (0, number, "")


def _limit(text: str) -> Step:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise DefinitionError(f"limit {text!r} is no number of rows")
    return lambda rows: rows[: int(text)]


def _filter(text: str) -> Step:
    holds = parse_expression(text)
    return lambda rows: [row for row in rows if true(holds(row))]


def _dedup(text: str) -> Step:
    """Keep the first row of each combination of fields, the newest of the lines unless they were sorted."""
    values = [_member_or_expression(column.text) for column in _columns(text)]

    def step(rows: list[Row]) -> list[Row]:
        found: dict[tuple[str, ...], Row] = {}
        for row in rows:
            found.setdefault(tuple(text_of(value(row)) for value in values), row)
        return list(found.values())

    return step


def _parse(text: str) -> Step:
    match = _PARSE.fullmatch(text)
    if not match:
        raise DefinitionError(f'parse {text!r}; write parse @message "user=*, took *" as user, took')
    source, body = (match["source"] or "@message").strip("`"), match["pattern"][1:-1]
    names = [name.strip("`") for name in _split(match["names"] or "")]
    if match["pattern"].startswith("/"):
        return _captured(source, pattern_of(body), names)
    parts = [re.escape(re.sub(r"\\(.)", r"\1", part)) for part in body.split("*")]
    if len(parts) != len(names) + 1:
        raise DefinitionError(f"parse {text!r} has {len(parts) - 1} stars and {len(names)} names")
    # What stands before the first star may stand anywhere, and the last star takes the rest.
    joined = "(.*?)".join(parts[:-1]) + ("(.*)" if not parts[-1] else f"(.*?){parts[-1]}") if names else parts[0]
    return _captured(source, re.compile(joined, re.DOTALL), names)


def _captured(source: str, pattern: re.Pattern[str], names: list[str]) -> Step:
    if pattern.groups and not pattern.groupindex and len(names) != pattern.groups:
        raise DefinitionError(f"parse /{pattern.pattern}/ has {pattern.groups} groups and {len(names)} names")
    search = search_of(pattern)

    def taken(row: Row) -> Row:
        value = value_of(row, source)
        found = search(text_of(value)) if value is not None else None
        if found is None:
            return row
        return {**row, **(found.groupdict() or dict(zip(names, found.groups(), strict=False)))}

    return lambda rows: [taken(row) for row in rows]


def _unnest(text: str) -> Step:
    match = _UNNEST.fullmatch(text)
    if not match:
        raise DefinitionError(f"unnest {text!r}; write unnest items into item")
    source, name = parse_expression(match["source"]), match["name"].strip("`")

    def entries(row: Row) -> list[Any]:
        value = source(row)
        return value if isinstance(value, list) else [value]

    return lambda rows: [{**row, name: entry} for row in rows for entry in entries(row)]


def _stats(text: str) -> Step:
    by = next((match for match in _BY.finditer(text) if match[1]), None)
    before, after = (text[: by.start()], text[by.end() :]) if by else (text, "")
    wanted = [(column.name, parse_expression(column.text, aggregates=True)) for column in _columns(before)]
    keys = [(column, _member_or_expression(column.text)) for column in (_columns(after) if by else ())]
    times = tuple(column.name for column in _columns(before) if _TIME.fullmatch(column.text))
    bins = {column.name: width for column, _ in keys if (width := _bin_width_s(column.text))}

    def step(rows: list[Row]) -> list[Row]:
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(text_of(value(row)) for _, value in keys), []).append(row)
        found = [
            _group(dict(zip((c.name for c, _ in keys), group, strict=True)), members, wanted, bins)
            for group, members in groups.items()
        ]
        return [{**row, TIMES: times} for row in found] if times else found

    return step


def _group(key: Row, members: list[Row], wanted: list[tuple[str, Value]], bins: Mapping[str, float]) -> Row:
    rows = {**key, MEMBERS: members}
    return {**key, **{name: work(rows) for name, work in wanted}} | ({BINS: bins} if bins else {})


def _bin_width_s(text: str) -> float:
    """Return how long the periods of `bin(5m)` are, in seconds; 0 for anything else."""
    match = re.fullmatch(r"(?:bin\(|datefloor\(\s*@timestamp\s*,)\s*(\w+)\s*\)", text, re.IGNORECASE)
    if not match:
        return 0
    return period_of(match[1])(1, True)


def _same(_: str) -> Step:
    return lambda rows: rows


_COMMANDS: dict[str, Callable[[str], Step]] = {
    "fields": _fields,
    "display": _display,
    "filter": _filter,
    "filterindex": _filter,
    "sort": _sort,
    "limit": _limit,
    "stats": _stats,
    "dedup": _dedup,
    "parse": _parse,
    "unnest": _unnest,
    "source": _same,
}
