"""The checker knows every limit of the embedded metric format: at the limit a line passes, one above it does not."""

import copy
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import emf
from telemetry.conformance import check_line, check_lines

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


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(SOUND),
        many(100),
        dimensions(30),
        changed(["Sizes"], list(range(100))),
        changed(["Service"], "x" * 1024),
        changed([*FIRST, "Namespace"], "x" * 256),
        changed([*FIRST, "Metrics", 0, "StorageResolution"], 1),
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
        (changed([*FIRST, "Namespace"], ""), "Namespace '' is no name"),
        (changed([*FIRST, "Namespace"], "x" * 257), "is no name of 1 to 256"),
        (changed([*FIRST, "Namespace"], "two words"), "is no name of 1 to 256 allowed"),
        (changed([*FIRST, "Namespace"], "AWS/Lambda"), "is reserved"),
        (changed([*FIRST, "Namespace"], "EdgeModelPackager"), "Operation None is no row of the catalog"),
        (changed(["_aws", "Timestamp"], 1_700_000_000), "not milliseconds since 1970"),
        (changed(["_aws", "Timestamp"], 1.7e12), "not milliseconds since 1970 as an integer"),
        (changed(["_aws", "CloudWatchMetrics"], []), "no metric directive"),
        (changed(["_aws", "CloudWatchMetrics"], [1]), "no object"),
        (changed(["_aws"], {}), "_aws holds no list CloudWatchMetrics"),
        (changed(["note"], "x" * 60_000), "at most 60,000 reach CloudWatch"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1, "a": 2}', "a member stands twice: ['a']"),
        ("[1]", "is a JSON list"),
        ("half a li", "is no JSON"),
        ("", "is no JSON"),
        ('{"level": "info", "event": "x"}', "a log line without timestamp"),
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
    assert (check(good).returncode, check(good).stdout) == (0, f"{good}: 1 lines, 0 findings\n")
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
