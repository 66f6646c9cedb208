"""Every kind of alarm that CloudWatch has is evaluated or named, and the next new one is noticed."""

import json
import re
from pathlib import Path

import botocore.session
import pytest

from dashboards.cloudwatch import parameters
from dashboards.cloudwatch.commands import main

DOCS = Path(__file__).parents[3] / "docs" / "alarm-tests.md"
OPERATIONS = {
    "PutMetricAlarm": parameters.METRIC_PROPERTIES,
    "PutCompositeAlarm": parameters.COMPOSITE_PROPERTIES,
    "PutLogAlarm": parameters.LOG_PROPERTIES,
    "PutAlarmMuteRule": parameters.MUTE_PROPERTIES,
}


@pytest.fixture(scope="module")
def service():
    return botocore.session.get_session().get_service_model("cloudwatch")


@pytest.mark.parametrize(("operation", "handled"), OPERATIONS.items())
def test_the_properties_that_are_handled_are_those_of_the_newest_botocore(service, operation, handled):
    assert set(service.operation_model(operation).input_shape.members) == handled


@pytest.mark.parametrize("operation", OPERATIONS)
def test_so_are_the_members_of_what_is_nested(service, operation):
    def nested(shape):
        for name, member in shape.members.items():
            inner = member.member if member.type_name == "list" else member
            if inner.type_name == "structure" and name not in {"Tags", "ActionConfiguration"}:
                assert set(inner.members) == parameters.PARTS[name], name
                nested(inner)

    nested(service.operation_model(operation).input_shape)


def test_no_operation_makes_a_kind_of_alarm_that_is_not_handled(service):
    makers = {name for name in service.operation_names if re.fullmatch(r"Put\w*Alarm\w*", name)}
    assert makers == OPERATIONS.keys()


def test_the_units_are_those_of_the_api(service):
    assert set(service.shape_for("StandardUnit").enum) == parameters.UNITS


def test_the_page_says_of_every_kind_what_becomes_of_it():
    page = DOCS.read_text()
    for word in (
        "PromQL",
        "Metrics Insights",
        "anomaly band",
        "wall clock",
        "AT_LEAST",
        "mute rule",
        "log alarm",
        "warm-up",
    ):
        assert re.search(rf"^\| .*{word}.* \| (?:evaluated|named)", page, re.MULTILINE | re.IGNORECASE), word


BASE = {
    "AlarmName": "b",
    "Namespace": "N",
    "MetricName": "M",
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}


def passes(folder, alarms, **test):
    """Run one test; the words of a failure are on the terminal."""
    (folder / "alarms.json").write_text(json.dumps(alarms))
    (folder / "test.yaml").write_text(json.dumps({"tests": [test]}))
    return main(["test", str(folder / "test.yaml"), "--alarms", str(folder / "alarms.json")]) == 0


def series(values, **more):
    return [{"metric": "N/M", "values": values, **more}]


def mute(schedule, duration, **more):
    schedule = {"Expression": schedule, "Duration": duration}
    return {"Name": "night", "MuteTargets": {"AlarmNames": ["b"]}, "Rule": {"Schedule": schedule}} | more


def test_a_call_that_a_mute_rule_swallows_is_a_failure_that_names_the_rule(tmp_path, capsys):
    alarms = [BASE, mute("cron(0 0 * * *)", "P1D")]
    assert not passes(tmp_path, alarms, series=series("0 2 2 0"), expect=[{"alarm": "b", "calls": ["2m"]}])
    assert "calls: expected at 2m, was at no time; muted by night at 2m" in capsys.readouterr().out
    assert passes(tmp_path, alarms, series=series("0 2 2 0"), expect=[{"alarm": "b", "fires": "2m", "calls": []}])


def test_what_is_still_so_when_the_muting_ends_is_called_then(tmp_path):
    alarms = [BASE, mute("at(1970-01-01T00:01)", "PT5M")]
    expect = [{"alarm": "b", "calls": ["6m"]}]
    assert passes(tmp_path, alarms, series=series("0 2x9"), expect=expect)


def test_a_mute_rule_keeps_to_its_zone_and_its_dates(tmp_path):
    berlin = mute("cron(0 2 * * SUN)", "PT1H", ExpireDate="2026-03-01T00:00:00Z")
    berlin["Rule"]["Schedule"]["Timezone"] = "Europe/Berlin"
    test = {"series": series("0 2 0"), "expect": [{"alarm": "b", "calls": {"ALARM": []}}]}
    assert passes(tmp_path, [BASE, berlin], start="2026-01-04T01:30:00Z", **test)
    for start in ("2026-01-04T02:30:00Z", "2026-01-05T01:30:00Z", "2026-03-08T01:30:00Z"):
        assert not passes(tmp_path, [BASE, berlin], start=start, **test), start


