"""Metrics by OTLP, from the same steps as the EMF lines, with the same names, units and dimensions, as deltas."""

from __future__ import annotations

import bisect
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as Exported
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.engine import conventions
from telemetry.engine.health import HEALTH
from telemetry.engine.operation import DURATION, FAILURE, SUCCESS, UCUM, Unit
from telemetry.engine.otlp import Answers, Delivery
from telemetry.engine.spans import resource_of
from telemetry.engine.steps import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.engine.operation import Metric
    from telemetry.engine.otlp import Send
    from telemetry.engine.settings import Settings
    from telemetry.engine.steps import Step
    from telemetry.engine.vocabulary import Vocabulary

_BYTES = tuple(2.0**power for power in range(10, 41, 2))
_BOUNDS: dict[Unit, tuple[float, ...]] = {
    Unit.MILLISECONDS: (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 900_000),
    Unit.SECONDS: (0.1, 1, 5, 10, 30, 60, 300, 900),
    Unit.BYTES: _BYTES,
    Unit.BYTES_PER_SECOND: _BYTES,
}
_OTHER_BOUNDS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1, 2, 5, 10, 100, 1000, 10_000, 100_000)

Attributes = tuple[tuple[str, str], ...]


@dataclass
class _Point:
    """What one series has collected since the last flush."""

    metric: Metric
    bounds: tuple[float, ...]
    count: int = 0
    total: float = 0.0
    smallest: float = float("inf")
    largest: float = float("-inf")
    last: float = 0.0
    buckets: list[int] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.buckets = self.buckets or [0] * (len(self.bounds) + 1)
        self.buckets[bisect.bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.total += value
        self.smallest, self.largest, self.last = min(self.smallest, value), max(self.largest, value), value


class MetricsEndpoint:
    """Sends metrics over OTLP/HTTP."""

    def __init__(self, settings: Settings) -> None:
        self._answers = Answers(
            lambda body: ExportMetricsServiceResponse.FromString(body).partial_success.rejected_data_points
        )
        self._exporter = OTLPMetricExporter(
            endpoint=settings.metrics_endpoint,
            timeout=max(1.0, settings.flush_s),
            session=self._answers.session(settings.metrics_endpoint),
        )

    def send(self, batches: Sequence[MetricsData]) -> int:
        """Return how many data points of the one batch the endpoint acknowledged."""
        (batch,) = batches
        self._answers.rejected.count = 0
        good = self._exporter.export(batch) is MetricExportResult.SUCCESS
        return max(0, points_in(batch) - self._answers.rejected.count) if good else 0


def points_in(batch: MetricsData) -> int:
    """Return the number of data points."""
    return sum(
        len(metric.data.data_points)
        for resource in batch.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


class OtlpMetrics(Recorder):
    """Collects the metrics of steps and sends them when `start` and `finish` are called, at the end of an invocation.

    Counters for what is added up, histograms for the rest, a gauge for what may be below zero. A series has the
    operation and the dimensions that the row keeps. What no endpoint acknowledged in time is counted as lost and never
    sent again: it may have arrived, and a delta that arrives twice counts twice.
    """

    def __init__(self, vocabulary: Vocabulary, settings: Settings, send: Send | None = None) -> None:
        self._vocabulary = vocabulary
        self._resource = resource_of(vocabulary, settings)
        self._send = send or MetricsEndpoint(settings).send
        self._lock = threading.Lock()
        self._series: dict[tuple[str, Attributes], _Point] = {}
        self._since_ns = time.time_ns()
        self._delivery: Delivery | None = None
        self._sent = 0

    def end(self, step: Step) -> None:
        values, row = step.rendered, step.row
        kept = [
            (each.name, values.dimensions[each.name]) for each in row.dimensions if each.field in row.kept_dimensions
        ]
        attributes = ((self._vocabulary.operation_dimension, row.name), *kept)
        good = step.outcome == "success"
        found = [(DURATION, values.duration_ms), (SUCCESS, int(good)), (FAILURE, int(not good))]
        found += [(metric, values.metrics[metric.field]) for metric in row.metrics if metric.field in values.metrics]
        with self._lock:
            for metric, value in found:
                point = self._series.get((metric.name, attributes))
                if point is None:
                    point = _Point(metric, _BOUNDS.get(metric.unit, _OTHER_BOUNDS))
                    self._series[metric.name, attributes] = point
                point.add(value)

    def start(self) -> None:
        """Begin to send what was collected, without waiting."""
        batch = self.take()
        self._sent = points_in(batch)
        self._delivery = Delivery(self._send, [batch]) if self._sent else None
        if self._delivery is not None:
            self._delivery.start()

    def finish(self, timeout_s: float) -> int:
        """Return how many data points were lost, after that time at most."""
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return 0
        lost = self._sent - delivery.finish(timeout_s)
        if lost:
            HEALTH.count("points_lost", lost)
        return lost

    def take(self) -> MetricsData:
        """Return what was collected since the last time, and begin again at zero."""
        with self._lock:
            series, self._series = self._series, {}
            since_ns, self._since_ns = self._since_ns, time.time_ns()
            until_ns = self._since_ns
        by_name: dict[str, list[tuple[Attributes, _Point]]] = {}
        for (name, attributes), point in series.items():
            by_name.setdefault(name, []).append((attributes, point))
        metrics = [_exported(found, since_ns, until_ns) for found in by_name.values()]
        scope = InstrumentationScope(self._vocabulary.namespace, self._vocabulary.version, conventions.SCHEMA_URL)
        scoped = [ScopeMetrics(scope, metrics, conventions.SCHEMA_URL)] if metrics else []
        return MetricsData([ResourceMetrics(self._resource, scoped, conventions.SCHEMA_URL)])


def _exported(found: Sequence[tuple[Attributes, _Point]], since_ns: int, until_ns: int) -> Exported:
    first = found[0][1].metric
    delta = AggregationTemporality.DELTA
    data: Sum | Gauge | Histogram
    if first.instrument == "histogram":
        points = [
            HistogramDataPoint(
                attributes=dict(attributes),
                start_time_unix_nano=since_ns,
                time_unix_nano=until_ns,
                count=point.count,
                sum=point.total,
                bucket_counts=point.buckets,
                explicit_bounds=point.bounds,
                min=point.smallest,
                max=point.largest,
            )
            for attributes, point in found
        ]
        data = Histogram(points, delta)
    else:
        is_sum = first.instrument == "counter"
        numbers = [
            NumberDataPoint(dict(attributes), since_ns, until_ns, point.total if is_sum else point.last)
            for attributes, point in found
        ]
        data = Sum(numbers, delta, is_monotonic=True) if is_sum else Gauge(numbers)
    return Exported(first.name, first.meaning, UCUM[first.unit], data)
