"""How tests and files write metrics and series: `Shop/Load{Host=a}` and `1 2 _x5 4x3`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.series import Column, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_ITEM = re.compile(
    r"(?P<none>_)(?:x(?P<gaps>\d+))?"
    rf"|(?P<value>-?{_NUMBER}(?:e[+-]?\d+)?)(?:\*(?P<count>\d+))?(?:(?P<step>[+-]{_NUMBER})?x(?P<more>\d+))?"
)
_MOST = 10_000_000
"""Values that one item may stand for: more is a slip of the finger, and would fill the memory."""

_PLACEHOLDER = re.compile(r"\$\{(?:[^{}]|\$\{[^{}]*\})*\}")


class Item(NamedTuple):
    """Values at even distances: `more` after the first, each seen `weight` times; the first is at step `at`."""

    at: int
    value: float
    step: float
    more: int
    weight: float


def parse_items(text: str) -> Iterator[Item]:
    """Yield what a compact series holds.

    As in `promtool test rules`: `1 2 3`, `_` no data, `_x5` five times none, `4x3` 4 and three more,
    `1+2x3` is 1 3 5 7, `10-1x2` is 10 9 8. Ours: `5*200` is the value 5 seen 200 times within the step.
    """
    at = 0
    for item in text.split():
        match = _ITEM.fullmatch(item)
        if not match or not math.isfinite(float(match["value"] or 0)):
            raise DefinitionError(f"{item!r} is no value; write 5, 5x3, 1+2x3, 5*200, _ or _x3")
        if max(int(match["gaps"] or 0), int(match["more"] or 0)) > _MOST:
            raise DefinitionError(f"{item!r} stands for more than {_MOST} values")
        if match["none"]:
            at += int(match["gaps"] or 1)
            continue
        more = int(match["more"] or 0)
        yield Item(at, float(match["value"]), float(match["step"] or 0), more, float(match["count"] or 1))
        at += more + 1


def parse_notation(text: str) -> list[Sample]:
    """Return the samples of a compact series, time_s counting steps; where there is no data there is none."""
    return [
        Sample(item.at + number, item.value + number * item.step, item.weight)
        for item in parse_items(text)
        for number in range(item.more + 1)
    ]


def add_series_to(column: Column, text: str, start_s: float, step_s: float) -> None:
    """Add a compact series to a column; its first value is at `start_s`, and `step_s` lie between two."""
    for item in parse_items(text):
        moments = range(item.at, item.at + item.more + 1)
        if item.weight != 1 or column.counts:
            for number, at in enumerate(moments):
                column.add(start_s + at * step_s, item.value + number * item.step, item.weight)
            continue
        column.times.extend([start_s + at * step_s for at in moments])
        column.values.extend([item.value + number * item.step for number in range(item.more + 1)])


def parse_metric(text: str, dimensions: Mapping[str, str] | None = None) -> Metric:
    """Return `Namespace/Name{a=b,c=d}` as a metric; the last slash parts namespace and name.

    What stands in `${...}` is a placeholder of a template: a comma, a brace or a slash in it means nothing.
    """
    hidden: list[str] = []

    def hide(match: re.Match[str]) -> str:
        hidden.append(match[0])
        return f"\0{len(hidden) - 1}\0"

    def shown(part: str) -> str:
        return re.sub("\0(\\d+)\0", lambda match: hidden[int(match[1])], part.strip())

    plain = _PLACEHOLDER.sub(hide, text.strip())
    match = re.fullmatch(r"(?P<namespace>[^{}]+)/(?P<name>[^/{}]+?)(?:\{(?P<dimensions>.*)\})?", plain)
    if not match:
        raise DefinitionError(f"{text!r} is no metric; write Namespace/Name or Namespace/Name{{dimension=value}}")
    pairs = {str(name): str(value) for name, value in (dimensions or {}).items()}
    for pair in filter(None, (match["dimensions"] or "").split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise DefinitionError(f"{shown(pair)!r} in {text!r} is no dimension; write name=value")
        pairs[shown(name)] = shown(value)
    return Metric(shown(match["namespace"]), shown(match["name"]), tuple(sorted(pairs.items())))


def in_notation(values: Iterator[float | None]) -> str:
    """Return values as a compact series, `_` for none."""
    return " ".join("_" if value is None else f"{value:g}" for value in values)