def test_calls_are_of_all_three_states_and_only_where_the_alarm_lists_actions(tmp_path):
    test = {"series": series("0 2 _ _ _ _ 0"), "until": "8m"}
    missing = BASE | {"TreatMissingData": "missing"}
    calls = {"ALARM": ["2m"], "INSUFFICIENT_DATA": ["5m"], "OK": ["1m", "7m"]}
    assert passes(tmp_path, missing, expect=[{"alarm": "b", "calls": calls}], **test)
    listed = missing | {"OKActions": ["arn:aws:sns:r:1:t"]}
    calls = {"ALARM": [], "INSUFFICIENT_DATA": [], "OK": ["1m", "7m"]}
    assert passes(tmp_path, listed, expect=[{"alarm": "b", "calls": calls}], **test)
    off = listed | {"ActionsEnabled": "false"}
    assert passes(tmp_path, off, expect=[{"alarm": "b", "calls": {"OK": []}}], **test)


def test_a_wall_clock_window_sees_whole_hours_of_its_zone_when_they_have_ended(tmp_path):
    window = {"EvaluationWindow": {"WallClockWindow": {"Timezone": "+05:30"}}, "Period": 3600}
    test = {"start": "2026-01-01T00:00:00Z", "series": series("0x39 2 0x100")}
    # On that clock an hour begins half past ours: minute 40 lies in the hour that ends after 90 minutes.
    assert passes(tmp_path, BASE | window, expect=[{"alarm": "b", "fires": ["90m"]}], **test)
    assert passes(tmp_path, BASE | {"Period": 3600}, expect=[{"alarm": "b", "fires": ["41m"]}], **test)


def test_days_of_a_zone_are_as_long_as_they_are(tmp_path):
    window = {"EvaluationWindow": {"WallClockWindow": {"Timezone": "Europe/Berlin"}}, "Period": 86_400}
    counted = BASE | window | {"Statistic": "SampleCount", "Threshold": 25}
    # The day on which summer time ends has 25 hours, from 22:00 to 23:00 UTC.
    test = {"start": "2026-10-24T22:00:00Z", "interval": "1h", "series": series("1x60")}
    assert passes(tmp_path, counted, expect=[{"alarm": "b", "fires": ["25h"]}], **test)


def test_data_that_arrive_late_are_missing_until_they_are_there(tmp_path):
    late = BASE | {"TreatMissingData": "breaching"}
    assert passes(tmp_path, late, series=series("0x9", delay="0s"), expect=[{"alarm": "b", "fires": []}])
    # A full range is three periods for N = 1: what is two minutes late is still among them, what is three is not.
    assert passes(tmp_path, late, series=series("0x9", delay="2m"), expect=[{"alarm": "b", "fires": ["1m"]}])
    test = {"series": series("0x9", delay="3m"), "expect": [{"alarm": "b", "at": "9m", "is": "ALARM"}]}
    assert passes(tmp_path, late, **test)


def test_an_alarm_on_a_band_is_evaluated_with_the_bounds_that_a_test_gives(tmp_path, capsys):
    stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 60, "Stat": "Average"}
    band = {
        "AlarmName": "b",
        "Metrics": [
            {"Id": "m1", "MetricStat": stat, "ReturnData": True},
            {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 2)"},
        ],
        "ThresholdMetricId": "ad1",
        "EvaluationPeriods": 1,
        "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
        "TreatMissingData": "notBreaching",
    }
    bounds = [{"alarm": "b", "lower": "1x5", "upper": "3x5"}]
    expect = [{"alarm": "b", "fires": ["2m", "4m"]}]
    assert passes(tmp_path, band, series=series("2 4 2 0 2"), bands=bounds, expect=expect)
    assert "alarms.json: b: looks at an anomaly band" in capsys.readouterr().err
    above = band | {"ComparisonOperator": "GreaterThanUpperThreshold"}
    assert passes(tmp_path, above, series=series("2 4 2 0 2"), bands=bounds, expect=[{"alarm": "b", "fires": ["2m"]}])
    assert not passes(tmp_path, band, series=series("2 4"), expect=expect)
    assert "give its bounds in a test" in capsys.readouterr().out


