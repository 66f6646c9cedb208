"""The embedded metric format as CloudWatch takes it: what a line adds to which metrics, and why it adds nothing.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.parameters import UNITS
from dashboards.cloudwatch.series import StatisticSet

if TYPE_CHECKING:
    from dashboards.cloudwatch.series import Column, Store

MAX_METRICS = MAX_VALUES = 100
MAX_DIMENSIONS = 30
MAX_NAME, MAX_DIMENSION_NAME, MAX_DIMENSION_VALUE = 1024, 250, 1024
MAX_EVENT_BYTES = 1024**2
LARGEST = 2.0**360
"""CloudWatch keeps no value beyond it."""

_FIRST_MS, _LAST_MS = 1_241_136_000_000, 4_102_444_800_000
"""From CloudWatch's first month to 2100: a time outside is in another unit than milliseconds."""

_TIMESTAMP = re.compile(r'"Timestamp"\s*:\s*(\d+)(?![\d.eE])')
_HEAD = re.compile(r'\{\s*"_aws"\s*:\s*')
_SHAPES = 64
"""Envelopes that are remembered: a service writes a handful of them, and parsing them is half of the work."""

_decoder = json.JSONDecoder()


class RejectedError(ValueError):
    """CloudWatch would take no metric from this line; the text says why."""


@dataclass(frozen=True, slots=True)
class Directive:
    """What one entry of CloudWatchMetrics says: metrics by name with their units, for each set of dimensions."""

    namespace: str
    sets: tuple[tuple[str, ...], ...]
    metrics: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The text of an envelope around its time, and what it says. A slot per set of dimensions holds its columns."""

    before: str
    after: str
    slots: tuple[_Slot, ...]


_Target = tuple[str, Callable[[float], None], Callable[[float], None], "Column"]
"""A metric's name, what adds a time and a value to its column, and the column."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A set of dimensions of a directive, and where its metrics go by the values of the dimensions."""

    directive: Directive
    names: tuple[str, ...]
    targets: dict[tuple[str, ...], list[_Target]] = field(default_factory=dict)


@dataclass
class EmfReader:
    """Adds lines to a store; counts what CloudWatch would drop, by reason.

    Attributes:
        namespace: Gives the namespace that a recorded one stands for.
    """

    store: Store
    namespace: Callable[[str], str] = str
    dropped: Counter[str] = field(default_factory=Counter)
    _shapes: list[_Shape] = field(default_factory=list)

    def read(self, line: str, start: int) -> dict[str, Any] | None:
        """Add what a line holds that begins with a brace at `start`.

        Returns its members (of an envelope that is known already the time alone), or None when it is no JSON.
        """
        for shape in self._shapes:
            found = self._remembered(shape, line, start)
            if found is not None:
                return found
        try:
            document = json.loads(line[start:] if start else line)
        except (ValueError, RecursionError):
            self.dropped["no JSON"] += '"_aws"' in line
            return None
        if not isinstance(document, dict):
            return None
        if isinstance(document.get("_aws"), dict) and "CloudWatchMetrics" in document["_aws"]:
            self._add_document(document, line, start)
        return document

    def _remembered(self, shape: _Shape, line: str, start: int) -> dict[str, Any] | None:
        """Return the members of a line whose envelope is known, its metrics added; None when it has another."""
        if not line.startswith(shape.before, start):
            return None
        at = start + len(shape.before)
        end = at + 13  # digits of milliseconds since 2001
        if not line.startswith(shape.after, end) or not line[at:end].isdigit():
            return None
        rest = end + len(shape.after)
        if not line.startswith(",", rest):
            return None
        text = "{" + line[rest + 1 :]
        try:
            document, last = _decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return None
        if last < len(text) and not text[last:].isspace():
            return None
        time_ms = int(line[at:end])
        document["_aws"] = {"Timestamp": time_ms}
        self._add(shape.slots, document, time_ms, (len(line), "[" in text or text.rfind("{") > 0))
        return cast("dict[str, Any]", document)

    def _add_document(self, document: dict[str, Any], line: str, start: int) -> None:
        envelope = document["_aws"]
        try:
            directives = tuple(map(_directive, _listed(envelope["CloudWatchMetrics"])))
        except RejectedError as error:
            self.dropped[str(error)] += 1
            return
        shape = self._shape(directives, line, start)
        time_ms = envelope.get("Timestamp")
        if isinstance(time_ms, bool) or not isinstance(time_ms, int):
            self.dropped["Timestamp is no whole number"] += 1
            return
        self._add(shape.slots, document, time_ms, (len(line), True))

    def _shape(self, directives: tuple[Directive, ...], line: str, start: int) -> _Shape:
        """Return what is known of an envelope, and remember its text where it stands first in the line."""
        slots = tuple(_Slot(each, names) for each in directives for names in each.sets)
        head = _HEAD.match(line, start)
        if head:
            _, end = _decoder.raw_decode(line, head.end())
            text = line[start:end]
            times = list(_TIMESTAMP.finditer(text))
            if len(times) == 1 and len(times[0][1]) == 13:  # noqa: PLR2004  digits of milliseconds since 2001
                shape = _Shape(text[: times[0].start(1)], text[times[0].end(1) :], slots)
                self._shapes.insert(0, shape)
                del self._shapes[_SHAPES:]
                return shape
        return _Shape("", "", slots)

    def _add(self, slots: Sequence[_Slot], document: Mapping[str, Any], time_ms: int, size: tuple[int, bool]) -> None:
        """Add every metric of a line for each of its sets of dimensions; `size` tells bytes, and whether it nests."""
        if not _FIRST_MS <= time_ms < _LAST_MS:
            self.dropped["Timestamp is not in milliseconds of this century"] += 1
            return
        if size[0] > MAX_EVENT_BYTES:
            self.dropped[f"larger than {MAX_EVENT_BYTES} bytes"] += 1
            return
        if size[1] and self._rejects(slots, document):
            return
        time_s, most = time_ms / 1000, LARGEST
        for slot in slots:
            for name, add_time, add_value, column in self._targets(slot, document):
                value: Any = document.get(name)
                kind = type(value)
                # The way of nearly every value, without a call more than it takes: this loop is what reading costs.
                if (kind is float or kind is int) and -most <= value <= most and not column.counts:
                    add_time(time_s)
                    add_value(value)
                else:
                    _put(column, time_s, _values(value))

    def _rejects(self, slots: Sequence[_Slot], document: Mapping[str, Any]) -> bool:
        try:
            for slot in slots:
                for name, _ in slot.directive.metrics:
                    _values(document.get(name))
        except RejectedError as error:
            self.dropped[str(error)] += 1
            return True
        return False

    def _targets(self, slot: _Slot, document: Mapping[str, Any]) -> list[_Target]:
        """Return where the metrics of a directive go with these values of its dimensions; none when one is lacking."""
        try:
            dimensions = tuple([document[name] for name in slot.names])
            targets = slot.targets.get(dimensions)
        except (KeyError, TypeError):
            self.dropped["a dimension has no value that is text"] += 1
            return []
        if targets is not None:
            return targets
        if not all(isinstance(value, str) and 0 < len(value) <= MAX_DIMENSION_VALUE for value in dimensions):
            self.dropped["a dimension has no value that is text"] += 1
            return []
        pairs = tuple(sorted(zip(slot.names, dimensions, strict=True)))
        namespace = self.namespace(slot.directive.namespace)
        targets = slot.targets[dimensions] = []
        for name, unit in slot.directive.metrics:
            column = self.store.column(Metric(namespace, name, pairs), unit)
            targets.append((name, column.times.append, column.values.append, column))
        return targets


