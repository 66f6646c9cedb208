"""A dashboard as one PNG picture: laid out on the grid of 24 columns."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import vl_convert

from dashboards.cloudwatch.body import COLUMNS
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.preview.axes import figure
from dashboards.preview.drawing import over_time
from dashboards.preview.panels import UNREADABLE, latest, shown_range, statistics_of, table_of
from dashboards.preview.shapes import bars, gauges, pie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dashboards.cloudwatch.body import Json
    from dashboards.preview.panels import Panel, View

_COLUMN, _ROW, _GAP, _HEAD, _LINE = 60, 48, 8, 24, 18  # pixels
_FIGURE = 96  # pixels of the narrowest large figure
_NUMBER, _SMALLEST = 52, 60  # pixels of a large figure with its name, of the smallest chart and column
_HIGHEST = 60_000  # pixels: 350 MB while it is drawn
_VIEWS: dict[str, Callable[[Panel, float, float], str]] = {"bar": bars, "pie": pie, "gauge": gauges}


def render_picture(title: str, body: Json, view: View, scale: float = 1.0) -> tuple[bytes, list[str]]:
    """Return the PNG, in pixels of `scale` by those of the grid, and what could not be drawn, by widget."""
    panels = view.panels(body)
    width = COLUMNS * _COLUMN + _GAP
    height = 40 + max((panel.widget.y + panel.widget.height for panel in panels), default=1) * _ROW + _GAP
    if height > _HIGHEST or any(panel.widget.width > COLUMNS for panel in panels):
        raise DefinitionError(
            f"the picture would be {height} pixels high, or a widget wider than {COLUMNS} columns;"
            f" at most {_HIGHEST} pixels are drawn: use --format html"
        )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        "<style>.own { font-size: 13px }</style>",
        f'<rect width="{width}" height="{height}" fill="#f4f5f7"/>',
        f'<text x="{_GAP}" y="26" font-size="18">{escape(title)}, {shown_range(view)}</text>',
    ]
    missing: list[str] = []
    for panel in panels:
        drawn, reasons = _tile(panel)
        parts.append(drawn)
        missing += (f"{panel.widget.title}: {reason}" for reason in reasons)
    return bytes(vl_convert.svg_to_png("\n".join([*parts, "</svg>"]), scale=scale)), missing


def _tile(panel: Panel) -> tuple[str, tuple[str, ...]]:
    """Return a widget with its frame, and what of it could not be drawn."""
    widget = panel.widget
    width, height = widget.width * _COLUMN - _GAP, widget.height * _ROW - _GAP
    try:
        inside = _inside(panel, width, height)
    except UNREADABLE as error:
        reason = f"its chart cannot be drawn: {str(error).splitlines()[0]}"
        panel = replace(panel, plots=(), unsupported=(*panel.unsupported, reason))
        inside = "".join(_lines(panel, width, height))
    heading = (
        ""
        if widget.type == "text"
        else f'<text class="own" x="8" y="17" font-weight="bold">{escape(widget.title)}</text>'
    )
    tile = (
        f'<g transform="translate({widget.x * _COLUMN + _GAP},{widget.y * _ROW + 40})">'
        f'<rect width="{width}" height="{height}" fill="#ffffff" stroke="#c9ced4" rx="5"/>{heading}'
        f'<g transform="translate(8,{_HEAD})">{inside}</g></g>'
    )
    return tile, panel.unsupported


def _drawn(panel: Panel, width: float, height: float) -> str:
    """Return the chart of a panel, empty when it is shown as text.

    Drawn here and not by Vega, which takes 50 ms of the processor for each; the page needs it, to answer to the mouse.
    """
    view = panel.widget.properties.get("view", "timeSeries")
    if not panel.plots or view == "table":
        return ""
    return _VIEWS.get(str(view), over_time)(panel, width, max(_SMALLEST, height))


def _value(value: float | None) -> str:
    return "no data" if value is None else f"{value:.6g}"


def _figure(value: float | None) -> str:
    """Return a value as large figures have room for it."""
    return _value(value) if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004  whole from here on


def _inside(panel: Panel, width: int, height: int) -> str:
    properties = panel.widget.properties
    room = height - _HEAD - 8
    if properties.get("view") == "singleValue" and panel.plots:
        numbers = "".join(_numbers(panel, width))
        sparks = properties.get("sparkline") and room - _NUMBER >= _SMALLEST
        chart = _drawn(panel, width - 16, room - _NUMBER) if sparks else ""
        return f'{numbers}<g transform="translate(0,{_NUMBER})">{chart}</g>'
    if properties.get("view") == "table" and panel.plots:
        head, rows = ("", "Min", "Max", "Sum", "Average"), [statistics_of(plot, figure) for plot in panel.plots]
        return "".join(_table(head, rows, width, height))
    notes = _wrapped([(f"Not drawn offline: {reason}", False) for reason in panel.unsupported], width)
    chart = _drawn(panel, width - 16, room - _LINE * len(notes))
    if not chart:
        return "".join(_lines(panel, width, height))
    above = "".join(_text(0, number, note) for number, (note, _) in enumerate(notes, 1))
    return f'{above}<g transform="translate(0,{_LINE * len(notes)})">{chart}</g>'


def _numbers(panel: Panel, width: int) -> Iterator[str]:
    """Yield the newest values in large figures, as many side by side as there is room, each with its name below."""
    abreast = min(len(panel.plots), max(1, (width - 16) // _FIGURE))
    each = max(1, (width - 16) // abreast)
    for number, plot in enumerate(panel.plots):
        name = textwrap.shorten(f"{plot.label} {plot.unit}".strip(), max(4, each // 7), placeholder="...")
        x, y = number % abreast * each, number // abreast * _NUMBER
        yield f'<text x="{x}" y="{y + 28}" font-size="26">{_figure(latest(plot))}</text>'
        yield f'<text class="own" x="{x}" y="{y + 46}" fill="#545b64">{escape(name)}</text>'


def _lines(panel: Panel, width: int, height: int) -> Iterator[str]:
    texts = [(f"Not drawn offline: {reason}", False) for reason in panel.unsupported]
    if panel.widget.type == "text":
        texts += _written(str(panel.widget.properties.get("markdown", "")))
    states, abreast = [f"{state}  {name}" for name, state in panel.states], max(1, width // 400)
    texts += [("    |    ".join(states[first : first + abreast]), False) for first in range(0, len(states), abreast)]
    texts += [(f"{plot.label}: {_value(latest(plot))} {plot.unit}", False) for plot in panel.plots]
    if panel.widget.type == "log" and not panel.unsupported and not panel.plots:
        head, rows = table_of(panel.rows)
        yield from _table(head, rows, width, height) if rows else (_text(0, 1, "No line answers this query"),)
        return
    texts = texts or [(panel.nothing, False)]
    wrapped = _wrapped(texts, width)
    room = max(1, (height - _HEAD) // _LINE)
    if len(wrapped) > room:
        wrapped[room - 1 :] = [(f"... and {len(wrapped) - room + 1} more lines", False)]
    for number, (line, bold) in enumerate(wrapped, 1):
        yield _text(0, number, line, bold=bold)


def _wrapped(texts: Iterable[tuple[str, bool]], width: int) -> list[tuple[str, bool]]:
    """Return the lines that texts take, each with whether it is bold."""
    return [(line, bold) for text, bold in texts for line in textwrap.wrap(text, max(10, width // 7))]


def _text(x: int, line: int, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' * bold
    return f'<text class="own" x="{x}" y="{line * _LINE - 4}"{weight}>{escape(text)}</text>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, height: int) -> Iterator[str]:
    """Yield head and rows in columns as wide as what they hold, cut where the widget ends."""
    room = max(1, (height - _HEAD) // _LINE - 1)
    shown = rows if len(rows) <= room else rows[: room - 1]
    x = 0
    for column, name in enumerate(head):
        letters = max(len(name), *(len(cells[column]) for cells in shown)) if shown else len(name)
        fits = max(4, min(letters, (width - 16 - x) // 7))
        for number, text in enumerate([name, *(cells[column] for cells in shown)], 1):
            yield _text(x, number, text if len(text) <= fits else f"{text[: fits - 3]}...", bold=number == 1)
        x += (fits + 2) * 7
        if x > width - _SMALLEST:
            break
    if len(shown) < len(rows):
        yield _text(0, len(shown) + 2, f"... and {len(rows) - len(shown)} more lines")


def _written(markdown: str) -> list[tuple[str, bool]]:
    """Return the lines of Markdown as they read, and whether each is a heading."""
    found = []
    for line in markdown.splitlines():
        heading = re.match(r"\s*#{1,6}\s+", line)
        text = line[heading.end() :] if heading else line
        text = re.sub(r"!?\[(?:button:(?:\w+:)?)?([^\]]*)\]\([^)\s]*\)", r"\1", text)
        text = re.sub(r"^(\s*)[-*]\s+", "\\1\N{BULLET} ", text)
        if re.fullmatch(r"[\s|:-]*", text):
            continue  # empty, a rule, or the line below the head of a table
        cells = (
            [cell.strip() for cell in text.strip().strip("|").split("|")] if text.lstrip().startswith("|") else [text]
        )
        found.append((re.sub(r"\*\*|[*`]|(?<!\w)_|_(?!\w)", "", "    ".join(cells)), bool(heading)))
    return found
