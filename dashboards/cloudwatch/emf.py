"""The embedded metric format as CloudWatch reads it: the datapoints of a line of log.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LARGEST = 2.0**360  # CloudWatch keeps no value beyond it


@dataclass(frozen=True, slots=True)
class Datapoint:
    """What one metric of one line adds to one set of dimensions."""

    timestamp_ms: float
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    unit: str
    values: tuple[float, ...]


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
    for directive in (item for item in document["_aws"]["CloudWatchMetrics"] if isinstance(item, dict)):
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
                )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
