"""Every row of the catalog, driven once, leaves exactly one span, one EMF line and one log line, joined by ids."""

import pytest

import telemetry
import telemetry.engine.testing
from telemetry import catalog

ROWS = [pytest.param(row, id=row.name) for row in catalog.ROWS if row is not catalog.TELEMETRY_HEALTH]


class NoRoomError(Exception):
    figures = {"required_bytes": 3, "path": "scratch"}  # noqa: RUF012  as an exception of the work has it
    next_step = "try the other way"


def every_field(row):
    metrics = {metric.field: number for number, metric in enumerate(row.metrics, 1)}
    dimensions = {dimension.field: dimension.values[0] for dimension in row.dimensions}
    return metrics | dimensions | {prop.field: f"some {prop.field}" for prop in row.properties}


@pytest.mark.parametrize("row", ROWS)
def test_a_step_is_one_span_one_emf_line_and_one_log_line_with_the_same_ids(row, recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.context(request_id="r-1", training_id="t-1"), telemetry.observe(row) as step:
        step.add(**every_field(row))
    (emf,), (log,), (span,) = found.emf, found.logs, found.spans
    assert emf["trace_id"] == log["trace_id"] == span["traceId"]
    assert emf["span_id"] == log["span_id"] == span["spanId"]
    assert emf["request_id"] == log["request_id"] == "r-1"
    assert (span["name"], emf["Operation"], log["event"]) == (row.span, row.name, row.name)
    assert emf["Success"] == 1
    assert emf["Failure"] == 0
    assert log["outcome"] == "success"
    for number, metric in enumerate(row.metrics, 1):
        assert emf[metric.name] == log[metric.field] == number
    for dimension in row.dimensions:
        assert log[dimension.key] == dimension.values[0]
        assert emf.get(dimension.name, emf.get(dimension.key)) == dimension.values[0]
    for prop in row.properties:
        assert emf[prop.field] == log[prop.field] == f"some {prop.field}"


@pytest.mark.parametrize("row", ROWS)
def test_a_failed_step_says_what_failed_with_figures_and_next_step_everywhere(row, recorded_in):
    recording, found = recorded_in()
    error = NoRoomError("no room")
    with recording, pytest.raises(NoRoomError) as raised, telemetry.observe(row):
        raise error
    assert raised.value is error
    (emf,), (log,), (span,) = found.emf, found.logs, found.spans
    assert (emf["Success"], emf["Failure"], emf["error_type"]) == (0, 1, "NoRoomError")
    assert log["level"] == "error"
    assert log["figures"] == {"required_bytes": 3, "path": "scratch"}
    assert log["next_step"] == "try the other way"
    assert "raise error" in log["stack"]
    attributes = {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}
    assert attributes["error.type"] == "NoRoomError"
    assert attributes["packager.figures.required_bytes"] == "3"
    assert attributes["packager.next_step"] == "try the other way"
    assert span["status"] == {"code": 2, "message": "no room"}
    assert [event["name"] for event in span["events"]] == ["exception"]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_records_itself_for_tests(row):
    with telemetry.engine.testing.recorded() as records, telemetry.observe(row, **every_field(row)):
        pass
    assert records == [telemetry.engine.testing.Record(row.name, every_field(row))]


def test_the_health_row_closes_every_recording(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    (health,) = found.health
    assert health["LinesWritten"] == 3
    assert health["LinesLost"] == health["Faults"] == health["SpansLost"] == 0
    (log,) = [line for line in found.documents if line.get("event") == "TelemetryHealth"]
    (span,) = [line for line in (found.folder / "spans.jsonl").read_text().splitlines() if "telemetry health" in line]
    assert health["span_id"] == log["span_id"]
    assert f'"spanId": "{log["span_id"]}"' in span


def test_the_stack_is_shown_once_at_the_innermost_failed_step(recorded_in):
    recording, found = recorded_in()
    with (
        recording,
        pytest.raises(NoRoomError),
        telemetry.observe(catalog.PACKAGE_REQUEST),
        telemetry.observe(catalog.PACKAGE_TARGET),
        telemetry.observe(catalog.READ_ARTIFACT),
    ):
        raise NoRoomError
    assert [("stack" in log, log["event"]) for log in found.logs] == [
        (True, "ReadArtifact"),
        (False, "PackageTarget"),
        (False, "PackageRequest"),
    ]


def test_a_service_error_is_told_by_its_code(recorded_in):
    from botocore.exceptions import ClientError  # noqa: PLC0415  only here

    recording, found = recorded_in()
    with recording, pytest.raises(ClientError), telemetry.observe(catalog.READ_ARTIFACT):
        raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "gone"}}, "GetObject")
    assert found.emf[0]["error_type"] == "ClientError.NoSuchKey"


def test_a_package_of_twenty_thousand_files_is_one_line(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.READ_ARTIFACT, store="s3") as step:
        for _ in range(20_000):
            step.add(retries=1)
    assert [line["Retries"] for line in found.emf] == [20_000]
