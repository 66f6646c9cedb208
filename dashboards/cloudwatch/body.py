"""Dashboard bodies: their structure, variables, CloudWatch's shorthand written out, and where each widget stands.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.errors import DefinitionError

COLUMNS = 24
MAX_WIDGETS = 500
MAX_HEIGHT = 1000
MAX_METRICS = 500
TYPES = ("metric", "text", "log", "alarm", "explorer", "custom")
VIEWS = ("timeSeries", "singleValue", "gauge", "bar", "pie", "table")
_DEFAULT_SIZE = 6

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Widget:
    """A widget on the grid of 24 columns."""

    number: int
    type: str
    x: int
    y: int
    width: int
    height: int
    properties: Json

    @property
    def title(self) -> str:
        return str(self.properties.get("title") or f"{self.type} widget {self.number}")


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a metric widget, written out: a metric, or an expression over the others."""

    id: str
    label: str
    metric: Metric | None
    expression: str
    statistic: str
    period_s: int
    axis: str
    color: str | None
    visible: bool


def dashboard_body(written: object) -> Json:
    """Return a body that may be written as JSON in a text.

    Raises:
        DefinitionError: It is no JSON, or has no widgets.
    """
    try:
        body = json.loads(written) if isinstance(written, str) else written
    except (ValueError, RecursionError) as error:
        raise DefinitionError(f"its DashboardBody is no JSON: {error}") from error
    if not isinstance(body, Mapping) or "widgets" not in body:
        raise DefinitionError("its DashboardBody has no `widgets`")
    return body


def widgets(body: Json) -> list[Widget]:
    """Return the widgets of a body; those without a position flow left to right, as CloudWatch places them."""
    if not isinstance(body, Mapping) or not isinstance(body.get("widgets"), list):
        raise DefinitionError("a dashboard body has a list `widgets`; this has none")
    placed: list[Widget] = []
    x = y = bottom = 0
    for number, entry in enumerate(body["widgets"], 1):
        try:
            width, height = int(entry.get("width", _DEFAULT_SIZE)), int(entry.get("height", _DEFAULT_SIZE))
            if "x" in entry:
                x, y = int(entry["x"]), int(entry.get("y", 0))
            elif x + width > COLUMNS:
                x, y = 0, bottom
            properties = dict(entry.get("properties") or {})
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise DefinitionError(f"widget {number} has no place or no properties that can be read: {error}") from error
        placed.append(Widget(number, str(entry.get("type")), x, y, width, height, properties))
        x, bottom = x + width, max(bottom, y + height)
    return placed


def lines(properties: Json) -> list[Line]:
    """Return the metrics of a widget with `.` and `...` written out and every default filled in."""
    written: list[Line] = []
    before: list[str] = []
    for number, entry in enumerate(properties.get("metrics") or (), 1):
        rendering = entry[-1] if entry and isinstance(entry[-1], Mapping) else {}
        names = _written_out([str(part) for part in entry if not isinstance(part, Mapping)], before)
        before = names or before
        written.append(_line(number, names, rendering, properties))
    return written


def _written_out(names: list[str], before: list[str]) -> list[str]:
    if names[:1] == ["..."]:
        names = before[: len(before) - len(names) + 1] + names[1:]
    if len(names) > len(before) and "." in names[len(before) :]:
        raise DefinitionError(f"'.' in {names} repeats something that the metric before does not have: {before}")
    return [old if name == "." else name for name, old in zip(names, before + names[len(before) :], strict=False)]


def _line(number: int, names: list[str], rendering: Json, properties: Json) -> Line:
    metric = None
    if "expression" not in rendering:
        if len(names) < 2 or len(names) % 2:  # noqa: PLR2004  a namespace and a name, then pairs
            raise DefinitionError(f"metric {names} is not [namespace, name, dimension, value, ...]")
        metric = Metric(names[0], names[1], tuple(sorted(zip(names[2::2], names[3::2], strict=True))))
    statistic = str(rendering.get("stat", properties.get("stat", "Average")))
    label = rendering.get("label") or (metric and f"{metric.name} {statistic}") or rendering.get("expression")
    return Line(
        id=str(rendering.get("id", f"unnamed{number}")),
        label=str(label),
        metric=metric,
        expression=str(rendering.get("expression", "")),
        statistic=statistic,
        period_s=int(rendering.get("period", properties.get("period", 300))),
        axis=str(rendering.get("yAxis", "left")),
        color=rendering.get("color"),
        visible=bool(rendering.get("visible", True)),
    )


