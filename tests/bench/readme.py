"""The table of the README: what the benchmark found, beside the marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.bench.marks import Row

BEGINS, ENDS = "<!-- make bench writes from here -->\n", "<!-- to here -->\n"
INPUTS = {
    "a": "a: float32 weights, 1 GiB",
    "c": "c: text, JSON, int8 and sparse weights, 1 GiB",
    "d": "d: 20,000 files of 4 KiB",
}


def write(path: Path, rows: Sequence[Row], machine: Mapping[str, Any]) -> None:
    """Replace the table between the two comments of the file."""
    text = path.read_text()
    before, begins, rest = text.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise ValueError(f"{path} has no place for the table, between {BEGINS.strip()} and {ENDS.strip()}")
    path.write_text(before + begins + "\n".join(["", *table(rows, machine), "", ""]) + ends + after)


def table(rows: Sequence[Row], machine: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: a column for each of the measured inputs, then the other figures one by one."""
    system = machine["system"].partition("-")[0]
    yield f"On {machine['cpus']} processors, Python {machine['python']}, {system}; marks in brackets."
    yield ""
    by_input = {name: {row.what: row for row in rows if row.input.partition("-")[0] == name} for name in INPUTS}
    yield "| | " + " | ".join(INPUTS.values()) + " |"
    yield "|---" * (len(INPUTS) + 1) + "|"
    for what in dict.fromkeys(what for of in by_input.values() for what in of):
        yield f"| {what} | " + " | ".join(_cell(by_input[name].get(what)) for name in INPUTS) + " |"
    yield ""
    yield "| | found |"
    yield "|---|---|"
    for row in rows:
        if row.input.partition("-")[0] not in INPUTS:
            yield f"| {row.input}: {row.what} | {_cell(row)} |"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.found is None:
        return "not measured"
    found = f"{row.found:.3g}" if row.found < 100 else f"{row.found:.0f}"
    mark = "" if row.mark is None else f" ({'at least' if row.at_least else 'at most'} {row.mark:g})"
    return f"{'**missed:** ' if row.passed is False else ''}{found} {row.unit}".rstrip() + mark
