"""Hold recorded lines and spans against every limit of CloudWatch and against the catalog of this product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.catalog import VOCABULARY
from telemetry.engine.conformance import Conformance
from telemetry.engine.coverage import Coverage
from telemetry.engine.span_conformance import SpanConformance

if TYPE_CHECKING:
    from collections.abc import Iterable

_lines = Conformance(VOCABULARY)
_spans = SpanConformance(VOCABULARY)
check_line = _lines.check_line


def check_lines(lines: Iterable[str]) -> list[str]:
    """Return what is wrong with lines of metrics, logs or spans, each finding with its line number."""
    return [
        f"line {number}: {fault}"
        for number, line in enumerate(lines, 1)
        for fault in (_spans if line.startswith('{"resourceSpans"') else _lines).check_line(line)
    ]


def check_span_line(line: str) -> list[str]:
    """Return what is wrong with one line of spans."""
    return _spans.check_line(line)


def coverage() -> Coverage:
    """Return an empty record of what was seen of the catalog."""
    return Coverage(VOCABULARY, _spans)
