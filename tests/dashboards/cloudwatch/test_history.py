"""History fetched, alarms replayed over it, and what a change of alarms would have changed."""

import json
import shlex
from xml.etree import ElementTree as ET

import botocore.session
import pytest
from botocore.validate import validate_parameters

from dashboards.cloudwatch.commands import main

ALARM = {
    "AlarmName": "errors",
    "Namespace": "Shop",
    "MetricName": "Errors",
    "Dimensions": [{"Name": "Host", "Value": "a"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = "series: [{metric: 'Shop/Errors{Host=a}', values: 0 9 0 0 7 0 0 0 0 0}]"
    (tmp_path / "history.yaml").write_text(history)
    write(tmp_path / "old.json", ALARM)
    return tmp_path


def write(path, *alarms):
    metric = [each for each in alarms if "AlarmRule" not in each]
    composite = [each for each in alarms if "AlarmRule" in each]
    path.write_text(json.dumps({"MetricAlarms": metric, "CompositeAlarms": composite}))


def test_a_backtest_says_how_often_and_how_long_and_how_late(folder, capsys):
    assert main(["backtest", "old.json", "--history", "history.yaml"]) == 0
    out = capsys.readouterr().out
    assert "errors: 0s INSUFFICIENT_DATA, 1m OK, 2m ALARM, 3m OK, 5m ALARM, 6m OK" in out
    assert "60 s after the first bad point; called 2 of 2 times; in ALARM for 2m" in out
    assert main(["backtest", "old.json", "--history", "history.yaml", "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert (verdict["called_s"], verdict["alarm_s"], verdict["longest_s"]) == ([120, 300], 120, 60)


PAGE = {"AlarmName": "page", "AlarmRule": "ALARM(errors)"}


def test_a_change_is_shown_with_the_calls_before_and_now_and_with_what_it_affects(folder, capsys):
    write(folder / "old.json", ALARM, PAGE, ALARM | {"AlarmName": "gone"}, ALARM | {"AlarmName": "same"})
    changed = ALARM | {"Threshold": 8}
    write(folder / "new.json", changed, PAGE, ALARM | {"AlarmName": "fresh"}, ALARM | {"AlarmName": "same"})
    assert main(["diff", "old.json", "new.json", "--history", "history.yaml"]) == 0
    out = capsys.readouterr().out
    assert "4 alarms differ over 10m of history: 6 calls before, 4 now." in out
    for told in ("errors (changed)", "Threshold: 5 -> 8", "page (affected)", "gone (removed)", "fresh (added)"):
        assert told in out
    assert f"  before {'.' * 12}!#####{'.' * 12}!#####{'.' * 24}  2 calls at 2m, 5m\n" in out
    assert f"  now    {'.' * 12}!#####{'.' * 42}  1 calls at 2m\n" in out
    assert "same" not in out
    assert main(["diff", "old.json", "new.json", "--history", "history.yaml", "--exit-code"]) == 1
    capsys.readouterr()
    assert main(["diff", "old.json", "old.json", "--history", "history.yaml", "--exit-code"]) == 0
    assert "No alarm differs" in capsys.readouterr().out


def test_a_change_is_a_comment_and_a_page_in_which_no_name_is_markup(folder, capsys):
    name = "a|b<script>alert(1)</script>"
    write(folder / "old.json", ALARM | {"AlarmName": name})
    write(folder / "new.json", ALARM | {"AlarmName": name, "Threshold": 8})
    diff = ["diff", "old.json", "new.json", "--history", "history.yaml"]
    assert main([*diff, "--format", "markdown"]) == 0
    comment = capsys.readouterr().out
    assert (
        "| a\\|b&lt;script&gt;alert(1)&lt;/script&gt; | changed | 2 calls at 2m, 5m | 1 calls at 2m | -1 |" in comment
    )
    assert main([*diff, "--format", "html", "--out", "diff.html"]) == 0
    page = (folder / "diff.html").read_text()
    assert "<script>" not in page
    svg = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])  # noqa: S314  our own output
    classes = [shape.get("class") for shape in svg]
    assert (classes.count("alarm"), classes.count("call"), classes.count("bar")) == (3, 3, 2)


def test_an_alarm_that_this_history_cannot_judge_is_named_and_the_others_are_judged(folder, capsys):
    write(folder / "old.json", ALARM, ALARM | {"AlarmName": "late", "Statistic": None, "ExtendedStatistic": "p99"})
    label = "Shop/Errors{Host=a} | Sum | 60"
    times = [f"2025-11-28T00:{minute:02}:00Z" for minute in range(5)]
    results = {"MetricDataResults": [{"Id": "q1", "Label": label, "Timestamps": times, "Values": [0, 9, 0, 0, 0]}]}
    (folder / "gmd.json").write_text(json.dumps(results))
    assert main(["backtest", "old.json", "--history", "gmd.json"]) == 0
    streams = capsys.readouterr()
    assert "errors: 0s INSUFFICIENT_DATA, 1m OK, 2m ALARM, 3m OK" in streams.out
    assert "not evaluated: late: p99 was not among what CloudWatch returned: Sum" in streams.err


def test_the_calls_that_are_printed_are_calls_that_aws_takes_and_their_results_feed_the_alarms(folder, capsys):
    average = ALARM | {
        "AlarmName": "slow",
        "MetricName": "Latency",
        "Statistic": "Average",
        "Period": 300,
        "Unit": "Seconds",
    }
    tail = average | {"AlarmName": "tail", "Statistic": None, "ExtendedStatistic": "p99"}
    write(folder / "old.json", ALARM, average, tail)
    assert main(["queries", "old.json", "--start", "2d", "--end", "2100-01-01T00:00:00Z"]) == 0
    (command,) = capsys.readouterr().out.splitlines()
    words = shlex.split(command)
    assert words[:3] == ["aws", "cloudwatch", "get-metric-data"]
    assert words[-2:] == [">", "history-1.json"]
    queries = json.loads(words[words.index("--metric-data-queries") + 1])
    given = {"MetricDataQueries": queries, "StartTime": words[words.index("--start-time") + 1], "EndTime": "2100-01-01"}
    model = botocore.session.get_session().get_service_model("cloudwatch").operation_model("GetMetricData")
    validate_parameters(given, model.input_shape)
    assert [each["Label"].split(" | ", 1)[1] for each in queries] == [
        "Sum | 60",
        "Sum | 60",
        "SampleCount | 60",
        "p99 | 300",
    ]
    results = [
        {"Id": each["Id"], "Label": each["Label"], "Timestamps": ["2025-11-28T00:00:00Z"], "Values": [9.0]}
        for each in queries
    ]
    (folder / "history-1.json").write_text(json.dumps({"MetricDataResults": results}))
    assert main(["backtest", "old.json", "--history", "history-1.json"]) == 0
    assert "not evaluated" not in capsys.readouterr().err


def test_of_an_old_history_only_long_periods_are_kept(folder, capsys):
    for start, period in (("10d", 60), ("20d", 300), ("70d", 3600)):
        assert main(["queries", "old.json", "--start", start]) == 0
        assert f"| Sum | {period}" in capsys.readouterr().out


def test_a_metric_that_only_a_deployment_knows_is_named(folder, capsys):
    write(folder / "old.json", ALARM | {"Dimensions": [{"Name": "Host", "Value": "${Host}"}]})
    assert main(["queries", "old.json", "--start", "1d"]) == 1
    assert "not asked for: Shop/Errors{Host=${Host}}" in capsys.readouterr().err