def problems(body: Json) -> Iterator[str]:
    """Yield what CloudWatch would refuse or draw wrongly, widget by widget."""
    placed = widgets(body)
    if len(placed) > MAX_WIDGETS:
        yield f"{len(placed)} widgets; a dashboard takes {MAX_WIDGETS}"
    taken: dict[tuple[int, int], Widget] = {}
    for widget in placed:
        where = f"widget {widget.number} ({widget.title})"
        for problem in _widget_problems(widget):
            yield f"{where}: {problem}"
        for cell in (
            (x, y) for x in range(widget.x, widget.x + widget.width) for y in range(widget.y, widget.y + widget.height)
        ):
            other = taken.setdefault(cell, widget)
            if other is not widget:
                yield f"{where}: stands on widget {other.number} ({other.title})"
                break
    yield from _variable_problems(body)


def _widget_problems(widget: Widget) -> Iterator[str]:
    if widget.type not in TYPES:
        yield f"type {widget.type!r}; there are {', '.join(TYPES)}"
    if widget.x < 0 or widget.width < 1 or widget.x + widget.width > COLUMNS:
        yield f"columns {widget.x} to {widget.x + widget.width} of {COLUMNS}"
    if widget.y < 0 or not 1 <= widget.height <= MAX_HEIGHT:
        yield f"row {widget.y}, height {widget.height}; heights are 1 to {MAX_HEIGHT}"
    needed = {"text": ("markdown",), "log": ("query", "region"), "alarm": ("alarms",), "metric": ("region",)}
    for key in needed.get(widget.type, ()):
        if key not in widget.properties:
            yield f"property {key!r} is missing"
    if widget.type == "metric":
        yield from _metric_problems(widget.properties)


def _metric_problems(properties: Json) -> Iterator[str]:
    annotations = properties.get("annotations") or {}
    if not properties.get("metrics") and not annotations.get("alarms"):
        yield "neither metrics nor an alarm"
    if len(properties.get("metrics") or ()) > MAX_METRICS:
        yield f"more than {MAX_METRICS} metrics"
    view = properties.get("view", "timeSeries")
    if view not in VIEWS:
        yield f"view {view!r}; there are {', '.join(VIEWS)}"
    left = (properties.get("yAxis") or {}).get("left") or {}
    if view == "gauge" and not {"min", "max"} <= left.keys():
        yield "a gauge needs yAxis.left.min and max"
    try:
        found = lines(properties)
    except DefinitionError as error:
        yield str(error)
        return
    for line in found:
        if line.period_s not in {1, 5, 10, 30} and (line.period_s <= 0 or line.period_s % 60):
            yield f"period {line.period_s} s is no multiple of 60"
        if not re.fullmatch(r"[a-z]\w*", line.id):
            yield f"id {line.id!r} does not start with a lower-case letter"
    ids = [line.id for line in found]
    if len(set(ids)) < len(ids):
        yield f"ids {sorted({i for i in ids if ids.count(i) > 1})} stand more than once"


def _variable_problems(body: Json) -> Iterator[str]:
    for variable in body.get("variables") or ():
        name = variable.get("id", "?")
        if not re.fullmatch(r"[\w-]{1,32}", str(name)):
            yield f"variable {name!r}: an id has 1 to 32 letters, digits, - or _"
        if variable.get("type") not in {"property", "pattern"} or variable.get("inputType") not in {
            "input",
            "select",
            "radio",
        }:
            yield f"variable {name}: type is property or pattern, inputType is input, select or radio"
        if variable.get("inputType") != "input" and not (variable.get("values") or variable.get("search")):
            yield f"variable {name}: a choice needs values or a search"


def with_defaults(body: Json) -> Json:
    """Return a body with the default value of every variable put in, as CloudWatch shows it first."""
    copy: dict[str, Any] = json.loads(json.dumps(body))
    for variable in body.get("variables") or ():
        value = variable.get("defaultValue")
        if value is None or value == "__FIRST":
            continue
        if variable.get("type") == "pattern":
            copy["widgets"] = json.loads(json.dumps(copy["widgets"]).replace(variable["pattern"], str(value)))
        else:
            copy["widgets"] = _with_property(copy["widgets"], variable["property"], value)
    return copy


def _with_property(value: Any, name: str, given: object) -> Any:  # noqa: ANN401  JSON of any shape
    if isinstance(value, dict):
        return {key: given if key == name else _with_property(item, name, given) for key, item in value.items()}
    if isinstance(value, list):
        replaced = [_with_property(item, name, given) for item in value]
        pairs = range(2, len(replaced) - 1, 2) if replaced and isinstance(replaced[0], str) else ()
        for index in pairs:
            if replaced[index] == name:
                replaced[index + 1] = given
        return replaced
    return value
