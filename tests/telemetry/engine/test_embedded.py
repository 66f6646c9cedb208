"""The EMF line: what AWS's library would have written, below the limit, without what its package imports."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telemetry
from telemetry import catalog
from telemetry.check import check_line
from telemetry.engine import emf
from telemetry.engine.conformance import UNITS
from telemetry.engine.embedded import EmbeddedMetrics
from telemetry.engine.health import HEALTH

numbers = st.one_of(st.integers(0, 10**15), st.floats(1, 1e15))


class Keep(telemetry.Recorder):
    def __init__(self):
        self.steps = []

    def end(self, step):
        self.steps.append(step)


def observed(row, **fields):
    keep = Keep()
    with telemetry.attached(keep), telemetry.observe(row, **fields):
        pass
    return keep.steps[0]


@given(st.sampled_from(catalog.ROWS), st.data())
def test_a_line_is_what_the_library_serialises(row, data):
    from aws_embedded_metrics import MetricsContext  # noqa: PLC0415  the whole package, which the module avoids
    from aws_embedded_metrics.serializers.log_serializer import LogSerializer  # noqa: PLC0415  same

    fields = {metric.field: data.draw(numbers) for metric in row.metrics if data.draw(st.booleans())}
    fields |= {
        item.field: data.draw(st.sampled_from(item.values)) for item in row.dimensions if data.draw(st.booleans())
    }
    fields |= {prop.field: data.draw(st.text(max_size=9)) for prop in row.properties if data.draw(st.booleans())}
    step = observed(row, **fields)
    properties = {**step.rendered.properties, **step.ids, "outcome": "success"}
    context = MetricsContext(namespace=catalog.NAMESPACE, properties=properties)
    for chosen in ((), *row.dimension_sets):
        names = [item.name for item in row.dimensions if item.field in chosen]
        context.put_dimensions({"Operation": row.name} | {name: step.rendered.dimensions[name] for name in names})
    values = {"duration_ms": step.rendered.duration_ms, "success": 1, "failure": 0} | fields
    for metric in row.all_metrics:
        if metric.field in values:
            context.put_metric(metric.name, values[metric.field], metric.unit.value)
    context.meta["Timestamp"] = step.end_wall_ns // 1_000_000
    (expected,) = LogSerializer.serialize(context)
    renderer = EmbeddedMetrics(catalog.VOCABULARY)
    for line in (renderer.render(step), renderer.render(step)):  # a new shape, and a known one
        assert json.loads(line) == json.loads(expected)
        assert check_line(line) == []


def test_shapes_are_kept_in_bounded_number():
    renderer = EmbeddedMetrics(catalog.VOCABULARY)
    renderer.MAX_SHAPES = 3
    for target in catalog.PACKAGE_TARGET.dimensions[0].values:
        step = observed(catalog.PACKAGE_TARGET, target=target)
        assert json.loads(renderer.render(step))["Target"] == target
    assert len(renderer._shapes) == 3


def test_a_line_is_cut_below_the_limit_and_keeps_its_metrics():
    row = catalog.Operation(
        name="PlanPackage",
        span="plan package",
        meaning="",
        properties=tuple(catalog.Property(f"p{number}", "") for number in range(80)),
    )
    step = observed(row, **{f"p{number}": "ÿ" * 1024 for number in range(80)})
    line = EmbeddedMetrics(catalog.VOCABULARY).render(step)
    assert [fault for fault in check_line(line) if "declares no p" not in fault] == []
    document = json.loads(line)
    assert document["Success"] == 1
    assert set(document["trimmed"]) <= {f"p{number}" for number in range(80)}
    assert len(line) > emf.MAX_LINE_BYTES // 2
    assert HEALTH.take()["lines_trimmed"] == 1


def test_the_worst_case_behind_a_number_can_be_found(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.context(training_id="t-9"), telemetry.observe(catalog.READ_ARTIFACT, bytes_read=1):
        pass
    query = catalog.worst_query(catalog.READ_ARTIFACT, catalog.READ_ARTIFACT.metric("bytes_read"))
    assert query == (
        "fields @timestamp, BytesRead, request_id, training_id, usecase_id, target, job_name, trace_id, outcome"
        ' | filter Operation = "ReadArtifact" and ispresent(BytesRead) | sort BytesRead desc | limit 20'
    )
    assert {"BytesRead", "training_id", "trace_id", "Operation"} <= found.emf[0].keys()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", "aiohttp=False"),
        ("import aws_embedded_metrics; aws_embedded_metrics.MetricsLogger;", "aiohttp=True"),
        ("from aws_embedded_metrics import metric_scope; assert callable(metric_scope);", "aiohttp=True"),
        ("assert not [name for name in sys.modules if name.startswith('aws_embedded')];", "aiohttp=False"),
    ],
)
def test_the_library_comes_without_aiohttp_and_whole_for_whoever_imports_it(code, expected):
    report = "print('aiohttp=' + str('aiohttp' in sys.modules))"
    start = "import sys, telemetry, telemetry.engine.embedded as e; e.EmbeddedMetrics(telemetry.VOCABULARY);"
    program = f"{start} {code} {report}"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == expected


def test_importing_telemetry_and_its_catalog_imports_the_standard_library_only():
    program = (
        "import sys; before = set(sys.modules)\n"
        "import telemetry, telemetry.catalog, telemetry.engine.emf, telemetry.engine.testing\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - {'telemetry'}\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_nothing_of_the_exporter_is_imported_without_an_endpoint(tmp_path):
    program = (
        "import sys, pathlib, telemetry; from telemetry import catalog\n"
        "with telemetry.to_directory(pathlib.Path(sys.argv[1])), telemetry.observe(catalog.PLAN_PACKAGE): pass\n"
        "print([m for m in ('google.protobuf', 'requests', 'opentelemetry.exporter', 'aiohttp', 'boto3', 'botocore')"
        " if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_the_names_of_limits_are_those_of_the_library():
    from aws_embedded_metrics import constants  # noqa: PLC0415  only here
    from aws_embedded_metrics.unit import Unit  # noqa: PLC0415  same

    assert emf.MAX_METRICS == constants.MAX_METRICS_PER_EVENT
    assert emf.MAX_VALUES == constants.MAX_DATAPOINTS_PER_METRIC
    assert emf.MAX_DIMENSIONS == constants.MAX_DIMENSION_SET_SIZE
    assert {unit.value for unit in Unit} == UNITS


class ArtifactError(Exception):
    fault = "artifact"


@pytest.mark.parametrize(
    ("error", "fault"), [(ArtifactError("bad"), "artifact"), (ValueError("bug"), "service"), (None, "none")]
)
def test_whose_failure_it_is_stands_in_the_metric_the_log_line_and_the_span(error, fault, recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PACKAGE_TARGET, target="arm64-cpu") as step:
        if error:
            step.fail(error)
    (line,) = found.logs
    assert (line.get("fault", "none"), line["outcome"]) == (fault, "failure" if error else "success")
    (metrics,) = found.emf
    assert metrics["Fault"] == fault
    assert ["Operation", "Fault"] in [sorted(each, reverse=True) for each in dimension_sets(metrics)]
    (span,) = found.spans
    attributes = {
        each["key"]: each["value"]["stringValue"] for each in span["attributes"] if "stringValue" in each["value"]
    }
    assert attributes.get("packager.fault", "none") == fault


def dimension_sets(metrics):
    return [each for directive in metrics["_aws"]["CloudWatchMetrics"] for each in directive["Dimensions"]]
