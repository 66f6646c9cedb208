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
