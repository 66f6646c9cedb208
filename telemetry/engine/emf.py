"""The embedded metric format as read back: limits, and datapoints out of recorded lines. Standard library only.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_METRICS = 100
MAX_VALUES = 100
MAX_DIMENSIONS = 30
MAX_NAME = 1024
MAX_DIMENSION_NAME = 250
MAX_DIMENSION_VALUE = 1024
MAX_NAMESPACE = 255
MAX_EVENT_BYTES = 1024**2
LARGEST, SMALLEST = 2.0**360, 8.515920e-109
"""Magnitudes that CloudWatch keeps; what is smaller is zero to it."""
MAX_LINE_BYTES = 60_000
"""Ours: Lambda is reported to split lines at 64 KiB, and half a line is no metric."""


@dataclass(frozen=True, slots=True)
class Datapoint:
    """What one metric of one line adds to one set of dimensions. `properties` are the line's other members."""

    timestamp_ms: int
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    unit: str
    values: tuple[float, ...]
    properties: Mapping[str, Any]


def read(lines: Iterable[str]) -> Iterator[Datapoint]:
    """Yield the datapoints of every EMF line, one per metric and dimension set, dimensions sorted by name.

    Other lines (logs, text, half lines) are passed over. What stands before the first brace, such as the time that an
    export of CloudWatch Logs puts there, is ignored.
    """
    for line in lines:
        document = parse(line)
        if document is not None:
            yield from datapoints(document)


def parse(line: str) -> dict[str, Any] | None:
    """Return the document of an EMF line, or None when the line is none."""
    if '"_aws"' not in line:
        return None
    try:
        document = json.loads(line[line.index("{") :])
    except ValueError:
        return None
    envelope = document.get("_aws") if isinstance(document, dict) else None
    return document if isinstance(envelope, dict) and isinstance(envelope.get("CloudWatchMetrics"), list) else None


def datapoints(document: Mapping[str, Any]) -> Iterator[Datapoint]:
    """Yield the datapoints of one EMF document. Members that the format does not allow yield nothing."""
    directives = [item for item in document["_aws"]["CloudWatchMetrics"] if isinstance(item, dict)]
    members = _used(directives)
    properties = {key: value for key, value in document.items() if key != "_aws" and key not in members}
    for directive in directives:
        sets = [
            tuple(sorted((name, document[name]) for name in names))
            for names in directive.get("Dimensions") or [[]]
            if all(isinstance(document.get(name), str) for name in names)
        ]
        for definition in directive.get("Metrics", ()):
            given = document.get(definition.get("Name"))
            values = tuple(filter(_is_number, given if isinstance(given, list) else [given]))
            for dimensions in sets if values else ():
                yield Datapoint(
                    timestamp_ms=document["_aws"].get("Timestamp", 0),
                    namespace=directive.get("Namespace", ""),
                    metric=definition["Name"],
                    dimensions=dimensions,
                    unit=definition.get("Unit", "None"),
                    values=values,
                    properties=properties,
                )


def _used(directives: list[dict[str, Any]]) -> set[str]:
    """Return the members that are metrics or dimensions."""
    used: set[str] = set()
    for directive in directives:
        used.update(definition.get("Name", "") for definition in directive.get("Metrics", ()))
        used.update(name for names in directive.get("Dimensions", ()) for name in names)
    return used


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST
