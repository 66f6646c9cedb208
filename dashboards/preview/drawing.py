"""Series over time as SVG, for pictures: lines or areas, two axes, a legend and annotations."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from dashboards.preview.annotations import RED, bands, horizontal, vertical
from dashboards.preview.axes import round_ends, short, time_ticks, value_ticks
from dashboards.preview.charts import FEW, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.preview.panels import Panel, Plot

LETTER, LINE = 5.6, 15  # pixels of a letter and of a line of the small text
_TIMES, _TOP, _TITLE = 18, 8, 14  # pixels below for times, above for the highest label, beside for a title
_AROUND = 18.0  # pixels for half of the last time
_PER_TICK, _PER_TIME = 38, 70  # pixels between two labels
_QUIET, _GRID = "#545b64", "#e3e6e9"


@dataclass(frozen=True)
class Frame:
    """Where values are drawn: a box in pixels, and the moments (epoch seconds) and values of its ends."""

    left: float
    top: float
    width: float
    height: float
    start_s: float
    end_s: float
    low: float
    high: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, at_s: float) -> float:
        return self.left + (at_s - self.start_s) / (self.end_s - self.start_s) * self.width

    def y(self, value: float) -> float:
        return self.bottom - (value - self.low) / (self.high - self.low) * self.height


def text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    """Return a small text; `more` holds further attributes."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="11" fill="{_QUIET}"{more}>{escape(words)}</text>'


PALETTE = (
    "#2260c9", "#b3540a", "#1f7a33", "#b3200c", "#7340b8", "#7a4b3f", "#a82f76", "#555555", "#00788a", "#807000",
    "#3d8a00", "#5b6ee1",
)  # fmt: skip
"""The colors of the page in the light."""


def cut(words: str, width: float) -> str:
    """Return words as far as they fit."""
    most = max(4, int(width / LETTER))
    return words if len(words) <= most else words[: most - 3] + "..."


def colors(plots: Sequence[Plot]) -> list[str]:
    """Return the color of each plot: its own, else the next of the palette."""
    return [plot.line.color or PALETTE[number % len(PALETTE)] for number, plot in enumerate(plots)]


def over_time(panel: Panel, width: float, height: float) -> str:
    """Return the chart of a panel's series."""
    legend, below, beside = _legend(panel, width, height)
    inside = height - below
    frames = dict(_frames(panel, width - beside, inside))
    main = next(iter(frames.values()))
    name = f"clip{panel.widget.number}"
    parts = [*_axes(panel, frames), f'<g clip-path="url(#{name})">']
    parts += _shaded(panel, main)
    for side, frame in frames.items():
        parts += _series(panel, side, frame)
    box = f'x="{main.left:.1f}" y="{main.top - 2:.1f}" width="{main.width:.1f}" height="{main.height + 4:.1f}"'
    parts += ["</g>", f'<clipPath id="{name}"><rect {box}/></clipPath>']
    for side, frame in frames.items():
        parts += _rules(panel, side, frame)
    parts += [_upright(main, main.x(at_ms / 1000), color) for at_ms, _, color in vertical(panel)]
    return "".join([*parts, *legend])


def _frames(panel: Panel, width: float, height: float) -> Iterator[tuple[Side, Frame]]:
    """Yield the sides that have series, each with its scale; they share one box."""
    room = max(20.0, height - _TIMES - _TOP)
    scales = {side: _ends(panel, side, room) for side in _sides(panel)}
    labels = {side: _labels(ends, room) for side, ends in scales.items()}
    wide = {
        side: max(map(len, found), default=1) * LETTER + 8 + _TITLE * bool(_title(panel, side))
        for side, found in labels.items()
    }
    left, right = wide.get("left", _AROUND), wide.get("right", _AROUND)
    for side, (low, high) in scales.items():
        box = (left, _TOP, max(20.0, width - left - right), room)
        yield side, Frame(*box, panel.grid.start_s, panel.grid.end_s, low, high)


