"""The scale of gauges, which pages and pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.preview.annotations import horizontal
from dashboards.preview.axes import round_ends
from dashboards.preview.panels import latest

if TYPE_CHECKING:
    from dashboards.preview.panels import Panel

SWEEP = 120.0
"""Degrees from the top to either end of the arc."""
TALL, BELOW = 1.43, 40
"""The height of an arc in radii, and the pixels below it."""
DIGITS = 2.3
"""The size of a value's figures that fill the arc, in radii by the number of letters."""


def radius_of(width: float, height: float) -> float:
    """Return the radius in pixels of a gauge in a box, with room below for the ends of its scale and its name."""
    return max(10.0, min(width / 2 - 8, (height - BELOW) / TALL))


def ends_of(panel: Panel) -> tuple[float, float]:
    """Return the least and the largest value of the scale: those of its axis, else round ones around what it shows."""
    axis = (panel.widget.properties.get("yAxis") or {}).get("left") or {}
    values = [value for plot in panel.plots if (value := latest(plot)) is not None]
    values += [value for value, _, _, _ in horizontal(panel)]
    low, high = round_ends(min(values, default=0.0), max(values, default=0.0), 5)
    low, high = float(axis.get("min", low)), float(axis.get("max", high))
    return (low, high) if low < high else (low, low + 1)


def share_of(value: float, ends: tuple[float, float]) -> float:
    """Return how far along the scale a value is, 0 to 1; beyond an end it stays there."""
    low, high = ends
    return min(max((value - low) / (high - low), 0.0), 1.0)
