"""A dashboard as one PNG picture: each chart drawn by Vega, laid out on the grid of 24 columns."""

from __future__ import annotations

import re
import textwrap
from html import escape
from typing import TYPE_CHECKING, Any

import vl_convert

from dashboards.cloudwatch.body import COLUMNS, Json
from dashboards.preview.charts import charts, latest
from dashboards.preview.panels import shown_range, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.preview.panels import Panel, View

_COLUMN, _ROW, _GAP, _HEAD, _LINE = 60, 48, 8, 24, 18  # pixels
_CONFIG = {"background": "#ffffff", "font": "sans-serif", "autosize": {"type": "fit", "contains": "padding"}}


def render_picture(title: str, body: Json, view: View) -> tuple[bytes, list[str]]:
    """Return the PNG and what could not be drawn, by widget."""
    panels, specs = charts(view.panels(body))
    missing = [f"{panel.widget.title}: {reason}" for panel in panels for reason in panel.unsupported]
    width = COLUMNS * _COLUMN + _GAP
    height = 40 + max((panel.widget.y + panel.widget.height for panel in panels), default=1) * _ROW + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        "<style>.own { font-size: 13px }</style>",
        f'<rect width="{width}" height="{height}" fill="#f4f5f7"/>',
        f'<text x="{_GAP}" y="26" font-size="18">{escape(title)}, {shown_range(view)}</text>',
        *(_tile(panel, specs.get(str(panel.widget.number))) for panel in panels),
        "</svg>",
    ]
    return bytes(vl_convert.svg_to_png("\n".join(parts))), missing


def _tile(panel: Panel, spec: dict[str, Any] | None) -> str:
    widget = panel.widget
    width, height = widget.width * _COLUMN - _GAP, widget.height * _ROW - _GAP
    inside = _drawn(spec, width - 16, height - _HEAD - 8) if spec else "".join(_lines(panel, width, height))
    heading = (
        ""
        if widget.type == "text"
        else f'<text class="own" x="8" y="17" font-weight="bold">{escape(widget.title)}</text>'
    )
    return (
        f'<g transform="translate({widget.x * _COLUMN + _GAP},{widget.y * _ROW + 40})">'
        f'<rect width="{width}" height="{height}" fill="#ffffff" stroke="#c9ced4" rx="5"/>{heading}'
        f'<g transform="translate(8,{_HEAD})">{inside}</g></g>'
    )


def _drawn(spec: dict[str, Any], width: int, height: int) -> str:
    sized = {**_visible(spec), "width": width, "height": max(60, height), "config": _CONFIG}
    # Charts share one document here, so what one of them names (clip paths) must not be taken for another's.
    svg = str(vl_convert.vegalite_to_svg(sized))
    return re.sub(r'(id="|url\(#)', rf"\g<1>v{abs(hash(svg))}", svg)


def _visible(spec: Any) -> Any:  # noqa: ANN401  a specification, down to its members
    """Return a specification without the points that only answer to the mouse: they would be most of the work."""
    if isinstance(spec, dict):
        return {name: _visible(part) if name in {"layer", "mark"} else part for name, part in spec.items()}
    if isinstance(spec, list):
        return [_visible(part) for part in spec if (part.get("mark") or {}).get("opacity") != 0]
    return spec


def _value(value: float | None) -> str:
    return "no data" if value is None else f"{value:.6g}"


def _lines(panel: Panel, width: int, height: int) -> Iterator[str]:
    texts = [f"Not drawn offline: {reason}" for reason in panel.unsupported]
    if panel.widget.type == "text":
        texts += re.sub(r"[*`#]", "", str(panel.widget.properties.get("markdown", ""))).splitlines()
    states, abreast = [f"{state}  {name}" for name, state in panel.states], max(1, width // 400)
    texts += ["    |    ".join(states[first : first + abreast]) for first in range(0, len(states), abreast)]
    texts += [f"{plot.label}: {_value(latest(plot))} {plot.unit}" for plot in panel.plots]
    if panel.widget.type == "log" and not panel.unsupported and not panel.plots:
        texts += ["  ".join(cells) for cells in table_of(panel.rows)[1]] or ["No line answers this query"]
    texts = texts or ["Nothing is named that could be drawn"]
    wrapped = [line for text in texts for line in textwrap.wrap(text, max(10, width // 7))]
    room = max(1, (height - _HEAD) // _LINE)
    if len(wrapped) > room:
        wrapped[room - 1 :] = [f"... and {len(wrapped) - room + 1} more lines"]
    for number, line in enumerate(wrapped, 1):
        yield f'<text class="own" x="0" y="{number * _LINE - 4}">{escape(line)}</text>'
