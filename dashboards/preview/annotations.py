"""What is drawn beside the series of a widget: its annotations, and the thresholds of its alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.schedules import moment_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.cloudwatch.body import Json
    from dashboards.preview.panels import Panel

RED, GREY = "#d13212", "#687078"


def horizontal(panel: Panel) -> Iterator[tuple[float, str, str, str]]:
    """Yield value, label, color and axis (`left`, `right`) of each line at a value."""
    for entry in _flat((panel.widget.properties.get("annotations") or {}).get("horizontal")):
        yield float(entry["value"]), str(entry.get("label", "")), entry.get("color") or RED, entry.get("yAxis", "left")
    for label, value in panel.thresholds:
        yield value, label, RED, "left"


def vertical(panel: Panel) -> Iterator[tuple[float, str, str]]:
    """Yield moment (epoch ms), label and color of each line at a time within what is shown."""
    for entry in _flat((panel.widget.properties.get("annotations") or {}).get("vertical")):
        at_ms = moment_s(str(entry["value"])) * 1000
        if panel.grid.start_s * 1000 <= at_ms <= panel.grid.end_s * 1000:
            yield at_ms, str(entry.get("label", "")), entry.get("color") or GREY


def _flat(entries: Any) -> Iterator[Json]:  # noqa: ANN401  somebody's JSON
    for entry in entries or ():
        for part in entry if isinstance(entry, list) else [entry]:
            if part.get("visible", True):
                yield part


def bands(panel: Panel) -> Iterator[tuple[float, float, str]]:
    """Yield from where to where something is shaded, and along which axis: values on `y`, epoch ms on `x`."""
    annotations = panel.widget.properties.get("annotations") or {}
    highest = max((v for plot in panel.plots for v in plot.values if v is not None), default=0.0)
    for entry in annotations.get("horizontal") or ():
        if isinstance(entry, list):
            yield float(entry[0]["value"]), float(entry[1]["value"]), "y"
        elif entry.get("fill") in {"above", "below"} and entry.get("visible", True):
            value = float(entry["value"])
            yield value, max(highest, value) * 1.05 if entry["fill"] == "above" else 0.0, "y"
    for entry in annotations.get("vertical") or ():
        if isinstance(entry, list):
            ends = [_clipped(panel, moment_s(str(part["value"]))) for part in entry[:2]]
            if ends[0] != ends[1]:
                yield ends[0] * 1000, ends[1] * 1000, "x"
        elif entry.get("fill") in {"before", "after"} and entry.get("visible", True):
            edge = panel.grid.start_s if entry["fill"] == "before" else panel.grid.end_s
            yield _clipped(panel, moment_s(str(entry["value"]))) * 1000, edge * 1000.0, "x"


def _clipped(panel: Panel, time_s: float) -> float:
    """Return a moment within what is shown: one outside would stretch the axis, and squeeze the data to a sliver."""
    return min(max(time_s, panel.grid.start_s), panel.grid.end_s)
