"""A strict check of recorded lines: every limit of the embedded metric format, and the rows of a vocabulary.

AWS's own JSON schema lets pass 101 metrics, 101 values, missing targets, number dimensions and a resolution of 7;
CloudWatch drops such lines, or splits them, in silence.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from telemetry.engine import emf
from telemetry.engine.operation import EVERY_ROW
from telemetry.engine.standard import LOG_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from telemetry.engine.operation import Operation
    from telemetry.engine.vocabulary import Vocabulary

_SIZES = tuple(
    f"{prefix}{unit}".capitalize() for unit in ("bytes", "bits") for prefix in ("", "kilo", "mega", "giga", "tera")
)
_OTHER_UNITS = ("Seconds", "Microseconds", "Milliseconds", "Percent", "None", "Count", "Count/Second")
UNITS = frozenset((*_SIZES, *(f"{size}/Second" for size in _SIZES), *_OTHER_UNITS))
_LEVELS = ("debug", "info", "warning", "warn", "error")
_OLDEST_MS, _NEWEST_MS = 946_684_800_000, 253_402_300_800_000  # years 2000 to 9999: seconds and microseconds stand out


class Conformance:
    """Holds lines against the format, and those of the vocabulary's rows against their rows."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._rows = {row.name: row for row in vocabulary.rows}
        self._keys = frozenset(key.field for key in (*LOG_KEYS, *vocabulary.context_keys))

    def check_lines(self, lines: Iterable[str]) -> list[str]:
        """Return what is wrong with the lines, each finding with its line number; none: CloudWatch takes them."""
        return [f"line {number}: {fault}" for number, line in enumerate(lines, 1) for fault in self.check_line(line)]

    def check_line(self, line: str) -> list[str]:
        """Return what is wrong with one line, EMF or log, without its newline."""
        line = line.removesuffix("\n")
        faults = []
        size = len(line.encode("utf-8", "surrogatepass"))
        if size > emf.MAX_LINE_BYTES:
            faults.append(f"{size:,} bytes; at most {emf.MAX_LINE_BYTES:,} reach CloudWatch in one piece")
        try:
            document = json.loads(line, object_pairs_hook=_unique, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return [*faults, f"is no JSON: {error}"]
        if not isinstance(document, dict):
            return [*faults, f"is a JSON {type(document).__name__}, not an object"]
        if "_aws" in document:
            return [*faults, *_check_emf(document), *self._check_metrics(document)]
        return [*faults, *_check_log(document), *self._check_log_keys(document)]

    def _check_log_keys(self, document: dict[str, Any]) -> Iterator[str]:
        row = self._rows.get(str(document.get("event")))
        if row is not None:
            known = row.fields | {dimension.key for dimension in row.dimensions} | self._keys
            for key in sorted(document.keys() - known):
                yield f"{row.name} declares no {key}, and it is no key of every line"

    def _check_metrics(self, document: dict[str, Any]) -> Iterator[str]:
        envelope = document["_aws"]
        directives = envelope.get("CloudWatchMetrics") if isinstance(envelope, dict) else None
        for directive in directives if isinstance(directives, list) else []:
            if isinstance(directive, dict) and self._is_ours(directive.get("Namespace")):
                yield from self._check_row(document, directive)

    def _is_ours(self, namespace: object) -> bool:
        return isinstance(namespace, str) and f"{namespace}/".startswith(f"{self._vocabulary.namespace}/")

    def _check_row(self, document: dict[str, Any], directive: dict[str, Any]) -> Iterator[str]:
        operation = self._vocabulary.operation_dimension
        row = self._rows.get(str(document.get(operation)))
        if row is None:
            yield f"{operation} {document.get(operation)!r} is no row of the catalog"
            return
        metrics, sets = _objects(directive.get("Metrics")), _lists(directive.get("Dimensions"))
        yield from _check_declared(row, metrics)
        names = {str(metric.get("Name")) for metric in metrics}
        dimensions = {dimension.name for dimension in row.dimensions} | {each.key for each in row.dimensions}
        properties = {found.field for found in row.properties} | self._keys
        for name in sorted(document.keys() - names - dimensions - properties - {"_aws", operation}):
            yield f"{row.name} declares no {name}, and it is no key of every line"
        yield from _check_closed_sets(document, sets, row, operation)


def _objects(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _lists(found: object) -> list[list[Any]]:
    return [one for one in found if isinstance(one, list)] if isinstance(found, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"a member stands twice: {sorted({name for name in names if names.count(name) > 1})}")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _check_log(document: dict[str, Any]) -> Iterator[str]:
    for key in ("timestamp", "level", "event"):
        if not isinstance(document.get(key), str):
            yield f"a log line without {key}"
    level = document.get("level")
    if level not in _LEVELS:
        yield f"the level {level!r} is none of {', '.join(_LEVELS)}"
    if level == "error" and not document.get("next_step") and "kept_level" not in document:
        yield f"an error line ({document.get('event')}) that does not say the next step"


def _check_emf(document: dict[str, Any]) -> Iterator[str]:
    envelope = document["_aws"]
    if not isinstance(envelope, dict) or not isinstance(envelope.get("CloudWatchMetrics"), list):
        yield "_aws holds no list CloudWatchMetrics"
        return
    stamp = envelope.get("Timestamp")
    if not isinstance(stamp, int) or isinstance(stamp, bool) or not _OLDEST_MS < stamp < _NEWEST_MS:
        yield f"Timestamp is {stamp!r}, not milliseconds since 1970 as an integer"
    if not envelope["CloudWatchMetrics"]:
        yield "no metric directive"
    metrics, dimensions = set[str](), set[str]()
    for directive in envelope["CloudWatchMetrics"]:
        if isinstance(directive, dict):
            yield from _check_directive(directive, document, metrics, dimensions)
        else:
            yield "a metric directive that is no object"
    for name in sorted(metrics & dimensions):
        yield f"{name} is both metric and dimension: one overwrites the other"


def _check_directive(
    directive: dict[str, Any], document: dict[str, Any], metric_names: set[str], dimension_names: set[str]
) -> Iterator[str]:
    """Check one directive, and add to the names that all directives of the line use."""
    namespace, sets, metrics = (directive.get(key) for key in ("Namespace", "Dimensions", "Metrics"))
    yield from _check_namespace(namespace)
    if not isinstance(sets, list) or not all(isinstance(names, list) for names in sets):
        yield "Dimensions is no list of lists"
        sets = []
    elif not sets:
        yield "Dimensions holds no set; no dimensions are [[]]"
    if not isinstance(metrics, list) or not all(isinstance(metric, dict) for metric in metrics):
        yield "Metrics is no list of objects"
        metrics = []
    if not 1 <= len(metrics) <= emf.MAX_METRICS:
        yield f"{len(metrics)} metrics; 1 to {emf.MAX_METRICS} are allowed"
    for names in sets:
        yield from _check_dimensions(names, document)
        dimension_names.update(map(str, names))
    for metric in metrics:
        yield from _check_metric(metric, document)
    names = [str(metric.get("Name")) for metric in metrics]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"metric {name} stands twice"
    metric_names.update(names)


def _check_namespace(namespace: object) -> Iterator[str]:
    if not isinstance(namespace, str) or not re.fullmatch(r"[a-zA-Z0-9._#/-][a-zA-Z0-9._#:/-]*", namespace):
        yield f"Namespace {namespace!r} is no name of allowed characters"
    elif len(namespace) > emf.MAX_NAMESPACE:
        yield f"Namespace has {len(namespace)} characters; at most {emf.MAX_NAMESPACE} are allowed"
    elif namespace.startswith("AWS/"):
        yield f"Namespace {namespace!r} is reserved"


def _check_dimensions(names: list[Any], document: dict[str, Any]) -> Iterator[str]:
    if len(names) > emf.MAX_DIMENSIONS:
        yield f"{len(names)} dimensions in a set; at most {emf.MAX_DIMENSIONS} are allowed"
    if len(set(map(str, names))) != len(names):
        yield f"a dimension stands twice in a set: {names}"
    for name in names:
        value = document.get(name) if isinstance(name, str) else None
        if not isinstance(name, str) or not _is_text(name, emf.MAX_DIMENSION_NAME):
            yield f"dimension name {name!r} is no ASCII text of 1 to {emf.MAX_DIMENSION_NAME} characters"
        elif name.startswith(":"):
            yield f"dimension name {name!r} begins with a colon"
        elif not isinstance(value, str):
            yield f"dimension {name!r} has no text as its value, but {value!r}"
        elif not _is_text(value, emf.MAX_DIMENSION_VALUE):
            yield f"dimension {name!r} is no ASCII text of 1 to {emf.MAX_DIMENSION_VALUE} characters"


def _is_text(text: str, longest: int) -> bool:
    """Whether CloudWatch takes the text for a dimension: ASCII, no control characters, not all blank."""
    return text.isascii() and text.isprintable() and bool(text.strip()) and len(text) <= longest


def _check_metric(metric: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    name, unit, resolution = metric.get("Name"), metric.get("Unit", "None"), metric.get("StorageResolution", 60)
    if not isinstance(name, str) or not name.strip() or len(name) > emf.MAX_NAME:
        yield f"metric name {str(name)[:40]!r} is no text of 1 to {emf.MAX_NAME} characters"
        return
    if not isinstance(unit, str) or unit not in UNITS:
        yield f"metric {name} has the unknown unit {unit!r}"
    if not isinstance(resolution, int) or isinstance(resolution, bool) or resolution not in (1, 60):
        yield f"metric {name} has the resolution {resolution!r}; 1 and 60 are allowed"
    if name not in document:
        yield f"metric {name} has no value in the line"
        return
    values = document[name] if isinstance(document[name], list) else [document[name]]
    if not 1 <= len(values) <= emf.MAX_VALUES:
        yield f"metric {name} has {len(values)} values; 1 to {emf.MAX_VALUES} are allowed"
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"metric {name} has the value {str(value)[:40]!r}, which is no number"
        elif value and not emf.SMALLEST <= abs(value) <= emf.LARGEST:
            yield f"metric {name} has the value {str(value)[:40]}, beyond what CloudWatch keeps"


def _check_declared(row: Operation, metrics: list[dict[str, Any]]) -> Iterator[str]:
    declared = {metric.name: metric for metric in row.all_metrics}
    for metric in metrics:
        name = str(metric.get("Name"))
        if name not in declared:
            yield f"{row.name} declares no metric {name}"
        elif metric.get("Unit") != declared[name].unit.value:
            yield f"{row.name} declares {name} in {declared[name].unit.value}, not in {metric.get('Unit')}"
        elif metric.get("StorageResolution", 60) != declared[name].resolution_s:
            yield f"{row.name} declares {name} with a resolution of {declared[name].resolution_s} s"
    names = {str(metric.get("Name")) for metric in metrics}
    for name in sorted({metric.name for metric in EVERY_ROW} - names):
        yield f"{row.name} is reported without {name}"


def _check_closed_sets(
    document: dict[str, Any], sets: list[list[Any]], row: Operation, operation: str
) -> Iterator[str]:
    dimensions = {dimension.name: dimension for dimension in row.dimensions}
    by_field = {dimension.field: dimension.name for dimension in row.dimensions}
    wanted = [[operation, *(by_field[field] for field in fields)] for fields in ((), *row.dimension_sets)]
    if [sorted(map(str, names)) for names in sets] != [sorted(map(str, names)) for names in wanted]:
        yield f"{row.name} declares the dimension sets {wanted}, not {sets}"
    for name, dimension in dimensions.items():
        value = document.get(name)
        if isinstance(value, str) and value not in dimension.values:
            yield f"{row.name}.{name} is {value!r}, outside its closed set"
