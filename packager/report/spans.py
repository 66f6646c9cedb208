"""The spans of a run as rows of a waterfall; many of one kind below one span are folded into one row."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from packager.errors import in_units, printable
from telemetry import VOCABULARY
from telemetry.engine.waterfall import children_of, moved_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from telemetry import Span

MAX_OF_ONE_KIND = 12
MAX_ROWS = 500

_LABELS = {row.span: row.label for row in VOCABULARY.rows}


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One row: how deep below the root, what it says, and when it was (nanoseconds of the spans' clock)."""

    depth: int
    name: str
    note: str
    start_ns: int
    end_ns: int
    failed: bool


def rows(spans: Sequence[Span]) -> list[SpanRow]:
    """The first MAX_ROWS rows in the order of the tree."""
    found = []
    for row in _below(children_of(spans), "", 0):
        found.append(row)
        if len(found) == MAX_ROWS:
            break
    return found


def waterfall(found: Sequence[SpanRow]) -> str:
    if not found:
        return '<p class="quiet">No spans were recorded.</p>'
    first = min(row.start_ns for row in found)
    total = max(max(row.end_ns for row in found) - first, 1)
    return f'<ol class="waterfall">{"".join(_row(row, first, total) for row in found)}</ol>'


def _row(row: SpanRow, first: int, total: int) -> str:
    left, width = 100 * (row.start_ns - first) / total, 100 * (row.end_ns - row.start_ns) / total
    bad = " failed" if row.failed else ""
    return (
        f'<li style="--depth:{min(row.depth, 8)}"><span class="name">{escape(printable(row.name))}</span>'
        f'<span class="track" aria-hidden="true"><i class="bar{bad}" style="left:{min(left, 99.7):.2f}%;'
        f'width:{max(width, 0.3):.2f}%"></i></span><span class="note">{escape(printable(row.note, 400))}</span></li>'
    )


def _below(children: Mapping[str, Sequence[Span]], parent: str, depth: int) -> Iterator[SpanRow]:
    by_name: dict[str, list[Span]] = {}
    for span in children.get(parent, ()):
        by_name.setdefault(span.name, []).append(span)
    for span in children.get(parent, ()):
        alike = by_name[span.name]
        if len(alike) <= MAX_OF_ONE_KIND:
            yield SpanRow(depth, span.name, _note(span), span.start_ns, span.end_ns, span.outcome != "success")
            yield from _below(children, span.span_id, depth + 1)
        elif span is alike[0]:
            yield _folded(alike, depth)


def _folded(alike: Sequence[Span], depth: int) -> SpanRow:
    failed = sum(span.outcome != "success" for span in alike)
    totals: dict[str, float] = {}
    for span in alike:
        for name, size in moved_bytes(VOCABULARY, span).items():
            totals[name] = totals.get(name, 0) + size
    parts = [f"{_seconds(sum(span.end_ns - span.start_ns for span in alike))} in all", *_sizes(totals)]
    return SpanRow(
        depth,
        f"{len(alike)} of {alike[0].name}",
        ", ".join([*parts, *([f"{failed} failed"] if failed else [])]),
        min(span.start_ns for span in alike),
        max(span.end_ns for span in alike),
        bool(failed),
    )


def _note(span: Span) -> str:
    label = span.fields.get(_LABELS.get(span.name, ""))
    parts = [
        *([printable(label, 80)] if label else []),
        _seconds(span.end_ns - span.start_ns),
        *_sizes(moved_bytes(VOCABULARY, span)),
        *([span.outcome] if span.outcome != "success" else []),
    ]
    return ", ".join(parts)


def _sizes(sizes: Mapping[str, float]) -> list[str]:
    return [f"{name} {in_units(size)}" for name, size in sizes.items() if size]


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:.2f} s" if nanoseconds >= 1_000_000_000 else f"{nanoseconds / 1e6:.1f} ms"  # noqa: PLR2004  one second
