"""The checker knows every limit of the embedded metric format: at the limit a line passes, one above it does not."""

import copy
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.check import check_line, check_lines
from telemetry.engine import emf

SOUND = {
    "_aws": {
        "Timestamp": 1_700_000_000_000,
        "CloudWatchMetrics": [
            {
                "Namespace": "Elsewhere",
                "Dimensions": [["Service"], []],
                "Metrics": [{"Name": "Time", "Unit": "Milliseconds"}, {"Name": "Sizes", "Unit": "Bytes/Second"}],
            }
        ],
    },
    "Service": "api",
    "Time": 1.5,
    "Sizes": [1, 2, 3],
    "note": None,
}


def changed(path, value):
    document = copy.deepcopy(SOUND)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(document)


FIRST = ("_aws", "CloudWatchMetrics", 0)


def many(count):
    document = copy.deepcopy(SOUND)
    names = [f"M{number}" for number in range(count)]
    document["_aws"]["CloudWatchMetrics"][0]["Metrics"] = [{"Name": name} for name in names]
    return json.dumps(document | dict.fromkeys(names, 1))


def dimensions(count):
    document = copy.deepcopy(SOUND)
    names = [f"D{number}" for number in range(count)]
    document["_aws"]["CloudWatchMetrics"][0]["Dimensions"] = [names]
    return json.dumps(document | dict.fromkeys(names, "v"))


def without(key):
    document = copy.deepcopy(SOUND)
    del document["_aws"][key]
    return json.dumps(document)


def two_directives(metric, dimension):
    """A line of two directives, of which the second has a dimension of any name."""
    document = copy.deepcopy(SOUND)
    first = document["_aws"]["CloudWatchMetrics"][0]
    first["Metrics"] = [{"Name": metric}]
    second = {**first, "Dimensions": [[dimension]], "Metrics": [{"Name": "Sizes"}]}
    document["_aws"]["CloudWatchMetrics"].append(second)
    return json.dumps(document)


