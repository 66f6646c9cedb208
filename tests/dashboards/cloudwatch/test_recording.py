"""What was recorded, as CloudWatch would take it: what it would drop is skipped, and counted by reason."""

import gzip
import json
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError
from dashboards.cloudwatch.parameters import metric_alarm
from dashboards.cloudwatch.recording import Recording, add_lines, read_recording
from dashboards.cloudwatch.series import Grid

START_S = 1_764_288_000
LATENCY = Metric("App", "Latency", (("Service", "s"),))


def line(value, *, time_ms=START_S * 1000, unit="Milliseconds", **more):
    directive = {"Namespace": "App", "Dimensions": [["Service"]], "Metrics": [{"Name": "Latency", "Unit": unit}]}
    return {"_aws": {"Timestamp": time_ms, "CloudWatchMetrics": [directive]}, "Service": "s", "Latency": value, **more}


def with_directive(changes, **members):
    made = line(300, **members)
    made["_aws"]["CloudWatchMetrics"][0] |= changes
    return made


def read(folder, *lines, name="lines.emf", **options):
    path = folder / name
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
    return read_recording([path], **options)


def statistic(recording, name, metric=LATENCY, unit=None):
    return recording.store.statistic(metric, name, Grid(START_S, 60, 1), 1, unit)[0]


def test_lists_histograms_and_statistic_sets_are_read(tmp_path):
    histogram = {"Values": [50, 200], "Counts": [400, 70], "Max": 200, "Min": 50, "Count": 470, "Sum": 34_000}
    found = read(tmp_path, line([50, 200, 300]), line(histogram))
    assert statistic(found, "SampleCount") == 473
    assert statistic(found, "p99") == 200
    assert statistic(found, "Sum") == 550 + 50 * 400 + 200 * 70
    found = read(tmp_path, line({"Max": 9, "Min": 1, "Sum": 30, "Count": 6}), line(4))
    assert [statistic(found, name) for name in ("Maximum", "Minimum", "Sum", "SampleCount")] == [9, 1, 34, 7]
    assert statistic(found, "p99") is None  # CloudWatch makes no percentile of what it knows only sums of


DROPPED = {
    "a time in seconds": (line(300, time_ms=START_S), "Timestamp is not in milliseconds of this century"),
    "a time as text": (line(300, time_ms="now"), "Timestamp is no whole number"),
    "101 metrics": (
        with_directive({"Metrics": [{"Name": f"m{n}"} for n in range(100)] + [{"Name": "Latency"}]}),
        "more than 100 metrics in a directive",
    ),
    "101 values": (line([300] * 101), "more than 100 values of a metric"),
    "101 values of a histogram": (line({"Values": [1] * 101, "Counts": [1] * 101}), "more than 100 values of a metric"),
    "31 dimensions": (
        with_directive(
            {"Dimensions": [["Service"], [f"d{n}" for n in range(31)]]}, **{f"d{n}": "x" for n in range(31)}
        ),
        "more than 30 dimensions in a set",
    ),
    "no namespace": (with_directive({"Namespace": ""}), "a directive without a namespace"),
    "a unit of no kind": (line(300, unit="Apples"), "the unit 'Apples'"),
    "a dimension that is missing": (
        with_directive({"Dimensions": [["Nobody"]]}),
        "a dimension has no value that is text",
    ),
    "no JSON": ('{"_aws": {"CloudWatchMetrics": [', "no JSON"),
}


@pytest.mark.parametrize(("wrong", "reason"), DROPPED.values(), ids=DROPPED)
def test_what_cloudwatch_would_drop_is_skipped_and_counted(tmp_path, wrong, reason):
    found = read(tmp_path, line(50), wrong, line(70))
    assert found.dropped == {reason: 1}
    assert statistic(found, "Maximum") == 70
    assert statistic(found, "SampleCount") == 2


def test_known_envelopes_are_read_as_if_they_were_new(tmp_path):
    lines = [line(n, time_ms=START_S * 1000 + n, note=note) for n, note in enumerate(['a "b" {', "[", "}", "ü\\"])]
    compact = [json.dumps(each, separators=(",", ":")) for each in lines]
    late = [json.dumps({**{k: v for k, v in each.items() if k != "_aws"}, "_aws": each["_aws"]}) for each in lines]
    found = read(tmp_path, *lines, *compact, *late)
    assert statistic(found, "SampleCount") == 12
    assert statistic(found, "Sum") == 3 * (0 + 1 + 2 + 3)
    assert [each["note"] for each in found.lines[:4]] == ['a "b" {', "[", "}", "ü\\"]


