"""Metrics by OTLP say what the EMF lines of the same run say; a dead endpoint costs its points and nothing else."""

import json
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

import telemetry
from telemetry import catalog
from telemetry.engine import emf
from telemetry.engine.health import HEALTH
from telemetry.engine.operation import UCUM
from telemetry.engine.otlp_metrics import OtlpMetrics
from telemetry.engine.settings import Settings
from tests.telemetry import collector as endpoints


def by_otlp(collector):
    """Name and series to (sum, count, smallest, largest) of everything received."""
    found = defaultdict(list)
    for request in collector.metric_requests:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    for point in getattr(metric, kind).data_points:
                        series = tuple(sorted((pair.key, pair.value.string_value) for pair in point.attributes))
                        found[metric.name, series].append((kind, point))
    return found


def by_emf(lines):
    """Name and operation to the values of all lines, of the set of dimensions that every row has."""
    found = defaultdict(list)
    for point in emf.read(lines):
        if [name for name, _ in point.dimensions] == ["Operation"]:
            found[point.metric, point.dimensions[0][1]] += point.values
    return found


def recorded(folder, endpoint, work, **changes):
    base = endpoint.removesuffix("/v1/traces")
    settings = Settings(metrics_endpoint=f"{base}/v1/metrics", flush_s=60, **changes)
    with telemetry.to_directory(folder, settings) as pipeline:
        work(pipeline)
    return (folder / "telemetry.jsonl").read_text().splitlines()


def some_work(pipeline):
    for number in range(1, 6):
        with telemetry.observe(catalog.READ_ARTIFACT, store="s3" if number % 2 else "file") as step:
            step.add(bytes_read=number * 1000, requests=number)
            if number == 3:
                step.fail(ValueError("no"))
        with telemetry.observe(catalog.MONITOR_STORAGE, used_bytes=10**number, slope_bytes_per_s=-5.5, level="ok"):
            pass
        if number == 2:
            pipeline.flush()


def test_a_collector_that_reads_both_finds_the_same_in_both(tmp_path):
    with endpoints.collecting() as (endpoint, collector):
        lines = recorded(tmp_path, endpoint, some_work)
    otlp, wanted = by_otlp(collector), by_emf(lines)
    assert len(collector.metric_requests) == 2
    totals = defaultdict(lambda: [0, 0, float("inf"), float("-inf")])
    gauges = set()
    for (name, series), points in otlp.items():
        total = totals[name, dict(series)["Operation"]]
        for kind, point in points:
            if kind == "histogram":
                total[0] += point.sum
                total[1] += point.count
                total[2:] = [min(total[2], point.min), max(total[3], point.max)]
                assert sum(point.bucket_counts) == point.count
            elif kind == "sum":
                total[0] += point.as_double
            else:
                gauges.add((name, point.as_double))
    assert gauges == {("Slope", -5.5)}
    # The last health line is written after what it would have to be sent with.
    compared = {key: values for key, values in wanted.items() if key[1] != "TelemetryHealth" and key[0] != "Slope"}
    assert compared.keys() == {key for key in totals if key[1] != "TelemetryHealth" and key[0] != "Slope"}
    for key, values in compared.items():
        total, count, smallest, largest = totals[key]
        assert total == pytest.approx(sum(values)), key
        if count:
            assert (count, smallest, largest) == (len(values), min(values), max(values)), key


def test_names_units_and_temporality_are_those_of_the_catalog(tmp_path):
    with endpoints.collecting() as (endpoint, collector):
        recorded(tmp_path, endpoint, some_work)
    declared = {metric.name: metric for row in catalog.ROWS for metric in row.all_metrics}
    (scope,) = collector.metric_requests[0].resource_metrics[0].scope_metrics
    assert (scope.scope.name, scope.scope.version) == (catalog.NAMESPACE, catalog.VOCABULARY.version)
    for metric in scope.metrics:
        kind = metric.WhichOneof("data")
        assert metric.unit == UCUM[declared[metric.name].unit]
        assert kind == {"counter": "sum"}.get(declared[metric.name].instrument, declared[metric.name].instrument)
        if kind != "gauge":
            assert getattr(metric, kind).aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
    series = {series for name, series in by_otlp(collector) if name == "BytesRead"}
    assert series == {(("Operation", "ReadArtifact"), ("Store", store)) for store in ("file", "s3")}