def ours(changes, **metric):
    """A line of our own namespace, sound but for the changes."""
    metrics = [{"Name": name, "Unit": "Count"} for name in ("Success", "Failure")]
    metrics.append({"Name": "Duration", "Unit": "Milliseconds", **metric})
    directive = {"Namespace": "EdgeModelPackager", "Dimensions": [["Operation"]], "Metrics": metrics}
    envelope = {"Timestamp": 1_700_000_000_000, "CloudWatchMetrics": [directive]}
    values = {"Operation": "PlanPackage", "Success": 1, "Failure": 0, "Duration": 5.5, "trace_id": "0", "target": "t"}
    return json.dumps({"_aws": envelope, **values, **changes})


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(SOUND),
        ours({}),
        many(100),
        dimensions(30),
        changed(["Sizes"], list(range(100))),
        changed(["Service"], "x" * 1024),
        changed([*FIRST, "Namespace"], "x" * 255),
        changed([*FIRST, "Dimensions"], [[]]),
        changed([*FIRST, "Metrics", 0, "StorageResolution"], 1),
        changed([*FIRST, "Metrics", 0, "StorageResolution"], 60),
        changed([*FIRST, "Metrics", 0, "Unit"], "Terabits/Second"),
        changed(["Time"], 2.0**360),
        changed(["Time"], 0),
        changed(["note"], "x" * 59_000),
        '{"timestamp": "2024-01-01T00:00:00Z", "level": "info", "event": "Something"}',
    ],
)
def test_a_line_at_the_limit_passes(line):
    assert check_line(line) == []


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        (many(101), "101 metrics; 1 to 100"),
        (many(0), "0 metrics"),
        (dimensions(31), "31 dimensions in a set; at most 30"),
        (changed(["Sizes"], list(range(101))), "Sizes has 101 values"),
        (changed(["Sizes"], []), "Sizes has 0 values"),
        (changed(["Sizes"], ["1"]), "which is no number"),
        (changed(["Time"], True), "which is no number"),
        (changed(["Time"], None), "which is no number"),
        (changed(["Time"], 2.0**361), "beyond what CloudWatch keeps"),
        (changed(["Time"], 1e-200), "beyond what CloudWatch keeps"),
        (changed(["Service"], "x" * 1025), "dimension 'Service' is no ASCII text of 1 to 1024"),
        (changed(["Service"], ""), "dimension 'Service' is no ASCII text"),
        (changed(["Service"], "é"), "dimension 'Service' is no ASCII text"),
        (changed(["Service"], 7), "dimension 'Service' has no text as its value, but 7"),
        (changed([*FIRST, "Dimensions"], [["Nowhere"]]), "dimension 'Nowhere' has no text as its value, but None"),
        (changed([*FIRST, "Dimensions"], [["Service", "Service"]]), "a dimension stands twice"),
        (changed([*FIRST, "Dimensions"], [[":x"]]), "begins with a colon"),
        (changed([*FIRST, "Dimensions"], [["x" * 251]]), "no ASCII text of 1 to 250"),
        (changed([*FIRST, "Dimensions"], "Service"), "Dimensions is no list of lists"),
        (changed([*FIRST, "Dimensions"], [["Time"]]), "Time is both metric and dimension"),
        (changed([*FIRST, "Metrics"], {}), "Metrics is no list"),
        (changed([*FIRST, "Metrics", 0, "Name"], ""), "metric name '' is no text"),
        (changed([*FIRST, "Metrics", 0, "Name"], "x" * 1025), "is no text of 1 to 1024"),
        (changed([*FIRST, "Metrics", 0, "Name"], "Missing"), "metric Missing has no value in the line"),
        (changed([*FIRST, "Metrics", 0, "Name"], "Sizes"), "metric Sizes stands twice"),
        (changed([*FIRST, "Metrics", 0, "Unit"], "Parsecs"), "unknown unit 'Parsecs'"),
        (changed([*FIRST, "Metrics", 0, "StorageResolution"], 7), "resolution 7"),
        (changed([*FIRST, "Metrics", 0, "StorageResolution"], 1.0), "resolution 1.0"),
        (changed([*FIRST, "Metrics", 0, "StorageResolution"], True), "resolution True"),
        (changed([*FIRST, "Metrics", 0, "Unit"], None), "unknown unit None"),
        (changed([*FIRST, "Metrics", 0, "Unit"], "milliseconds"), "unknown unit 'milliseconds'"),
        (changed([*FIRST, "Metrics", 0, "Unit"], "Seconds/Second"), "unknown unit 'Seconds/Second'"),
        (changed([*FIRST, "Metrics", 0, "Unit"], "Count/Second/Second"), "unknown unit 'Count/Second/Second'"),
        (changed([*FIRST, "Metrics", 0, "Name"], "   "), "is no text of 1 to 1024"),
        (changed([*FIRST, "Metrics", 0, "Name"], "note"), "metric note has the value 'None', which is no number"),
        (changed(["Time"], {"nested": 1}), "which is no number"),
        (changed(["Time"], [[1]]), "which is no number"),
        (changed(["Time"], 10**400), "beyond what CloudWatch keeps"),
        (changed(["Service"], "   "), "dimension 'Service' is no ASCII text"),
        (changed(["Service"], "a\tb"), "dimension 'Service' is no ASCII text"),
        (changed(["Service"], "a\x7f"), "dimension 'Service' is no ASCII text"),
        (changed(["Service"], ["api"]), "dimension 'Service' has no text"),
        (changed([*FIRST, "Dimensions"], []), "Dimensions holds no set"),
        (changed([*FIRST, "Dimensions"], None), "Dimensions is no list of lists"),
        (changed([*FIRST, "Dimensions"], [{"Service": "api"}]), "Dimensions is no list of lists"),
        (changed([*FIRST, "Dimensions"], [[7]]), "dimension name 7 is no ASCII text"),
        (changed([*FIRST, "Dimensions"], [["a\nb"]]), "is no ASCII text of 1 to 250"),
        (changed([*FIRST, "Dimensions"], [["  "]]), "is no ASCII text of 1 to 250"),
        (changed([*FIRST, "Namespace"], ""), "Namespace '' is no name"),
        (changed([*FIRST, "Namespace"], "x" * 256), "Namespace has 256 characters; at most 255"),
        (changed([*FIRST, "Namespace"], "two words"), "is no name of allowed"),
        (changed([*FIRST, "Namespace"], ":colon"), "is no name of allowed"),
        (changed([*FIRST, "Namespace"], 7), "is no name of allowed"),
        (changed([*FIRST, "Namespace"], "AWS/Lambda"), "is reserved"),
        (changed([*FIRST, "Namespace"], "EdgeModelPackager"), "Operation None is no row of the catalog"),
        (ours({"Operation": "Elsewhere"}), "Operation 'Elsewhere' is no row of the catalog"),
        (ours({"bytes_secret": 5}), "PlanPackage declares no bytes_secret"),
        (ours({}, Unit="Seconds"), "PlanPackage declares Duration in Milliseconds, not in Seconds"),
        (ours({}, StorageResolution=1), "PlanPackage declares Duration with a resolution of 60 s"),
        (ours({"Other": 1}, Name="Other"), "PlanPackage declares no metric Other"),
        (ours({"Other": 1}, Name="Other"), "PlanPackage is reported without Duration"),
        (changed(["_aws", "Timestamp"], 1_700_000_000), "not milliseconds since 1970"),
        (changed(["_aws", "Timestamp"], 1.7e12), "not milliseconds since 1970 as an integer"),
        (changed(["_aws", "Timestamp"], 1_700_000_000_000_000), "not milliseconds since 1970"),
        (changed(["_aws", "Timestamp"], "2024-01-01T00:00:00Z"), "not milliseconds since 1970"),
        (changed(["_aws", "Timestamp"], True), "not milliseconds since 1970"),
        (without("Timestamp"), "Timestamp is None, not milliseconds"),
        (two_directives("Time", "Time"), "Time is both metric and dimension"),
        (changed(["_aws", "CloudWatchMetrics"], []), "no metric directive"),
        (changed(["_aws", "CloudWatchMetrics"], [1]), "no object"),
        (changed(["_aws"], {}), "_aws holds no list CloudWatchMetrics"),
        (changed(["note"], "x" * 60_000), "at most 60,000 reach CloudWatch"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1, "a": 2}', "a member stands twice: ['a']"),
        ("[1]", "is a JSON list"),
        ("half a li", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": "\ud800', "is no JSON"),
        (json.dumps(SOUND) + json.dumps(SOUND), "is no JSON: Extra data"),
        ("", "is no JSON"),
        ('{"level": "info", "event": "x"}', "a log line without timestamp"),
        ('{"timestamp": "t", "level": "loud", "event": "x"}', "the level 'loud' is none of debug, info"),
        ('{"timestamp": "t", "level": "info", "event": "PlanPackage", "x": 1}', "PlanPackage declares no x"),
        ('{"timestamp": "t", "level": "error", "event": "x"}', "does not say the next step"),
    ],
)
def test_a_broken_line_is_named(line, finding):
    assert any(finding in found for found in check_line(line)), check_line(line)


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["_aws", "CloudWatchMetrics", "Metrics", "Dimensions", "Name", "Namespace", "a"]), x
            )
        ),
    ).map(json.dumps)
)
def test_no_line_makes_the_checker_or_the_reader_fail(line):
    check_line(line)
    list(emf.read([line]))