ODD = {
    "plain": json.dumps(line(5)),
    "compact": json.dumps(line(6), separators=(",", ":")),
    "late": json.dumps({**{k: v for k, v in line(7).items() if k != "_aws"}, "_aws": line(7)["_aws"]}),
    "another service": json.dumps(line(8) | {"Service": "t"}),
    "in brackets": json.dumps(line(9, note="[{", inner={"Latency": 1})),
    "a list": json.dumps(line([1, 2])),
    "too many values": json.dumps(line([1] * 101)),
    "no number": json.dumps(line("5")),
    "no member": json.dumps({k: v for k, v in line(0).items() if k != "Latency"}),
    "no dimension": json.dumps({k: v for k, v in line(0).items() if k != "Service"}),
    "a dimension that is a list": json.dumps(line(10) | {"Service": ["s"]}),
    "cut": json.dumps(line(11))[:-3],
    "a comma too many": json.dumps(line(12))[:-1] + ", }",
    "two in one": json.dumps(line(13)) * 2,
    "not a number": json.dumps(line(float("nan"))),
    "too large": json.dumps(line(10**400)),
    "larger than a float": json.dumps(line(14)).replace(": 14", ": 1e999"),
    "an inner envelope": json.dumps({"inner": line(15), "Service": "s"}),
    "two envelopes": json.dumps(line(16))[:-1] + ', "_aws": {"Timestamp": 5}}',
    "an envelope as text": json.dumps({"message": json.dumps(line(17))}),
    "another time": json.dumps(line(18, time_ms=START_S * 1000 + 61_000)),
    "a time as text": json.dumps(line(19, time_ms="1764288000000")),
    "a time in microseconds": json.dumps(line(20, time_ms=START_S * 1_000_000)),
    "a time with a fraction": json.dumps(line(21)).replace("1764288000000", "17642880000.5"),
}


@given(st.lists(st.sampled_from([*ODD]), min_size=1, max_size=40))
@example(["plain", *ODD] * 5)
@settings(max_examples=60, deadline=None)
def test_lines_that_are_read_together_give_what_each_gives_by_itself(names):
    each, together = Recording(), Recording(keeps_lines=False)
    for recording in (each, together):
        add_lines(recording, [ODD[name] + "\n" for name in names])
    assert together.dropped == each.dropped
    assert {
        m: {unit: sorted(column.samples(), key=repr) for unit, column in units.items()}
        for m, units in together.store.columns.items()
    } == {
        m: {unit: sorted(column.samples(), key=repr) for unit, column in units.items()}
        for m, units in each.store.columns.items()
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no number", "a metric without a number"),
        ("no member", "a metric without a number"),
        ("too large", "a metric without a number"),
        ("larger than a float", "a metric without a number"),
        ("not a number", "no JSON"),
        ("two in one", "no JSON"),
        ("a comma too many", "no JSON"),
    ],
)
@pytest.mark.parametrize("keeps_lines", [True, False])
def test_odd_lines_add_nothing_and_are_counted(name, reason, keeps_lines):
    recording = Recording(keeps_lines=keeps_lines)
    add_lines(recording, [ODD["plain"], ODD[name], ODD["plain"]])
    assert recording.dropped == {reason: 1}
    assert statistic(recording, "SampleCount") == 2


def test_a_unit_keeps_its_data_to_itself(tmp_path):
    found = read(tmp_path, line(5), line(7, unit="Seconds"))
    assert [statistic(found, "Sum", unit=unit) for unit in ("Milliseconds", "Seconds", "Count", None)] == [
        5,
        7,
        None,
        12,
    ]


def test_lines_come_packed_and_in_folders(tmp_path):
    inner = tmp_path / "export" / "stream"
    inner.mkdir(parents=True)
    (inner / "000000.gz").write_bytes(gzip.compress(json.dumps(line(5)).encode()))
    (inner / "000001").write_text("2026-01-01T00:00:00.000Z " + json.dumps(line(7)))
    assert statistic(read_recording([tmp_path / "export"]), "Sum") == 12


ALARM = metric_alarm(
    {
        "AlarmName": "a",
        "Namespace": "App",
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": 120,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
    }
)
ERRORS = Metric("App", "Errors")


def results(label, values, period_s=60):
    times = [f"2025-11-28T00:{period_s * n // 60:02}:00Z" for n in range(len(values))]
    return {"MetricDataResults": [{"Id": "m1", "Label": label, "Timestamps": times[::-1], "Values": values[::-1]}]}


