"""Vega-Lite charts of panels, as plain specifications: a library that makes them takes longer than everything else."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from dashboards.preview.annotations import GREY, RED, bands, horizontal, vertical
from dashboards.preview.axes import figure, short, time_format
from dashboards.preview.gauges import BELOW, DIGITS, SWEEP, TALL, ends_of, share_of
from dashboards.preview.panels import UNREADABLE, latest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.preview.panels import Panel, Plot

FEW = 100  # points of a chart that are still drawn one by one
_NARROWEST = 330  # pixels of a chart on a phone
_ROW = 48  # pixels of a row of the grid
_LETTER, _SYMBOL = 6.3, 24  # pixels of a letter in a legend, of a mark and the gaps around it
_LABEL = "abs(datum.value) >= 1000 ? format(datum.value, '~s') : format(datum.value, '~r')"
"""Numbers of an axis: 12k and 3.5G, but 0.5 where the prefixes alone would say 500m."""
_WHOLE = f"datum.value % 1 ? '' : {_LABEL}"
"""Of counts only whole ones: Vega still makes half steps where it has room (tickMinStep notwithstanding)."""
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
Side = Literal["left", "right"]
Spec = dict[str, Any]


def charts(panels: list[Panel]) -> tuple[list[Panel], dict[str, Spec]]:
    """Return the panels and, by the number of their widget, the specifications of those that are charts.

    A panel whose definition breaks its chart is returned without plots, and says so.
    """
    specs: dict[str, Spec] = {}
    kept: list[Panel] = []
    for panel in panels:
        try:
            spec = chart(panel)
        except UNREADABLE as error:
            reason = f"its chart cannot be drawn: {str(error).splitlines()[0]}"
            kept.append(replace(panel, plots=(), unsupported=(*panel.unsupported, reason)))
            continue
        kept.append(panel)
        if spec:
            specs[str(panel.widget.number)] = spec
    return kept, specs


def chart(panel: Panel) -> Spec | None:
    """Return the Vega-Lite specification of a panel, None when it is shown as text (numbers, tables, states)."""
    view = panel.widget.properties.get("view", "timeSeries")
    sparkline = view == "singleValue" and panel.widget.properties.get("sparkline")
    if not panel.plots or (view in {"table", "singleValue"} and not sparkline):
        return None
    if view == "pie":
        encoding = {"theta": _field("v"), "color": _color(panel), "tooltip": _LATEST}
        layers = [{"data": _now(panel), "mark": {"type": "arc"}, "encoding": encoding}]
    elif view == "bar":
        layers = _bars(panel)
    elif view == "gauge":
        layers = list(_gauges(panel))
    else:
        sides: tuple[Side, ...] = ("left", "right")
        layers = [_side(panel, side) for side in sides if any(plot.line.axis == side for plot in panel.plots)]
    over_time = len(layers) > 1 and view not in {"bar", "gauge"}
    apart = {"resolve": {"scale": {"y": "independent"}}} if over_time else {}
    return {"$schema": _SCHEMA, "width": "container", "height": "container", "layer": layers, **apart}


def _field(name: str, kind: str = "quantitative", **more: Any) -> Spec:  # noqa: ANN401  members of a specification
    return {"field": name, "type": kind, **more}


def _side(panel: Panel, side: Side) -> Spec:
    plots = [plot for plot in panel.plots if plot.line.axis == side]
    stacked = bool(panel.widget.properties.get("stacked"))
    # The data hold numbers of steps and lines: times and names, written out, would be most of the page. And Vega
    # formats a tooltip's time in the reader's zone; an expression does it in UTC, as the axis does.
    grids = [plot.grid or panel.grid for plot in plots]
    starts_ms, steps_ms = [grid.start_s * 1000 for grid in grids], [grid.step_s * 1000 for grid in grids]
    timed = {
        "t": f"{starts_ms}[datum.k] + {steps_ms}[datum.k] * datum.n",
        "s": f"{json.dumps([plot.label for plot in plots])}[datum.k]",
        "when": "utcFormat(datum.t, '%Y-%m-%d %H:%M:%S')",
    }
    # What lies beyond the ends of an axis is cut: else the chart would shrink to make room for it.
    line = {"type": "area", "opacity": 0.6, "clip": True} if stacked else {"type": "line", "clip": True}
    few = sum(value is not None for plot in plots for value in plot.values) <= FEW
    # Points carry the hover; where they would crowd they stay invisible and still answer.
    points = {"type": "point", "size": 40, "filled": True, "opacity": int(few), "clip": True}
    drawn = {
        "data": _data(plots),
        "transform": [{"calculate": text, "as": name} for name, text in timed.items()],
        "encoding": {
            "x": _time(panel),
            "y": _values(panel, plots, side, stacked=stacked),
            "color": _color(panel),
            "tooltip": _WHEN,
        },
        "layer": [{"mark": line}, {"mark": points}],
    }
    return {"layer": [drawn, *_annotations(panel, side)]}


def _values(panel: Panel, plots: list[Plot], side: Side, *, stacked: bool) -> Spec:
    axis = (panel.widget.properties.get("yAxis") or {}).get(side) or {}
    units = {plot.unit for plot in plots if plot.unit}
    title = axis.get("label") or (", ".join(sorted(units)) if axis.get("showUnits", True) else "") or None
    domain = {"domainMin": float(axis["min"])} if "min" in axis else {}
    if "max" in axis:
        domain["domainMax"] = float(axis["max"])
    elif not any(value for plot in plots for value in plot.values) and not any(horizontal(panel)):
        domain["domainMax"] = 1.0  # nothing but zeros: without it they would stand in the middle
    return _field(
        "v",
        title=title,
        stack="zero" if stacked else None,
        scale={"zero": True, "nice": True, **domain},
        axis={"labelExpr": _WHOLE if units == {"Count"} else _LABEL, "orient": side},
    )


def _time(panel: Panel) -> Spec:
    grid = panel.grid
    scale = {"type": "utc", "domain": [grid.start_s * 1000, grid.end_s * 1000]}
    form = time_format(grid.end_s - grid.start_s)
    return _field("t", "temporal", title=None, scale=scale, axis={"format": form, "labelOverlap": True, "tickCount": 5})


def _color(panel: Panel) -> Spec:
    labels = [plot.label for plot in panel.plots]
    scale: Spec = {"domain": labels}
    if any(plot.line.color for plot in panel.plots):
        spare = iter(_PALETTE * len(labels))
        scale["range"] = [plot.line.color or next(spare) for plot in panel.plots]
    position = (panel.widget.properties.get("legend") or {}).get("position", "bottom")
    if position == "hidden":
        return _field("s", "nominal", scale=scale, legend=None)
    longest = max((len(label) for label in labels), default=0) * _LETTER + _SYMBOL
    columns = 1 if position == "right" else max(1, int(_NARROWEST // longest))
    legend: Spec = {"title": None, "orient": position, "columns": columns, "labelLimit": 220}
    rows = panel.widget.height * _ROW // (20 if position == "right" else 60)  # all beside, else a third below
    if len(labels) > (fit := max(1, rows) * columns):
        legend |= {"values": labels[:fit], "title": f"{fit} of {len(labels)}"}
    return _field("s", "nominal", scale=scale, legend=legend)


_PALETTE = ["#2f6fde", "#d1690e", "#8250c4", "#8c5a4f", "#c2418f", "#6b6b6b"]


def _data(plots: list[Plot]) -> Spec:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["n", "v", "k"])
    for number, plot in enumerate(plots):
        for step, value in enumerate(plot.values):
            if value is not None:
                writer.writerow([step, f"{value:.6g}", number])
    return {"values": text.getvalue(), "format": {"type": "csv", "parse": dict.fromkeys("nvk", "number")}}


def _now(panel: Panel) -> Spec:
    return {"values": [{"s": p.label, "v": value} for p in panel.plots if (value := latest(p)) is not None]}


_LATEST = [_field("s", "nominal", title="Metric"), _field("v", title="Value", format=",.6~g")]
_WHEN = [_LATEST[0], _field("when", "nominal", title="Time (UTC)"), _LATEST[1]]


def _bars(panel: Panel) -> list[Spec]:
    ends = (panel.widget.properties.get("yAxis") or {}).get("left") or {}
    scale: Spec = (
        {"domain": [float(ends["min"]), float(ends["max"])]} if {"min", "max"} <= ends.keys() else {"zero": True}
    )
    axis = {"labelExpr": _LABEL, "labelOverlap": True, "labelSeparation": 6}
    encoding = {
        "x": _field("v", title=None, scale=scale, axis=axis),
        "y": _field("s", "nominal", title=None),
        "color": {**_color(panel), "legend": None},
        "tooltip": _LATEST,
    }
    return [
        {"data": _now(panel), "mark": {"type": "bar"}, "encoding": encoding},
        *(_rule("x", value, label, color) for value, label, color, _ in horizontal(panel)),
    ]


def _gauges(panel: Panel) -> Iterator[Spec]:
    """Yield the arcs and words of a gauge for each series, side by side."""
    ends, many = ends_of(panel), len(panel.plots)
    radius = f"max(10, min(width / {2 * many} - 8, (height - {BELOW}) / {TALL}))"
    top = f"max(0, (height - {TALL} * {radius} - {BELOW}) / 2)"
    for number, plot in enumerate(panel.plots):
        x, y = f"width * {(number + 0.5) / many}", f"{top} + {radius} + 4"
        value, unit = latest(plot), f" {plot.unit}" * bool(plot.unit)
        yield _arc((x, y), radius, (0.0, 1.0), {"color": GREY, "opacity": 0.25})
        if value is not None:
            encoding = {"color": {**_color(panel), "legend": None}, "tooltip": _LATEST}
            data = {"values": [{"s": plot.label, "v": value}]}
            yield {**_arc((x, y), radius, (0.0, share_of(value, ends)), {}), "data": data, "encoding": encoding}
        for mark, _, color, _ in horizontal(panel):
            at = share_of(mark, ends)
            yield _arc((x, y), radius, (at - 0.004, at + 0.004), {"color": color}, wider=4)
        words = "no data" if value is None else f"{figure(value)}{unit}"
        yield _words(words, x, f"{y} + {radius} / 7", f"max(9, min({radius} / 2.4, {radius} * {DIGITS / len(words)}))")
        yield _words(plot.label, x, f"{top} + {TALL} * {radius} + {BELOW - 8}", "12", f"width / {many}")
        for side, end in zip((-1, 1), ends, strict=True):
            turned = math.radians(side * SWEEP)
            place = f"{x} + {radius} * {0.86 * math.sin(turned)}", f"{y} - {radius} * {0.86 * math.cos(turned)} + 14"
            yield _words(short(end), *place, "11")


def _arc(center: tuple[str, str], radius: str, shares: tuple[float, float], look: Spec, *, wider: int = 0) -> Spec:
    first, last = (math.radians((2 * share - 1) * SWEEP) for share in shares)
    mark = {
        "type": "arc", "x": {"expr": center[0]}, "y": {"expr": center[1]}, "theta": first, "theta2": last,
        "innerRadius": {"expr": f"{radius} * 0.72 - {wider}"}, "outerRadius": {"expr": f"{radius} + {wider}"},
    }  # fmt: skip
    return {"data": {"values": [{}]}, "mark": {**mark, **look}}


def _words(words: str, x: str, y: str, size: str, limit: str = "400") -> Spec:
    place = {"x": {"expr": x}, "y": {"expr": y}, "fontSize": {"expr": size}, "limit": {"expr": limit}}
    return {"data": {"values": [{}]}, "mark": {"type": "text", "text": words, "align": "center", **place}}


def _annotations(panel: Panel, side: str) -> Iterator[Spec]:
    ours = [line for line in horizontal(panel) if line[3] == side]
    for number, (value, label, color, _) in enumerate(ours):
        yield _rule("y", value, label, color)
        yield _named(value, label, at_the_end=bool(number % 2))
    if side == panel.plots[0].line.axis:
        for at_ms, label, color in vertical(panel):
            yield _rule("x", at_ms, label, color)
        for low, high, axis in bands(panel):
            kind = "quantitative" if axis == "y" else "temporal"
            yield {
                "data": {"values": [{"low": low, "high": high}]},
                "mark": {"type": "rect", "clip": True, "opacity": 0.12, "color": RED},
                "encoding": {axis: _field("low", kind), f"{axis}2": {"field": "high"}},
            }


def _rule(axis: str, value: float, label: str, color: str) -> Spec:
    told = f"{label} ({value:,.6g})" if axis == "y" else label
    kind = "temporal" if axis == "x" and value > 10**11 else "quantitative"  # above: epoch milliseconds
    return {
        "data": {"values": [{"v": value, "label": told}]},
        "mark": {"type": "rule", "clip": True, "strokeDash": [5, 3], "strokeWidth": 2, "color": color},
        "encoding": {axis: _field("v", kind), "tooltip": _field("label", "nominal")},
    }


def _named(value: float, label: str, *, at_the_end: bool) -> Spec:
    """Return the words on a horizontal line; the page gives them its own colour, which is legible in light and dark.

    Neighbours take turns at the two ends, so that lines close to each other leave both names legible.
    """
    mark = {
        "type": "text",
        "align": "right" if at_the_end else "left",
        "baseline": "bottom",
        "dy": -1,
        "limit": 220,
        "clip": True,
    }
    place = {"value": "width" if at_the_end else 0}
    return {
        "data": {"values": [{"v": value, "label": label}]},
        "mark": mark,
        "encoding": {"x": place, "y": _field("v"), "text": _field("label", "nominal")},
    }
