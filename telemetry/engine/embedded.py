"""Metrics: one line in the embedded metric format for each step, made by AWS's own library."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from telemetry.engine.emf import MAX_LINE_BYTES
from telemetry.engine.failures import FAULT, error_type
from telemetry.engine.operation import DURATION, EVERY_ROW, FAILURE, SUCCESS
from telemetry.engine.values import fitted, iso_time, json_encoder

if TYPE_CHECKING:
    from aws_embedded_metrics.logger.metrics_context import MetricsContext
    from aws_embedded_metrics.serializers.log_serializer import LogSerializer
    from aws_embedded_metrics.storage_resolution import StorageResolution

    from telemetry.engine.operation import Operation
    from telemetry.engine.steps import Step
    from telemetry.engine.values import Rendered
    from telemetry.engine.vocabulary import Vocabulary

_PACKAGE = "aws_embedded_metrics"


class _Library(NamedTuple):
    """What we use of aws-embedded-metrics."""

    context: type[MetricsContext]
    serializer: type[LogSerializer]
    resolution: type[StorageResolution]


@functools.cache
def library() -> _Library:
    """Return the parts of aws-embedded-metrics that make a line, imported without the rest of the package.

    The package imports its detection of the environment, and with it aiohttp: 120 to 190 ms of processor time at every
    cold start, for a probe of EC2 that Lambda never makes. No part can be imported before its package, so these are
    imported below a bare package and taken out of `sys.modules` again: who else imports the library gets all of it.
    """
    before = {name: module for name, module in sys.modules.items() if _is_of_library(name)}
    if not before:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None:
            raise ModuleNotFoundError(f"{_PACKAGE} is not installed; install aws-embedded-metrics")
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)  # has the path of the package, runs none of it
    try:
        from aws_embedded_metrics.logger.metrics_context import MetricsContext  # noqa: PLC0415  see above
        from aws_embedded_metrics.serializers.log_serializer import LogSerializer  # noqa: PLC0415  see above
        from aws_embedded_metrics.storage_resolution import StorageResolution  # noqa: PLC0415  see above
    finally:
        if not before:
            for name in filter(_is_of_library, list(sys.modules)):
                del sys.modules[name]
    return _Library(MetricsContext, LogSerializer, StorageResolution)


def _is_of_library(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


class EmbeddedMetrics:
    """Renders the EMF line of a step that has ended.

    The library validates and serialises each shape of line once, in a fresh context: row, dimension values, metrics
    that are there. A line is then its shape with the step's time, values and properties put in. To let the library
    serialise every line costs more than span and log together, nearly all of it for text that never changes.
    """

    MAX_SHAPES = 1000

    def __init__(self, vocabulary: Vocabulary, platform_level: str = "") -> None:
        self._level = platform_level if platform_level not in {"trace", "debug"} else "info"
        self._namespace = vocabulary.namespace
        self._operation = vocabulary.operation_dimension
        self._library = library()
        self._shapes: dict[tuple[str, ...], tuple[str, str]] = {}

    def render(self, step: Step) -> str:
        """Return the line, without newline, below the limit."""
        values = step.rendered
        good = step.outcome == "success"
        members: dict[str, Any] = {**values.properties, **step.ids, "outcome": step.outcome}
        if not good:
            members["error_type"] = error_type(step.error)
            members[FAULT] = step.fault
        if self._level:  # a line without level and time is "info" to Lambda, which drops it below its own level
            members["level"], members["timestamp"] = self._level, iso_time(step.end_wall_ns or time.time_ns())
        members[DURATION.name] = values.duration_ms
        members[SUCCESS.name] = int(good)
        members[FAILURE.name] = int(not good)
        members.update(values.named_metrics)
        shape = (step.row.name, *values.dimensions.values(), *values.named_metrics)
        before_time, after_time = self._shapes.get(shape) or self._new_shape(shape, step.row, values)
        now_ms = (step.end_wall_ns or time.time_ns()) // 1_000_000
        line = f"{before_time}{now_ms}{after_time}{_encode(members)[1:]}"
        return line if len(line) <= MAX_LINE_BYTES else json.dumps(fitted(json.loads(line)))

    def _new_shape(self, shape: tuple[str, ...], row: Operation, values: Rendered) -> tuple[str, str]:
        """Return the text before the time of the line, and from there to where properties and values stand."""
        context = self._library.context(self._namespace)
        operation = {self._operation: row.name}
        for fields in ((), *row.dimension_sets):
            names = [dimension.name for dimension in row.dimensions if dimension.field in fields]
            context.put_dimensions({**operation, **{name: values.dimensions[name] for name in names}})
        for metric in row.all_metrics:
            if metric in EVERY_ROW or metric.name in values.named_metrics:
                resolution = self._library.resolution(metric.resolution_s)
                context.put_metric(metric.name, 0, metric.unit.value, resolution)
        context.meta["Timestamp"] = _TIME
        (line,) = self._library.serializer.serialize(context)
        document = json.loads(line)
        texts = {name: value for name, value in document.items() if isinstance(value, str)}
        before, after = _encode({"_aws": document["_aws"], **texts}).split(str(_TIME))
        if len(self._shapes) < self.MAX_SHAPES:
            self._shapes[shape] = before, f"{after[:-1]}, "
        return before, f"{after[:-1]}, "


_TIME = 1_234_567_890_123
"""Stands for the time in a shape; no name or unit looks like it."""
_encode = json_encoder()