@pytest.mark.parametrize("label", ["App/Errors | Sum | 60", "Errors", "App/Errors"])
def test_what_get_metric_data_returns_is_a_statistic_already(tmp_path, label):
    found = read(tmp_path, results(label, [1, 2, 4, 8]), name="gmd.json", alarms={"a": ALARM})
    assert found.store.statistic(ERRORS, "Sum", Grid(START_S, 60, 4)) == [1, 2, 4, 8]
    assert found.store.statistic(ERRORS, "Sum", Grid(START_S, 60, 4), 2) == [1, 3, 6, 12]
    with pytest.raises(UnsupportedError, match="Maximum was not among what CloudWatch returned: Sum"):
        found.store.statistic(ERRORS, "Maximum", Grid(START_S, 60, 4))


def test_a_percentile_of_another_period_is_named_and_not_guessed(tmp_path):
    found = read(tmp_path, results("App/Errors | p99 | 60", [1, 2, 4, 8]), name="gmd.json")
    with pytest.raises(UnsupportedError, match="p99 of 60 s says nothing of 120 s"):
        found.store.statistic(ERRORS, "p99", Grid(START_S, 60, 4), 2)
    whole = read(tmp_path, results("App/Errors | p99 | 120", [1, 2], 120), name="gmd.json")
    assert whole.store.statistic(ERRORS, "p99", Grid(START_S, 60, 4), 2) == [None, 1, 1, 2]


def test_a_result_that_nothing_names_is_an_error(tmp_path):
    with pytest.raises(DefinitionError, match="nothing says which metric 'Other' is"):
        read(tmp_path, results("Other", [1]), name="gmd.json", alarms={"a": ALARM})


def test_what_get_metric_statistics_returns_is_read(tmp_path):
    points = [
        {"Timestamp": "2025-11-28T00:00:00+00:00", "Sum": 3.0, "Unit": "Count", "ExtendedStatistics": {"p99": 2.0}},
        {"Timestamp": "2025-11-28T00:01:00+00:00", "Sum": 4.0, "Unit": "Count", "ExtendedStatistics": {"p99": 1.0}},
    ]
    found = read(tmp_path, {"Label": "Errors", "Datapoints": points}, name="gms.json", alarms={"a": ALARM})
    assert found.store.statistic(ERRORS, "Sum", Grid(START_S, 60, 2)) == [3, 4]
    assert found.store.statistic(ERRORS, "p99", Grid(START_S, 60, 2)) == [2, 1]


@pytest.mark.parametrize(
    "table",
    [
        "timestamp,metric,value,unit\n2025-11-28T00:00:00Z,App/Errors,3,Count\n1764288060,App/Errors,4,Count",
        "Time,App/Errors,App/Other{a=b}\n1764288000,3,\n1764288060000,4,1",
    ],
)
def test_tables_are_read_long_or_wide(tmp_path, table):
    found = read(tmp_path, table, name="history.csv")
    assert found.store.statistic(ERRORS, "Sum", Grid(START_S, 60, 2)) == [3, 4]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("metric,value\nApp/Errors,3", "needs a column `timestamp`"),
        ("timestamp,App/Errors\nsoon,3", "line 2: 'soon' is no time"),
        ("timestamp,App/Errors\n1764288000,many", "line 2: could not convert"),
        ("timestamp,Errors\n1764288000,3", "line 2: 'Errors' is no metric"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error_with_its_line(tmp_path, table, told):
    with pytest.raises(DefinitionError, match=told):
        read(tmp_path, table, name="history.csv")


def test_text_with_a_time_in_front_is_a_line_and_a_report_of_lambda_has_its_fields(tmp_path):
    report = (
        "REPORT RequestId: 1-a\tDuration: 12.5 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 70 MB"
    )
    recording = read(
        tmp_path, f"2026-01-01T00:00:00Z {report}", "no time", "2026-99-01T00:00:00Z x", "2026-01-01T00:00:01Z a {b"
    )
    first, second = recording.lines
    assert first == {
        "@timestamp": 1_767_225_600.0,
        "@message": report,
        "@type": "REPORT",
        "@requestId": "1-a",
        "@duration": 12.5,
        "@billedDuration": 13.0,
        "@memorySize": 128e6,
        "@maxMemoryUsed": 70e6,
    }
    assert second["@message"] == "a {b"


def test_memory_grows_with_the_datapoints_and_not_with_the_lines(tmp_path):
    path = tmp_path / "long.emf"
    with path.open("w") as file:
        for n in range(20_000):
            file.write(json.dumps(line(n, time_ms=START_S * 1000 + n, note="x" * 800)) + "\n")
    tracemalloc.start()
    found = read_recording([path], keeps_lines=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert statistic(found, "SampleCount") == 20_000
    assert peak < path.stat().st_size / 8
