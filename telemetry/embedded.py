"""Metrics: one line in the embedded metric format for each step, made by AWS's own library."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

from telemetry.catalog.parts import NAMESPACE, OPERATION_DIMENSION
from telemetry.catalog.shape import DURATION, FAILURE, SUCCESS
from telemetry.emf import MAX_LINE_BYTES
from telemetry.errors import error_type
from telemetry.observing import Recorder, Step
from telemetry.values import fitted, rendered

if TYPE_CHECKING:
    from aws_embedded_metrics.logger.metrics_context import MetricsContext
    from aws_embedded_metrics.serializers.log_serializer import LogSerializer

    from telemetry.writer import LineWriter

_PACKAGE = "aws_embedded_metrics"


@functools.cache
def _library() -> tuple[type[MetricsContext], type[LogSerializer]]:
    """Return the context and the serializer of aws-embedded-metrics without what its package imports.

    The package itself imports its detection of the environment, and with it aiohttp: 200 ms at every cold start for a
    probe that Lambda never makes. The modules we need import neither. So an empty package stands in while they are
    imported; it runs the real one as soon as somebody asks for a name that only the real one has.
    """
    if _PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"{_PACKAGE} is not installed; install edge-model-packager again")
        package, load = importlib.util.module_from_spec(spec), spec.loader.exec_module

        def missing(name: str) -> Any:  # noqa: ANN401  a module's attribute may be anything
            if name not in {"MetricsLogger", "MetricsContext", "metric_scope", "name"}:
                raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
            del package.__getattr__
            load(package)
            return getattr(package, name)

        package.__getattr__ = missing  # type: ignore[method-assign]
        sys.modules[_PACKAGE] = package
    from aws_embedded_metrics.logger.metrics_context import MetricsContext  # noqa: PLC0415  see above
    from aws_embedded_metrics.serializers.log_serializer import LogSerializer  # noqa: PLC0415  see above

    return MetricsContext, LogSerializer


class EmbeddedMetrics(Recorder):
    """Writes the EMF line of every step when it ends. A fresh context each time: a kept one stamps old times."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer
        self._context, self._serializer = _library()

    def end(self, step: Step) -> None:
        row, values = step.row, rendered(step)
        context = self._context(namespace=NAMESPACE, properties=properties(step))
        for fields in ((), *row.dimension_sets):
            names = [dimension.name for dimension in row.dimensions if dimension.field in fields]
            context.put_dimensions({name: values.dimensions[name] for name in (OPERATION_DIMENSION, *names)})
        good = step.outcome == "success"
        context.put_metric(DURATION.name, round(step.duration_ms, 3), DURATION.unit.value)
        context.put_metric(SUCCESS.name, int(good), SUCCESS.unit.value)
        context.put_metric(FAILURE.name, int(not good), FAILURE.unit.value)
        for metric in row.metrics:
            if metric.field in values.metrics:
                context.put_metric(metric.name, values.metrics[metric.field], metric.unit.value)
        for line in self._serializer.serialize(context):
            self._writer.write(line if len(line) <= MAX_LINE_BYTES else json.dumps(fitted(json.loads(line))))


def properties(step: Step) -> dict[str, Any]:
    """Return what stands beside the metrics: ids by which the run behind a number is found."""
    found: dict[str, Any] = dict(rendered(step).properties)
    if step.trace_id:
        found["trace_id"], found["span_id"] = step.trace_id, step.span_id
    found["outcome"] = step.outcome
    if step.outcome != "success":
        found["error_type"] = error_type(step)
    return found
