"""The embedded metric format as CloudWatch takes it: what a line adds to which metrics, and why it adds nothing.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.parameters import UNITS
from dashboards.cloudwatch.series import StatisticSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dashboards.cloudwatch.series import Column, Store

MAX_METRICS = MAX_VALUES = 100
MAX_DIMENSIONS = 30
MAX_NAME, MAX_DIMENSION_NAME, MAX_DIMENSION_VALUE = 1024, 250, 1024
MAX_EVENT_BYTES = 1024**2
LARGEST = 2.0**360
"""CloudWatch keeps no value beyond it."""

_FIRST_MS, _LAST_MS = 1_241_136_000_000, 4_102_444_800_000
"""From CloudWatch's first month to 2100: a time outside is in another unit than milliseconds."""

_TIME_DIGITS = 13
"""Of milliseconds since 2001."""

_TIMESTAMP = re.compile(r'"Timestamp"\s*:\s*(\d+)(?![\d.eE])')
_HEAD = re.compile(r'"_aws"\s*:\s*')
_SHAPES = 64
"""Envelopes that are remembered: a service writes a handful of them, and parsing them is half of the work."""

_TOGETHER, _ROWS = 64, 4096
"""Lines that are parsed together, and rows that wait until their numbers are put into columns: less than a MB."""


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_constant=_refuse)
"""NaN and Infinity, which Python's json writes, are no JSON: CloudWatch takes nothing from a line with one."""

_scan = cast("Any", _decoder).scan_once  # without a call of Python's for each line

_Row = tuple[Any, ...]


class RejectedError(ValueError):
    """CloudWatch would take no metric from this line; the text says why."""


@dataclass(frozen=True, slots=True)
class Directive:
    """What one entry of CloudWatchMetrics says: metrics by name with their units, for each set of dimensions."""

    namespace: str
    sets: tuple[tuple[str, ...], ...]
    metrics: tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class _EmfRows:
    """The metrics of a directive under some values of its dimensions; what lines said of them waits in rows."""

    columns: Sequence[Column]
    times: list[float] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)

    def flush(self, dropped: Counter[str]) -> None:
        """Move the rows into the columns: of plain numbers a column at once, which is what makes reading fast."""
        times = array("d", self.times)
        for column, members in zip(self.columns, zip(*self.rows, strict=True), strict=False):
            if not column.counts and _are_numbers(members):
                column.times.extend(times)
                column.values.extend(members)
            else:
                for time_s, member in zip(times, members, strict=True):
                    given = _values(member)
                    dropped["a metric without a number"] += given is None
                    _put(column, time_s, given)
        self.times.clear()
        self.rows.clear()


class _Slot:
    """A set of dimensions of a directive, and its series by the values of the dimensions."""

    def __init__(self, directive: Directive, names: tuple[str, ...]) -> None:
        self.directive, self.names = directive, names
        self.metrics = [name for name, _ in directive.metrics]
        self.dimensions_of, self.members_of = _picker(names), _picker(self.metrics)
        self.series: dict[_Row, _EmfRows] = {}


@dataclass(slots=True)
class _Shape:
    """The text of an envelope around its time, what it says, and lines with it in front that are not read yet."""

    before: str
    after: str
    slots: tuple[_Slot, ...]
    waiting: list[str] = field(default_factory=list)

    def met(self, line: str, at: int) -> bool:
        """Whether a line has this envelope at a place."""
        behind = at + len(self.before) + _TIME_DIGITS
        return line.startswith(self.before, at) and line.startswith(self.after, behind)

    def with_time(self, lines: Iterable[str], at: int) -> list[str]:
        """Return lines with their time instead of this envelope: what is left to parse."""
        first = at + len(self.before)
        last = first + _TIME_DIGITS
        behind = last + len(self.after)
        return [f'{line[:at]}"_aws":{line[first:last]}{line[behind:].rstrip()}' for line in lines]


