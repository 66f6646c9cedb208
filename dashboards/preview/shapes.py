"""The newest values of a panel's series as SVG, for pictures: bars, a pie, gauges, a table."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from dashboards.preview.annotations import horizontal
from dashboards.preview.axes import figure, round_ends, short, value_ticks
from dashboards.preview.drawing import LETTER, colors, cut, legend_rows, text
from dashboards.preview.gauges import BELOW, DIGITS, SWEEP, TALL, ends_of, radius_of, share_of
from dashboards.preview.panels import latest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.preview.panels import Panel, Plot

_QUIET, _GRID = "#545b64", "#e3e6e9"
_LEGEND = 0.4  # of a pie's width


def bars(panel: Panel, width: float, height: float) -> str:
    """Return a bar for each series, from zero or the least value of the axis."""
    known = [(plot, color, value) for plot, color in zip(panel.plots, colors(panel.plots), strict=True)
             if (value := latest(plot)) is not None]  # fmt: skip
    if not known:
        return text(width / 2, height / 2, "No data in this time", "middle")
    axis = (panel.widget.properties.get("yAxis") or {}).get("left") or {}
    values = [value for _, _, value in known] + [value for value, _, _, _ in horizontal(panel)]
    low, high = round_ends(min(values), max(values), 5)
    low, high = float(axis.get("min", low)), float(axis.get("max", high))
    names = min(width / 2.5, max(len(plot.label) for plot, _, _ in known) * LETTER + 8)
    room, tall = width - names - 30, height - 20

    def x(value: float) -> float:
        return names + (min(max(value, low), high) - low) / ((high - low) or 1) * room

    parts = [_tick(x(value), tall, short(value)) for value in value_ticks(low, high, max(2, int(room / 60)))]
    each = tall / len(known)
    for number, (plot, color, value) in enumerate(known):
        left, right, y = x(min(value, 0.0)), x(max(value, 0.0)), number * each
        box = f'x="{left:.1f}" y="{y + each * 0.15:.1f}" width="{right - left:.1f}" height="{each * 0.7:.1f}"'
        parts.append(f'<rect {box} fill="{escape(color)}"/>')
        parts.append(text(names - 6, y + each / 2 + 4, cut(plot.label, names - 8), "end"))
    parts += [_mark(x(value), tall, str(color)) for value, _, color, _ in horizontal(panel)]
    return "".join(parts)


def _tick(x: float, tall: float, words: str) -> str:
    return f'<path d="M{x:.1f} 0v{tall:.1f}" stroke="{_GRID}"/>' + text(x, tall + 14, words, "middle")


def _mark(x: float, tall: float, color: str) -> str:
    return f'<path d="M{x:.1f} 0v{tall:.1f}" stroke="{escape(color)}" stroke-width="2" stroke-dasharray="5 3"/>'


def pie(panel: Panel, width: float, height: float) -> str:
    """Return a pie of the series that are above zero, with a legend beside it."""
    known = [(color, value) for plot, color in zip(panel.plots, colors(panel.plots), strict=True)
             if (value := latest(plot) or 0.0) > 0]  # fmt: skip
    total = math.fsum(value for _, value in known)
    beside = legend_rows(panel.plots, width * (1 - _LEGEND), 4.0, (width * _LEGEND, height), 1)
    center, radius = (width * (1 - _LEGEND) / 2, height / 2), max(8.0, min(width * (1 - _LEGEND), height) / 2 - 6)
    if not total:
        return text(*center, "No data in this time", "middle") + "".join(beside)
    parts, done = [], 0.0
    for color, value in known:
        part = value / total
        parts.append(ring(center, (0.0, radius), (done * 360, (done + part) * 360), color))
        done += part
    return "".join([*parts, *beside])


def gauges(panel: Panel, width: float, height: float) -> str:
    """Return a gauge for each series, side by side: an arc, the value in large figures, and the ends of the scale."""
    each = width / len(panel.plots)
    radius, (low, high) = radius_of(each, height), ends_of(panel)
    parts: list[str] = []
    for number, plot in enumerate(panel.plots):
        middle = each * (number + 0.5)
        top = max(0.0, (height - TALL * radius - BELOW) / 2)
        parts += _gauge(panel, plot, (middle, top + radius + 4), radius, (low, high))
        parts.append(text(middle, top + TALL * radius + BELOW - 8, cut(plot.label, each), "middle"))
    return "".join(parts)


def _gauge(
    panel: Panel, plot: Plot, center: tuple[float, float], radius: float, ends: tuple[float, float]
) -> Iterator[str]:
    inner, value = radius * 0.72, latest(plot)
    yield ring(center, (inner, radius), (-SWEEP, SWEEP), _GRID)
    if value is not None:
        color = colors(panel.plots)[panel.plots.index(plot)]
        yield ring(center, (inner, radius), (-SWEEP, _angle(value, ends)), color)
    for mark, _, shade, _ in horizontal(panel):
        angle = _angle(mark, ends)
        yield ring(center, (inner - 4, radius + 4), (angle - 1, angle + 1), str(shade))
    words = "no data" if value is None else f"{figure(value)} {plot.unit}".strip()
    size = max(9, int(min(radius / 2.4, radius * DIGITS / len(words))))
    x, y = center
    yield f'<text x="{x:.1f}" y="{y + size / 3:.1f}" text-anchor="middle" font-size="{size}">{escape(words)}</text>'
    for angle, end in zip((-SWEEP, SWEEP), ends, strict=True):
        at_x, at_y = _place(center, (inner + radius) / 2, angle)
        yield text(at_x, at_y + 14, short(end), "middle")


def _angle(value: float, ends: tuple[float, float]) -> float:
    return (2 * share_of(value, ends) - 1) * SWEEP


def _place(center: tuple[float, float], radius: float, angle: float) -> tuple[float, float]:
    """Return the place at an angle, in degrees from the top clockwise."""
    turned = math.radians(angle)
    return center[0] + radius * math.sin(turned), center[1] - radius * math.cos(turned)


def ring(center: tuple[float, float], radii: tuple[float, float], angles: tuple[float, float], color: str) -> str:
    """Return a part of a ring between two angles, in degrees from the top clockwise."""
    first, last = angles
    if last - first > 350:  # noqa: PLR2004  degrees: a whole turn would end where it begins, and be nothing
        middle = (first + last) / 2
        return ring(center, radii, (first, middle), color) + ring(center, radii, (middle, last), color)
    large = int(last - first > 180)  # noqa: PLR2004  degrees of half a turn
    inner, outer = radii
    a, b, c, d = (_place(center, r, at) for r, at in ((outer, first), (outer, last), (inner, last), (inner, first)))
    path = f"M{a[0]:.1f} {a[1]:.1f}A{outer:.1f} {outer:.1f} 0 {large} 1 {b[0]:.1f} {b[1]:.1f}"
    path += f"L{c[0]:.1f} {c[1]:.1f}A{inner:.1f} {inner:.1f} 0 {large} 0 {d[0]:.1f} {d[1]:.1f}Z"
    return f'<path d="{path}" fill="{escape(color)}"/>'