def _sides(panel: Panel) -> list[Side]:
    sides: tuple[Side, ...] = ("left", "right")
    return [side for side in sides if any(plot.line.axis == side for plot in panel.plots)] or ["left"]


def _labels(ends: tuple[float, float], room: float) -> list[str]:
    return [short(value) for value in value_ticks(*ends, max(2, int(room / _PER_TICK)))]


def _ends(panel: Panel, side: Side, room: float) -> tuple[float, float]:
    axis = (panel.widget.properties.get("yAxis") or {}).get(side) or {}
    lines = [points for _, points in _stacked(panel, side)]
    values = [value for points in lines for _, value in points]
    values += [value for value, _, _, of in horizontal(panel) if of == side]
    low, high = round_ends(min(values, default=0.0), max(values, default=0.0), max(2, int(room / _PER_TICK)))
    low, high = float(axis.get("min", low)), float(axis.get("max", high))
    return (low, high) if low < high else (low, low + 1)


def _stacked(panel: Panel, side: Side) -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Yield the number of each plot of a side with its points (epoch seconds, value), one on another if they stack."""
    stacked = bool(panel.widget.properties.get("stacked"))
    below: dict[float, float] = {}
    for number, plot in enumerate(panel.plots):
        if plot.line.axis != side:
            continue
        grid = plot.grid or panel.grid
        points = [(float(grid.start_s + step * grid.step_s), v) for step, v in enumerate(plot.values) if v is not None]
        if stacked:
            points = [(at_s, value + below.get(at_s, 0.0)) for at_s, value in points]
            below.update(points)
        yield number, points


def _title(panel: Panel, side: Side) -> str:
    axis = (panel.widget.properties.get("yAxis") or {}).get(side) or {}
    units = sorted({plot.unit for plot in panel.plots if plot.unit and plot.line.axis == side})
    return str(axis.get("label") or (", ".join(units) if axis.get("showUnits", True) else ""))


def _axes(panel: Panel, frames: dict[Side, Frame]) -> Iterator[str]:
    main = next(iter(frames.values()))
    for side, frame in frames.items():
        edge, anchor = (frame.left, "end") if side == "left" else (frame.left + frame.width, "start")
        away = -4 if side == "left" else 4
        for value in value_ticks(frame.low, frame.high, max(2, int(frame.height / _PER_TICK))):
            y = frame.y(value)
            if frame is main:
                yield f'<path d="M{frame.left:.1f} {y:.1f}h{frame.width:.1f}" stroke="{_GRID}"/>'
            yield text(edge + away, y + 4, short(value), anchor)
        if title := _title(panel, side):
            x = 10 if side == "left" else frame.left + frame.width + frame.left - 4
            middle = frame.top + frame.height / 2
            words = cut(title, frame.height)
            yield text(x, middle, words, "middle", f' transform="rotate(-90 {x:.1f} {middle:.1f})"')
    yield f'<path d="M{main.left:.1f} {main.bottom:.1f}h{main.width:.1f}" stroke="{_QUIET}"/>'
    for at_s, words in time_ticks(main.start_s, main.end_s, max(2, int(main.width / _PER_TIME))):
        x = main.x(at_s)
        yield f'<path d="M{x:.1f} {main.bottom:.1f}v4" stroke="{_QUIET}"/>' + text(x, main.bottom + 15, words, "middle")
    if not any(value is not None for plot in panel.plots for value in plot.values):
        yield text(main.left + main.width / 2, main.top + main.height / 2, "No data in this time", "middle")


def _series(panel: Panel, side: Side, frame: Frame) -> Iterator[str]:
    shades, lines = colors(panel.plots), list(_stacked(panel, side))
    few = sum(len(points) for _, points in lines) <= FEW
    stacked = bool(panel.widget.properties.get("stacked"))
    for number, points in reversed(lines) if stacked else lines:
        if not points:
            continue
        places = [(frame.x(at_s), frame.y(value)) for at_s, value in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        if stacked:
            zero = frame.y(max(frame.low, 0.0))
            area = f"M{places[0][0]:.1f} {zero:.1f}L{path}L{places[-1][0]:.1f} {zero:.1f}Z"
            yield f'<path d="{area}" fill="{escape(shades[number])}" fill-opacity="0.9"/>'
        else:
            yield f'<path d="M{path}" fill="none" stroke="{escape(shades[number])}" stroke-width="1.7"/>'
        if few:
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
            yield f'<g fill="{escape(shades[number])}">{dots}</g>'


def _shaded(panel: Panel, frame: Frame) -> Iterator[str]:
    for low, high, axis in bands(panel):
        if axis == "x":
            x, y, wide, tall = frame.x(low / 1000), frame.top, frame.x(high / 1000) - frame.x(low / 1000), frame.height
        else:
            x, y, wide, tall = frame.left, frame.y(high), frame.width, frame.y(low) - frame.y(high)
        box = f'x="{min(x, x + wide):.1f}" y="{min(y, y + tall):.1f}" width="{abs(wide):.1f}" height="{abs(tall):.1f}"'
        yield f'<rect {box} fill="{RED}" fill-opacity="0.12"/>'


def _rules(panel: Panel, side: Side, frame: Frame) -> Iterator[str]:
    for number, (value, label, color, _) in enumerate(line for line in horizontal(panel) if line[3] == side):
        y = frame.y(value)
        if frame.top - 1 <= y <= frame.bottom + 1:
            line = f'stroke="{escape(str(color))}" stroke-width="2" stroke-dasharray="5 3"'
            yield f'<path d="M{frame.left:.1f} {y:.1f}h{frame.width:.1f}" {line}/>'
            x, anchor = (frame.left + frame.width, "end") if number % 2 else (frame.left + 2, "start")
            yield text(x, y - 3, cut(label, frame.width), anchor)


def _upright(frame: Frame, x: float, color: str) -> str:
    line = f'stroke="{escape(str(color))}" stroke-width="2" stroke-dasharray="5 3"'
    return f'<path d="M{x:.1f} {frame.top:.1f}v{frame.height:.1f}" {line}/>'


def _legend(panel: Panel, width: float, height: float) -> tuple[list[str], float, float]:
    """Return the legend, and how many pixels it takes below and beside the chart."""
    position = (panel.widget.properties.get("legend") or {}).get("position", "bottom")
    if position == "hidden" or not panel.plots:
        return [], 0.0, 0.0
    each = min(220.0, max(len(plot.label) for plot in panel.plots) * LETTER + 26)
    if position == "right":
        each = min(each, width / 2)
        return legend_rows(panel.plots, width - each, 4.0, (each, height), 1), 0.0, each
    columns = max(1, int(width // each))
    tall = min(-(-len(panel.plots) // columns) * LINE, max(LINE, height / 3 // LINE * LINE))
    return legend_rows(panel.plots, 0.0, height - tall, (width, tall), columns), tall + 4, 0.0


def legend_rows(plots: Sequence[Plot], x: float, y: float, room: tuple[float, float], columns: int) -> list[str]:
    """Return the names of plots beside their colors, in columns, as many as there is room (width, height) for."""
    rows, each = max(1, int(room[1] // LINE)), room[0] / columns
    shown = len(plots) if len(plots) <= rows * columns else rows * columns - 1
    parts = []
    for number, (plot, color) in enumerate(zip(plots[:shown], colors(plots), strict=False)):
        left, top = x + number % columns * each, y + number // columns * LINE
        parts.append(f'<rect x="{left + 2:.1f}" y="{top + 3:.1f}" width="9" height="9" fill="{escape(color)}"/>')
        parts.append(text(left + 15, top + 12, cut(plot.label, each - 18)))
    if shown < len(plots):
        left, top = x + shown % columns * each, y + shown // columns * LINE
        parts.append(text(left + 15, top + 12, f"... and {len(plots) - shown} more"))
    return parts