Given = float | None | list[tuple[float, float]] | StatisticSet


def _put(column: Column, time_s: float, value: Given) -> None:
    if isinstance(value, float):
        column.times.append(time_s)
        column.values.append(value)
        if column.counts:
            column.counts.append(1.0)
    elif isinstance(value, StatisticSet):
        column.sets.append(value._replace(time_s=time_s))
    elif value is not None:
        for each, count in value:
            column.add(time_s, each, count)


def _values(member: Any) -> Given:  # noqa: ANN401  a member of somebody's JSON
    """Return what a metric's member says: a number, values with their counts, a statistic set, or nothing.

    OpenTelemetry's exporter and the CloudWatch agent write `{"Values": [...], "Counts": [...]}` and
    `{"Max": 1, "Min": 1, "Sum": 1, "Count": 1}`.
    """
    kind = type(member)
    if kind is float or kind is int:
        return float(member) if -LARGEST <= member <= LARGEST else None
    if kind is list:
        if len(member) > MAX_VALUES:
            raise RejectedError(f"more than {MAX_VALUES} values of a metric")
        return [(float(each), 1.0) for each in member if _is_number(each)] or None
    if kind is dict:
        return _distribution(member)
    return None


def _distribution(member: Mapping[str, Any]) -> Given:
    values, counts = member.get("Values"), member.get("Counts")
    if isinstance(values, list) and values:
        if len(values) > MAX_VALUES:
            raise RejectedError(f"more than {MAX_VALUES} values of a metric")
        weights = counts if isinstance(counts, list) and len(counts) == len(values) else [1] * len(values)
        pairs = zip(values, weights, strict=True)
        return [(float(v), float(n)) for v, n in pairs if _is_number(v) and _is_number(n) and n > 0] or None
    terms: list[Any] = [member.get(name) for name in ("Count", "Sum", "Min", "Max")]
    if all(map(_is_number, terms)) and terms[0]:
        return StatisticSet(0.0, *map(float, terms))
    return None


def _is_number(value: Any) -> bool:  # noqa: ANN401  a member of somebody's JSON
    kind = type(value)
    return (kind is float or kind is int) and -LARGEST <= value <= LARGEST


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise RejectedError("CloudWatchMetrics is no list")
    return value


def _directive(entry: Any) -> Directive:  # noqa: ANN401  a member of somebody's JSON
    """Return what an entry of CloudWatchMetrics says; RejectedError when CloudWatch would take nothing of the line."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Metrics"), list):
        raise RejectedError("a directive without a list of metrics")
    namespace, metrics, sets = entry.get("Namespace"), entry["Metrics"], entry.get("Dimensions") or [[]]
    if not isinstance(namespace, str) or not 0 < len(namespace) <= MAX_NAME:
        raise RejectedError("a directive without a namespace")
    if len(metrics) > MAX_METRICS:
        raise RejectedError(f"more than {MAX_METRICS} metrics in a directive")
    if not isinstance(sets, list) or not all(isinstance(names, list) for names in sets):
        raise RejectedError("Dimensions is no list of lists")
    if any(len(names) > MAX_DIMENSIONS for names in sets):
        raise RejectedError(f"more than {MAX_DIMENSIONS} dimensions in a set")
    named = [name for names in sets for name in names]
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_DIMENSION_NAME for name in named):
        raise RejectedError("a dimension without a name")
    return Directive(namespace, tuple(map(tuple, sets)), tuple(map(_definition, metrics)))


def _definition(entry: Any) -> tuple[str, str]:  # noqa: ANN401  a member of somebody's JSON
    name = entry.get("Name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise RejectedError("a metric without a name")
    unit = entry.get("Unit") or "None"
    if not isinstance(unit, str) or unit not in UNITS:
        raise RejectedError(f"the unit {unit!r}")
    return name, unit
