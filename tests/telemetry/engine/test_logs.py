"""Log lines: levels by setting, ids by themselves, and a rendering for people."""

import re
from dataclasses import replace

import pytest

import telemetry
from telemetry import catalog
from telemetry.engine.settings import Settings

LEVELS = ["debug", "info", "warning", "error"]


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_left_out_and_metrics_are_not(level, recorded_in):
    recording, found = recorded_in(Settings(log_level=level))
    with recording:
        for each in LEVELS:
            telemetry.log(each, "Something", next_step="look")
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    shown = [line["level"] for line in found.logs if line["event"] == "Something"]
    assert shown == LEVELS[LEVELS.index(level) :]
    assert len(found.emf) == 1


def test_a_line_that_is_no_steps_carries_the_ids_of_the_step_around_it(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.context(request_id="r"), telemetry.observe(catalog.CLEAN_UP):
        telemetry.log("warning", "Left", path=b"x", level_of="it")
    left, step = found.logs
    assert left | {"timestamp": ""} == {
        "request_id": "r",
        "trace_id": step["trace_id"],
        "span_id": step["span_id"],
        "xray_trace_id": f"1-{step['trace_id'][:8]}-{step['trace_id'][8:]}",
        "path": "<1 bytes>",
        "level_of": "it",
        "event": "Left",
        "level": "warning",
        "timestamp": "",
    }


def test_times_are_iso_8601_in_utc(recorded_in):
    recording, found = recorded_in()
    with recording:
        telemetry.log("info", "Something")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.logs[0]["timestamp"])


def test_people_read_logs_on_standard_error_while_metrics_are_written(recorded_in, capsys):
    recording, found = recorded_in(replace(Settings(), console=True))
    error = OSError("the disk is full")
    with recording, pytest.raises(OSError, match="full"), telemetry.observe(catalog.READ_ARTIFACT, store="s3"):
        raise error
    assert found.logs == []
    assert len(found.emf) == 1
    shown = capsys.readouterr().err
    assert "the disk is full" in shown
    assert "ReadArtifact" in shown


def test_a_line_of_any_length_is_cut_below_the_limit(recorded_in):
    recording, found = recorded_in()
    with recording:
        telemetry.log("info", "Something", **{f"key_{number}": "ÿ" * 1024 for number in range(100)})
    assert found.logs[0]["event"] == "Something"
    assert len(found.logs[0]["trimmed"]) > 10


def test_without_a_recorder_a_log_line_goes_nowhere(capsys):
    telemetry.log("error", "Something")
    assert capsys.readouterr() == ("", "")


def debug_events(found):
    return [line["event"] for line in found.logs if "Detail" in line["event"]]


def test_debug_lines_are_written_only_when_their_run_fails_before_the_line_that_says_so(recorded_in):
    recording, found = recorded_in()
    with recording:
        with telemetry.observe(catalog.PACKAGE_REQUEST):
            telemetry.log("debug", "Detail of success")
        telemetry.log("debug", "Detail of nothing")
        with telemetry.observe(catalog.PACKAGE_REQUEST) as run:
            with telemetry.observe(catalog.READ_ARTIFACT):
                telemetry.log("debug", "Detail of failure", number=1)
            run.fail(KeyError())
    assert debug_events(found) == ["Detail of failure"]
    _, inner, kept, failed = found.logs
    assert (kept["event"], kept["level"], kept["number"]) == ("Detail of failure", "debug", 1)
    assert (inner["event"], failed["event"]) == ("ReadArtifact", "PackageRequest")
    assert kept["span_id"] == inner["span_id"]
    assert kept["timestamp"] < inner["timestamp"]


def test_an_answered_failure_and_a_cut_run_write_their_debug_lines_too(recorded_in):
    recording, found = recorded_in()
    with recording:
        with telemetry.observe(catalog.PACKAGE_REQUEST) as step:
            telemetry.log("debug", "Detail of an answer")
            step.fail(ValueError("answered with 500"))
        with telemetry.observe(catalog.PACKAGE_REQUEST):
            telemetry.log("debug", "Detail of a cut")
            telemetry.close_open_spans()
    assert debug_events(found) == ["Detail of an answer", "Detail of a cut"]


def test_kept_lines_are_bounded_in_number_and_size(recorded_in):
    recording, found = recorded_in()
    with recording:
        with telemetry.observe(catalog.PACKAGE_REQUEST) as run:
            for number in range(1000):
                telemetry.log("debug", f"Detail {number}")
            run.fail(KeyError())
        with telemetry.observe(catalog.PACKAGE_REQUEST) as run:
            for number in range(200):
                telemetry.log("debug", "Large Detail", text=f"{number} " + "x" * 1000)
            run.fail(KeyError())
    assert 100 < len([event for event in debug_events(found) if event != "Large Detail"]) <= 200
    assert debug_events(found).count("Detail 999") == 1
    large = [line for line in found.text_lines if '"Large Detail"' in line]
    assert 30 < len(large) < 64
    assert sum(map(len, large)) <= 64 * 1024


PLATFORM = ["trace", "debug", "info", "warn", "error", "fatal"]


def passed_by_lambda(lines, level):
    """The lines that Lambda's filter of JSON logs lets pass: without valid level and time a line is INFO."""
    for line in lines:
        known = line.get("level") in PLATFORM and re.fullmatch(r"[0-9-]{10}T[0-9:.]+Z", line.get("timestamp", ""))
        if PLATFORM.index(line["level"] if known else "info") >= PLATFORM.index(level):
            yield line


@pytest.mark.parametrize("level", PLATFORM)
def test_no_metric_is_lost_to_lambdas_filter_of_json_logs(level, recorded_in):
    environ = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level.upper(), "TELEMETRY_LOG_LEVEL": "info"}
    recording, found = recorded_in(Settings.from_environ(environ))
    with recording:
        telemetry.log("warning", "Odd")
        with telemetry.observe(catalog.PLAN_PACKAGE) as run:
            telemetry.log("debug", "Detail")
            run.fail(KeyError())
    passed = list(passed_by_lambda(found.documents, level))
    assert [line["Operation"] for line in passed if "_aws" in line] == ["PlanPackage", "TelemetryHealth"]
    events = [line["event"] for line in passed if "event" in line]
    assert ("Odd" in events) == (PLATFORM.index(level) <= PLATFORM.index("warn"))
    assert ("PlanPackage" in events) == ("Detail" in events) == (level != "fatal")


def test_in_the_text_format_metric_lines_carry_no_level(recorded_in):
    recording, found = recorded_in(Settings.from_environ({"AWS_LAMBDA_LOG_LEVEL": "ERROR"}))
    with recording, telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert found.emf[0].keys().isdisjoint({"level", "timestamp"})
