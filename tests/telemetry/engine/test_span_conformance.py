"""Recorded spans are held against the registry, and what was seen of the catalog is counted."""

import itertools
import json

import pytest

import telemetry
from telemetry import catalog
from telemetry.__main__ import main
from telemetry.check import check_lines, check_span_line


@pytest.fixture
def line(tmp_path):
    """One line of a failed span."""
    with telemetry.to_directory(tmp_path), telemetry.observe(catalog.READ_ARTIFACT, store="s3", bytes_read=5) as step:
        step.fail(ValueError("no"))
    return json.loads((tmp_path / "spans.jsonl").read_text().splitlines()[0])


def changed(line, **span):
    found = json.loads(json.dumps(line))
    scope = found["resourceSpans"][0]["scopeSpans"][0]
    scope["spans"][0] |= span
    return json.dumps(found)


def with_attribute(line, key, value):
    attributes = line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    kept = [pair for pair in attributes if pair["key"] != key]
    return changed(line, attributes=[*kept, *([{"key": key, "value": value}] if value else [])])


def test_what_we_write_passes(line):
    assert check_span_line(json.dumps(line)) == check_lines([json.dumps(line)]) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda line: changed(line, name="read a book"), "read a book: is no span of the registry"),
        (lambda line: changed(line, kind=3), "read artifact: is of kind client, not internal"),
        (lambda line: changed(line, traceId="xyz"), "traceId 'xyz' is no 32 hexadecimal digits"),
        (lambda line: changed(line, endTimeUnixNano="1"), "ends before it starts"),
        (
            lambda line: with_attribute(line, "packager.speed", {"intValue": "5"}),
            "packager.read_artifact has no packager.speed",
        ),
        (lambda line: with_attribute(line, "packager.bytes_read", {"stringValue": "5"}), "not of type int"),
        (lambda line: with_attribute(line, "packager.bytes_read", {"doubleValue": 5.0}), "not of type int"),
        (lambda line: with_attribute(line, "packager.store", {"intValue": "5"}), "not of type string"),
        (lambda line: with_attribute(line, "error.type", None), "failed without error.type"),
        (lambda line: changed(line, name="S3.GetObject", kind=3), "S3.GetObject: lacks rpc.method"),
        (lambda line: json.dumps(line).replace("1.44.0", "1.20.0"), "names the conventions"),
        (lambda _: "{", "is no line of OTLP: JSONDecodeError"),
        (lambda _: '{"resourceSpans": [{}]}', "is no line of OTLP: KeyError"),
        (lambda line: changed(line, attributes=[{}]), "is no line of OTLP: KeyError"),
    ],
)
def test_what_the_registry_does_not_know_is_a_finding(change, fault, line):
    assert any(fault in found for found in check_span_line(change(line))), check_span_line(change(line))


def test_spans_of_others_are_passed_over(line):
    line["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"] = "another instrumentation"
    assert check_span_line(changed(line, name="theirs")) == []


def test_synthetic_runs_show_the_whole_catalog_conform_and_lie_where_they_were_asked_for(tmp_path, capsys):
    assert main(["emit", str(tmp_path), "--runs", "40", "--apart", "3600", "--failing", "0.3", "--seed", "7"]) == 0
    files = [str(tmp_path / "telemetry.jsonl"), str(tmp_path / "spans.jsonl")]
    capsys.readouterr()
    assert main(["check", *files, "--unseen"]) == 0
    shown = capsys.readouterr().out
    spans = 40 * len(catalog.ROWS) + 1  # the recording closes with a health line of its own
    assert f"{files[1]}: {spans:,} lines, 0 findings" in shown
    rows, metrics = len(catalog.ROWS), sum(len(row.all_metrics) for row in catalog.ROWS)
    assert f"seen of the catalog: {rows} of {rows} rows, {metrics} of {metrics} metrics, " in shown
    documents = [json.loads(line) for line in (tmp_path / "telemetry.jsonl").read_text().splitlines()]
    emf = [document for document in documents if document.get("Operation") == "PackageTarget"]
    assert 4 <= sum(document["Failure"] for document in emf) <= 22
    hours = [
        (later["_aws"]["Timestamp"] - earlier["_aws"]["Timestamp"]) / 3_600_000
        for earlier, later in itertools.pairwise(emf)
    ]
    assert all(0.9 < hour < 1.1 for hour in hours)


def values(folder):
    documents = [json.loads(line) for line in (folder / "telemetry.jsonl").read_text().splitlines()]
    return [
        {
            key: value
            for key, value in one.items()
            if not key.endswith(("trace_id", "span_id")) and key not in {"timestamp", "_aws", "stack"}
        }
        for one in documents
    ]


def test_the_same_seed_gives_the_same_values(tmp_path):
    for folder in ("one", "two", "three"):
        assert main(["emit", str(tmp_path / folder), "--runs", "2", "--seed", "3" if folder != "three" else "4"]) == 0
    assert values(tmp_path / "one") == values(tmp_path / "two") != values(tmp_path / "three")


def test_what_was_not_seen_is_listed_on_request(tmp_path, capsys):
    with telemetry.to_directory(tmp_path), telemetry.observe(catalog.READ_ARTIFACT, store="s3", bytes_read=5):
        pass
    assert main(["check", str(tmp_path / "telemetry.jsonl"), str(tmp_path / "spans.jsonl"), "--unseen"]) == 0
    shown = capsys.readouterr().out
    metrics = len({"Duration", "Success", "Failure", "BytesRead"}) + len(catalog.TELEMETRY_HEALTH.all_metrics)
    assert f"seen of the catalog: 2 of {len(catalog.ROWS)} rows, {metrics} of " in shown
    assert "not seen: metrics: ReadArtifact.Requests\n" in shown
    assert "not seen: values: ReadArtifact.Store=file\n" in shown
    assert "not seen: spans: package target\n" in shown
    assert "ReadArtifact.BytesRead" not in shown
