"""A drill's outcome as text for people."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dashboards.drills.judging import DrillOutcome

_WIDTH = 118
_LONGEST = 90


def shown(outcome: DrillOutcome) -> str:
    """Return what happened in a drill, line by line."""
    return "\n".join(_lines(outcome))


def summary(outcomes: Sequence[DrillOutcome]) -> str:
    """Return a table of all drills, one line each."""
    width = max(len(outcome.drill) for outcome in outcomes)
    return "\n".join(_row(outcome, width) for outcome in outcomes)


def _row(outcome: DrillOutcome, width: int) -> str:
    latest = max((each.after_s for each in outcome.fired), default=0)
    verdict = f"FAILED ({len(outcome.failures)})" if outcome.failures else "passed"
    return (
        f"{outcome.drill:{width}}  {verdict:10}  {len(outcome.fired):2} fired, the last after {latest:5.1f} s;  "
        f"{len(outcome.silent):2} silent;  {sum(bool(each.shows) for each in outcome.found)} of "
        f"{len(outcome.found)} causes found"
    )


def _lines(outcome: DrillOutcome) -> Iterator[str]:
    yield f"{outcome.drill}: {outcome.fault}"
    for each in sorted(outcome.fired, key=lambda fired: (not fired.called, fired.alarm)):
        called = ", called" if each.called else ""
        yield f"  fired    {each.alarm} after {each.after_s:g} s (due within {each.due_s:g} s){called}"
    yield from _listed("silent", [name for name in outcome.silent if not name.endswith(_HALVES)])
    yield from _listed("unseen", outcome.unseen)
    for found in outcome.found:
        if found.shows:
            yield f"  found    {found.alarm}, first query: {_cells(found.shows, found.field)}"
    yield from (f"  FAILED   {failure}" for failure in outcome.failures)


def _listed(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        indent = " " * 11
        yield textwrap.fill(
            ", ".join(names), _WIDTH, initial_indent=f"  {what:9}", subsequent_indent=indent, break_on_hyphens=False
        )


def _cells(row: Mapping[str, Any], first: str) -> str:
    """Return the cells of a row that tell something, the one that names the cause first."""
    names = [first, *(name for name in row if name != first and name not in _HANDLES)]
    cells = (f"{name}={textwrap.shorten(str(row[name]), _LONGEST, placeholder=' ...')}" for name in names[:_CELLS])
    return ", ".join(cells)


_HALVES = ("-long", "-short")
"""The windows of an SLO, of which only the pair means something."""

_HANDLES = {"@timestamp", "request_id", "trace_id"}
_CELLS = 4