def test_metrics_can_leave_by_otlp_instead_of_emf(tmp_path):
    with endpoints.collecting() as (endpoint, collector):
        lines = recorded(tmp_path, endpoint, some_work, emf=False)
    assert [line for line in lines if "_aws" in line] == []
    assert [json.loads(line)["event"] for line in lines].count("ReadArtifact") == 5
    assert ("BytesRead", (("Operation", "ReadArtifact"), ("Store", "s3"))) in by_otlp(collector)


@pytest.mark.parametrize(
    ("environ", "endpoint", "written"),
    [
        ({}, "", True),
        ({"TELEMETRY_METRICS": "emf", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "", True),
        ({"TELEMETRY_METRICS": "both", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/"}, "http://c/v1/metrics", True),
        ({"TELEMETRY_METRICS": "OTLP", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/x"}, "http://m/x", False),
        ({"TELEMETRY_METRICS": "otlp"}, "", True),  # nowhere to send them: they are not lost for it
    ],
)
def test_the_environment_says_where_metrics_go(environ, endpoint, written):
    found = Settings.from_environ(environ)
    assert (found.metrics_endpoint, found.emf) == (endpoint, written)


@pytest.mark.parametrize("kind", [endpoints.swallowing, endpoints.refusing])
def test_an_endpoint_that_does_not_answer_costs_its_points_which_are_counted(kind, tmp_path):
    with kind() if kind is endpoints.swallowing else _given(kind()) as endpoint:
        settings = Settings(metrics_endpoint=endpoint, flush_s=0.05)
        with telemetry.to_directory(tmp_path, settings) as pipeline, telemetry.observe(catalog.PLAN_PACKAGE):
            pipeline.flush()
        lines = (tmp_path / "telemetry.jsonl").read_text().splitlines()
    health = [json.loads(line) for line in lines if "PointsLost" in line]
    assert sum(line["PointsLost"] for line in health) > 0
    assert any('"Operation": "PlanPackage"' in line for line in lines)


class _given:  # noqa: N801  a context manager like those of the module beside
    def __init__(self, value):
        self._value = value

    def __enter__(self):
        return self._value

    def __exit__(self, *_):
        pass


def test_points_that_a_collector_rejects_are_counted_as_lost(tmp_path):
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = 2
    given_answer = endpoints.Answer(body=answer.SerializeToString())
    with endpoints.collecting(given_answer) as (endpoint, _):
        settings = Settings(metrics_endpoint=endpoint.replace("traces", "metrics"), flush_s=60)
        with telemetry.to_directory(tmp_path, settings) as pipeline:
            with telemetry.observe(catalog.PLAN_PACKAGE):
                pass
            HEALTH.take()
            assert pipeline.flush() == 2
            assert HEALTH.take()["points_lost"] == 2


@given(st.lists(st.floats(1, 1e12), min_size=1, max_size=20))
def test_a_histogram_counts_each_value_once_in_the_bucket_where_it_lies(values):
    kept = []
    metrics = OtlpMetrics(catalog.VOCABULARY, Settings(), kept.append)
    with telemetry.attached(metrics):
        for value in values:
            with telemetry.observe(catalog.MONITOR_STORAGE, used_bytes=value):
                pass
    batch = metrics.take()
    found = {metric.name: metric.data for metric in batch.resource_metrics[0].scope_metrics[0].metrics}
    (point,) = found["UsedBytes"].data_points
    assert (point.count, point.min, point.max) == (len(values), min(values), max(values))
    edges = [float("-inf"), *point.explicit_bounds, float("inf")]
    for low, high, count in zip(edges, edges[1:], point.bucket_counts, strict=False):
        assert count == sum(low < value <= high for value in values)
    assert metrics.take().resource_metrics[0].scope_metrics == []