LOG = {
    "AlarmName": "l",
    "ScheduledQueryConfiguration": {
        "QueryString": 'filter level = "ERROR"',
        "ScheduledQueryRoleARN": "arn:aws:iam::1:role/r",
        "ScheduleConfiguration": {"ScheduleExpression": "rate(5 minutes)", "StartTimeOffset": 300},
        "AggregationExpression": "count(*) as errors by host",
    },
    "QueryResultsToEvaluate": 2,
    "QueryResultsToAlarm": 2,
    "Threshold": 2,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}


def error(at, host, times):
    return {"at": at, "line": json.dumps({"level": "ERROR", "host": host}), "every": "1m", "times": times}


def test_a_log_alarm_is_judged_by_the_runs_of_its_query_for_each_contributor(tmp_path):
    steady = [error("1m", "a", 9), error("1m", "b", 1)]
    assert passes(tmp_path, LOG, lines=steady, until="30m", expect=[{"alarm": "l", "fires": ["10m"]}])
    # As many errors in each run, but of two hosts in turn: no contributor has two bad runs.
    turns = [error("1m", "a", 3), error("6m", "b", 3), error("11m", "a", 3)]
    assert passes(tmp_path, LOG, lines=turns, until="30m", expect=[{"alarm": "l", "fires": []}])


def test_a_log_alarm_that_no_line_feeds_proves_nothing(tmp_path, capsys):
    assert not passes(tmp_path, LOG, until="30m", expect=[{"alarm": "l", "fires": []}])
    assert "no line of log feeds this alarm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ({"intervall": "1m"}, "a test has no `intervall`; is it `interval`?"),
        ({"series": [{"metric": "N/M", "value": "1"}]}, "a series needs `metric` and `values`"),
        ({"series": [{"metric": "N/M", "values": "1", "unti": "Count"}]}, "is it `unit`?"),
        ({"expect": [{"alarm": "b", "fire": []}]}, "an expectation has no `fire`; is it `fires`?"),
        ({"expect": [{"alarm": "b", "calls": {"OKAY": []}}]}, "`calls` has no `OKAY`"),
        ({"series": [{"metric": "N/m", "values": "1"}]}, "no series feeds this alarm: it watches N/M; alike: N/m"),
        ({"series": []}, "no series feeds this alarm: it watches N/M; there are none"),
    ],
)
def test_a_slip_of_the_pen_fails_the_test(tmp_path, capsys, test, told):
    whole = {"series": series("0"), "expect": [{"alarm": "b", "fires": []}]} | test
    assert not passes(tmp_path, BASE, **whole)
    assert told in capsys.readouterr().out


def test_a_unit_that_no_data_have_gives_no_data(tmp_path):
    alarm = BASE | {"Unit": "Count", "TreatMissingData": "missing"}
    test = {"expect": [{"alarm": "b", "at": "2m", "is": "INSUFFICIENT_DATA"}]}
    assert passes(tmp_path, alarm, series=series("5 5", unit="Milliseconds"), **test)
    test = {"expect": [{"alarm": "b", "at": "2m", "is": "ALARM"}]}
    assert passes(tmp_path, alarm, series=series("5 5", unit="Count"), **test)
    assert passes(tmp_path, alarm, series=series("5 5"), **test)


def test_maths_looks_back_no_further_than_its_evaluation_range(tmp_path):
    def maths(expression, period=60, periods=1, threshold=90):
        stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": period, "Stat": "Maximum"}
        metrics = [{"Id": "m1", "ReturnData": False, "MetricStat": stat}, {"Id": "e", "Expression": expression}]
        kept = {"AlarmName": "b", "ComparisonOperator": "GreaterThanThreshold"}
        return kept | {"Metrics": metrics, "EvaluationPeriods": periods, "Threshold": threshold}

    end = [{"alarm": "b", "at": "10h", "is": "INSUFFICIENT_DATA"}]
    assert passes(tmp_path, maths("FILL(m1, REPEAT)", periods=3), series=series("100 _x600"), expect=end)
    hour = maths("IF(HOUR(m1) >= 1, m1)", period=3600)
    assert passes(tmp_path, hour, series=series("100x240"), expect=[{"alarm": "b", "fires": ["2h"]}])
    rate = maths("RATE(m1)", threshold=0)
    assert passes(tmp_path, rate, series=series("100 _x600 200"), expect=[{"alarm": "b", "fires": []}])