def test_findings_tell_their_line():
    assert check_lines([json.dumps(SOUND), "x"]) == ["line 2: is no JSON: Expecting value: line 1 column 1 (char 0)"]


def check(path, text=None):
    return subprocess.run(
        [sys.executable, "-m", "telemetry", "check", path], check=False, capture_output=True, text=True, input=text
    )


def test_the_command_ends_with_0_1_or_2(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(json.dumps(SOUND) + "\n")
    bad.write_text(json.dumps(SOUND) + "\n\n")
    assert (check(good).returncode, check(good).stdout.splitlines()[0]) == (0, f"{good}: 1 lines, 0 findings")
    assert check(bad).returncode == 1
    assert "line 2: is no JSON" in check(bad).stdout
    assert check("-", json.dumps(SOUND)).returncode == 0
    missing = check(tmp_path / "none")
    assert (missing.returncode, "No such file" in missing.stderr) == (2, True)


def test_what_is_read_back_is_what_was_put_in():
    found = list(emf.read(["2024-01-01T00:00:00.000Z " + json.dumps(SOUND), "no line of ours", '{"event": "_aws"}']))
    assert [(point.metric, point.dimensions, point.values, point.unit) for point in found] == [
        ("Time", (("Service", "api"),), (1.5,), "Milliseconds"),
        ("Time", (), (1.5,), "Milliseconds"),
        ("Sizes", (("Service", "api"),), (1, 2, 3), "Bytes/Second"),
        ("Sizes", (), (1, 2, 3), "Bytes/Second"),
    ]
    assert {(point.timestamp_ms, point.namespace) for point in found} == {(1_700_000_000_000, "Elsewhere")}
    assert found[0].properties == {"note": None}
