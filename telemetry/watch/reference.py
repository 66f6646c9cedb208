"""The catalog as documentation: one table for each row, rendered so that it cannot drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.catalog import CONTEXT_KEYS, LOG_KEYS, ROWS
from telemetry.watch.alarms import ALARMS, COMPOSITES
from telemetry.watch.types import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from telemetry.catalog import Operation


def markdown() -> str:
    """Return every row with its metrics, dimensions, properties and alarms, then keys and composites."""
    lines = [line for row in ROWS for line in _row(row)]
    lines += ["### Keys of every log line", "", *_table(("key", "meaning"), ((k.field, k.meaning) for k in LOG_KEYS))]
    lines += ["### Keys of the context", "", *_table(("key", "meaning"), ((k.field, k.meaning) for k in CONTEXT_KEYS))]
    lines += ["### Composite alarms", ""]
    lines += _table(
        ("alarm", "severity", "meaning", "rule"),
        ((found.name, found.severity, found.meaning, f"`{found.rule}`") for found in COMPOSITES),
    )
    return "\n".join(lines).rstrip() + "\n"


def _row(row: Operation) -> Iterator[str]:
    yield from (f"### {row.name}", "", f"{row.meaning}. Span `{row.span}`.", "")
    yield from _table(
        ("field", "metric", "unit", "look at", "meaning"),
        ((m.field, m.name, m.unit, m.statistic, m.meaning) for m in row.all_metrics),
    )
    for dimension in row.dimensions:
        yield f"- dimension `{dimension.field}` ({dimension.name}): {', '.join(dimension.values)}"
    if row.properties:
        yield "- properties: " + "; ".join(f"`{found.field}` ({found.meaning})" for found in row.properties)
    for alarm in (alarm for alarm in ALARMS if alarm.row == row.name):
        bound = f"{alarm.comparison} {alarm.threshold.value(Limits()):,.6g}"
        yield (
            f"- {alarm.severity} `{alarm.name}`: {alarm.meaning} ({bound}, {alarm.datapoints} of {alarm.periods} x "
            f"{alarm.period_s} s; missing data: {alarm.missing}, {alarm.missing_why})"
        )
    yield ""


def _table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""