@dataclass
class EmfReader:
    """Adds lines to a store; counts what CloudWatch would drop, by reason. `flush` it at the end.

    Attributes:
        namespace: Gives the namespace that a recorded one stands for.
        keeps_lines: False when the members of lines are not wanted: then lines wait, and are parsed many at a time.
    """

    store: Store
    namespace: Callable[[str], str] = str
    keeps_lines: bool = True
    dropped: Counter[str] = field(default_factory=Counter)
    _shapes: list[_Shape] = field(default_factory=list)
    _slots: dict[tuple[Directive, tuple[str, ...]], _Slot] = field(default_factory=dict)
    _filled: dict[_EmfRows, None] = field(default_factory=dict)
    _rows: int = 0

    def read(self, line: str, start: int) -> dict[str, Any] | None:
        """Add what a line holds that begins with a brace at `start`.

        Returns its members (of an envelope that is known already the time alone), or None when it is no JSON, or waits.
        """
        at = line.find('"_aws"', start)
        for shape in self._shapes if at > 0 else ():
            if not shape.met(line, at):
                continue
            if self.keeps_lines or at > start + 1:
                return self._read_known(shape, line, start, at)
            shape.waiting.append(line[start:])
            if len(shape.waiting) >= _TOGETHER:
                self._read_waiting(shape)
            return None
        return self._read_new(line, start, at)

    def flush(self) -> None:
        """Put what is waiting into the store."""
        for shape in self._shapes:
            self._read_waiting(shape)
        self._flush_rows()
        self.dropped += Counter()  # without reasons that were counted 0 times

    def _read_new(self, line: str, start: int, at: int) -> dict[str, Any] | None:
        document = _parsed(line, start)
        if document is None:
            self.dropped["no JSON"] += at > 0
        elif isinstance(document.get("_aws"), dict) and "CloudWatchMetrics" in document["_aws"]:
            self._add_document(document, line, at)
        return document

    def _read_known(self, shape: _Shape, line: str, start: int, at: int) -> dict[str, Any] | None:
        """Read a line with a known envelope. One of an inner object, or one of two, is not the line's own."""
        document = _parsed(shape.with_time([line], at)[0], start)
        time_ms = document and document.get("_aws")
        if document is None or type(time_ms) is not int:
            return self._read_new(line, start, at)
        document["_aws"] = {"Timestamp": time_ms}
        self._add(shape.slots, document, time_ms, len(line))
        return document

    def _read_waiting(self, shape: _Shape) -> None:
        """Read the lines that wait: together when there is nothing unusual in any of them, else each by itself."""
        lines, shape.waiting = shape.waiting, []
        if max(map(len, lines), default=0) > MAX_EVENT_BYTES or not self._added_together(shape, lines):
            for line in lines:
                self._read_known(shape, line, 0, 1)

    def _added_together(self, shape: _Shape, lines: Sequence[str]) -> bool:
        """Add many lines with loops that are not Python's, in half of the time; False when none is added."""
        placed = []
        try:
            documents = _parsed_together(shape.with_time(lines, 1))
            times = [document["_aws"] / 1000 for document in documents]
            for slot in shape.slots:
                rows = [*map(slot.members_of, documents)]
                if not all(map(_are_numbers, zip(*rows, strict=True))):
                    return False
                known = slot.series.get
                every = [known(key) or self._begun(slot, key) for key in map(slot.dimensions_of, documents)]
                placed.append((every, rows))
        except (ValueError, RecursionError, LookupError, TypeError):
            return False
        for every, rows in placed:
            for series, time_s, row in zip(every, times, rows, strict=True):
                series.times.append(time_s)
                series.rows.append(row)
            self._filled.update(dict.fromkeys(every))
            self._count(len(rows))
        return True

    def _flush_rows(self) -> None:
        for series in self._filled:
            series.flush(self.dropped)
        self._filled.clear()
        self._rows = 0

    def _count(self, rows: int) -> None:
        self._rows += rows
        if self._rows > _ROWS:
            self._flush_rows()

    def _add_document(self, document: dict[str, Any], line: str, at: int) -> None:
        envelope = document["_aws"]
        try:
            directives = tuple(map(_directive, _listed(envelope["CloudWatchMetrics"])))
        except RejectedError as error:
            self.dropped[str(error)] += 1
            return
        time_ms = envelope.get("Timestamp")
        if isinstance(time_ms, bool) or not isinstance(time_ms, int):
            self.dropped["Timestamp is no whole number"] += 1
            return
        slots = tuple(self._slot(each, names) for each in directives for names in each.sets)
        self._remember(slots, line, at)
        self._add(slots, document, time_ms, len(line))

    def _slot(self, directive: Directive, names: tuple[str, ...]) -> _Slot:
        key = directive, names
        return self._slots.get(key) or self._slots.setdefault(key, _Slot(directive, names))

    def _remember(self, slots: tuple[_Slot, ...], line: str, at: int) -> None:
        """Remember the text of an envelope around its time."""
        head = _HEAD.match(line, at)
        if not head or line[head.end() : head.end() + 1] != "{":
            return
        _, end = _decoder.raw_decode(line, head.end())
        text = line[at:end]
        times = list(_TIMESTAMP.finditer(text))
        if len(times) == 1 and len(times[0][1]) == _TIME_DIGITS:
            if len(self._shapes) == _SHAPES:
                self._read_waiting(self._shapes.pop())
            self._shapes.insert(0, _Shape(text[: times[0].start(1)], text[times[0].end(1) :], slots))

    def _add(self, slots: Sequence[_Slot], document: Mapping[str, Any], time_ms: int, size: int) -> None:
        """Add every metric of a line for each of its sets of dimensions."""
        if not _FIRST_MS <= time_ms < _LAST_MS:
            self.dropped["Timestamp is not in milliseconds of this century"] += 1
            return
        if size > MAX_EVENT_BYTES:
            self.dropped[f"larger than {MAX_EVENT_BYTES} bytes"] += 1
            return
        if self._rejects(slots, document):
            return
        for slot in slots:
            try:
                key = slot.dimensions_of(document)
                series = slot.series.get(key) or self._begun(slot, key)
            except (KeyError, TypeError):
                self.dropped["a dimension has no value that is text"] += 1
                continue
            series.times.append(time_ms / 1000)
            series.rows.append(tuple(map(document.get, slot.metrics)))
            self._filled[series] = None
            self._count(1)

    def _rejects(self, slots: Sequence[_Slot], document: Mapping[str, Any]) -> bool:
        try:
            for slot in slots:
                for name in slot.metrics:
                    _values(document.get(name))
        except RejectedError as error:
            self.dropped[str(error)] += 1
            return True
        return False

    def _begun(self, slot: _Slot, dimensions: _Row) -> _EmfRows:
        """Begin the series of some values of dimensions; TypeError when one of them is none that CloudWatch takes."""
        if not all(isinstance(value, str) and 0 < len(value) <= MAX_DIMENSION_VALUE for value in dimensions):
            raise TypeError
        pairs = tuple(sorted(zip(slot.names, dimensions, strict=True)))
        namespace = self.namespace(slot.directive.namespace)
        columns = [self.store.column(Metric(namespace, name, pairs), unit) for name, unit in slot.directive.metrics]
        return slot.series.setdefault(dimensions, _EmfRows(columns))


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], _Row]:
    """Return what picks some members of a document, KeyError when one is lacking."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda document: tuple([document[name] for name in names])


def _parsed(text: str, start: int) -> dict[str, Any] | None:
    """Return the object of JSON that begins at `start`, None when there is none, or more than it."""
    try:
        document, end = _decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or (end < len(text) and not text[end:].isspace()):
        return None
    return document


def _parsed_together(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects of lines with a time; ValueError when one is no JSON, or its time none of CloudWatch's."""
    parsed = [*map(_scan, texts, repeat(0))]
    documents = [document for document, _ in parsed]
    times_ms = [document["_aws"] for document in documents]
    if [end for _, end in parsed] != [*map(len, texts)] or set(map(type, times_ms)) != {int}:
        raise ValueError
    if min(times_ms) < _FIRST_MS or max(times_ms) >= _LAST_MS:
        raise ValueError
    return documents


def _are_numbers(members: _Row) -> bool:
    """Whether CloudWatch keeps all of them; NaN is not among them, for it is no JSON."""
    return set(map(type, members)) <= {int, float} and min(members) >= -LARGEST and max(members) <= LARGEST


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
