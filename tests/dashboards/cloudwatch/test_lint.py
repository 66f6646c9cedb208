"""What reading alarms finds; the page that explains it; and the formats that other tools read."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from dashboards.cloudwatch.alarm_files import read_definitions
from dashboards.cloudwatch.backtest import bounds_s
from dashboards.cloudwatch.commands import changing, main
from dashboards.cloudwatch.lint import RULES, lint
from dashboards.cloudwatch.recording import add_series
from dashboards.cloudwatch.series import Store

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "cloudwatch.md"
GOOD = {
    "AlarmName": "a",
    "Namespace": "Shop",
    "MetricName": "Load",
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
    "AlarmActions": ["arn:t"],
    "OKActions": ["arn:t"],
}
QUIET = {key: value for key, value in GOOD.items() if not key.endswith("Actions")}
HISTORY = [{"metric": "Shop/Load", "values": "1 9 2 3", "unit": "Percent"}]


def composite(name, rule, **more):
    return {"AlarmName": name, "AlarmRule": rule, "AlarmActions": ["arn:up"], "OKActions": ["arn:up"], **more}


def found(folder, *alarms, history=None):
    path = folder / "alarms.json"
    path.write_text(json.dumps(list(alarms)))
    store = None
    if history is not None:
        store = Store()
        add_series(store, {"series": history}, "history")
    definitions = read_definitions([path])
    return [(each.rule, each.name) for each in lint(definitions, store, bounds_s(store) if store else (0, 0))]


def test_an_alarm_without_a_fault_is_left_in_peace(tmp_path):
    assert found(tmp_path, GOOD) == []
    assert found(tmp_path, GOOD, history=HISTORY) == []


LAMBDA = {"Namespace": "AWS/Lambda", "MetricName": "Errors", "Statistic": "Sum"}
SHORT = {"Period": 10, "EvaluationPeriods": 1200}
CASES = {
    "CW000": [GOOD | {"AlarmName": "x", "EvaluationCriteria": {"PromQLCriteria": {"Query": "up"}}}],
    "CW001": [GOOD | {"AlarmName": "x", "Unit": "Percent", "Threshold": 100}],
    "CW002": [GOOD | LAMBDA | {"AlarmName": "x", "Period": 10, "TreatMissingData": "notBreaching"}],
    "CW003": [GOOD | LAMBDA | {"AlarmName": "x"}],
    "CW004": [GOOD | {"AlarmName": "x", "DatapointsToAlarm": 4}],
    "CW005": [GOOD | {"AlarmName": "x", "EvaluationPeriods": 1441}],
    "CW009": [composite("x", "ALARM(a)", AlarmActions=["arn:t"])],
    "CW010": [composite("x", "ALARM(a) OR FALSE"), composite("y", "NOT (NOT ALARM(a))")],
    "CW011": [QUIET | {"AlarmName": "x"}],
    "CW012": [QUIET | {"AlarmName": "x", "AlarmActions": ["arn:u"]}],
    "CW014": [GOOD | SHORT | {"AlarmName": "x"}],
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_its_fault_and_no_other_rule_does(tmp_path, rule):
    assert found(tmp_path, GOOD, *CASES[rule]) == [(rule, "x")]


PERCENTILE = GOOD | {"AlarmName": "x", "Statistic": None, "ExtendedStatistic": "p99", "Threshold": 5}
WITH_HISTORY = {
    "CW006": PERCENTILE,
    "CW007": GOOD | {"AlarmName": "x", "Unit": "Count"},
    "CW008": GOOD | {"AlarmName": "x", "Threshold": 50},
    "CW013": GOOD | {"AlarmName": "x", "MetricName": "Laod"},
}


@pytest.mark.parametrize("rule", WITH_HISTORY)
def test_a_rule_about_the_past_finds_its_fault_only_with_a_history(tmp_path, rule):
    assert found(tmp_path, WITH_HISTORY[rule]) == []
    assert found(tmp_path, GOOD, WITH_HISTORY[rule], history=HISTORY) == [(rule, "x")]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("ALARM(a) AND NOT ALARM(a)", "CW001"), ("ALARM(a) OR NOT ALARM(a)", "CW001"), ("ALARM(a) AND OK(b)", None)],
)
def test_a_rule_of_a_composite_that_never_or_always_holds_is_found(tmp_path, rule, kept):
    other = GOOD | {"AlarmName": "b"}
    assert found(tmp_path, GOOD, other, composite("x", rule)) == ([(kept, "x")] if kept else [])


def test_percentages_that_everybody_knows_have_a_limit_without_a_unit_as_well(tmp_path):
    cpu = GOOD | {"MetricName": "CPUUtilization", "Threshold": 100}
    service = cpu | {"AlarmName": "b", "Namespace": "AWS/ECS"}  # takes more than it has reserved
    sum_ = cpu | {"AlarmName": "c", "Namespace": "AWS/RDS", "Statistic": "Sum"}
    assert found(tmp_path, cpu | {"Namespace": "AWS/EC2"}, service, sum_) == [("CW001", "a")]


def test_a_template_silences_a_rule_for_a_resource(tmp_path):
    resource = {"Type": "AWS::CloudWatch::Alarm", "Properties": QUIET}
    silenced = resource | {"Metadata": {"DashboardsLint": ["CW011"]}, "Properties": QUIET | {"AlarmName": "b"}}
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"Resources": {"Loud": resource, "Silent": silenced}}))
    assert [(each.rule, each.origin.logical_id) for each in lint(read_definitions([path]))] == [("CW011", "Loud")]


def test_a_dashboard_on_a_metric_that_no_alarm_and_no_emitter_knows_is_found(tmp_path):
    metrics = [["Shop", "Laod"], ["AWS/SQS", "Any"], [GOOD["Namespace"], GOOD["MetricName"]]]
    body = json.dumps({"widgets": [{"type": "metric", "properties": {"metrics": metrics}}, {"type": "metric"}]})
    dashboard = {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardName": "x", "DashboardBody": body}}
    quiet = {"Metadata": {"DashboardsLint": "CW015"}, "Properties": {"DashboardName": "y", "DashboardBody": body}}
    silent = dashboard | quiet
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"Resources": {"Board": dashboard, "Silent": silent}}))
    store = Store()
    add_series(store, {"series": HISTORY}, "history")
    assert lint(read_definitions([path])) == []
    found = lint(read_definitions([path]), store, bounds_s(store))
    assert [(each.rule, each.name, each.origin.logical_id) for each in found] == [("CW015", "x", "Board")]


@pytest.mark.parametrize("printed", [True, False], ids=["get-dashboard", "body"])
def test_a_body_of_a_dashboard_is_checked_beside_alarms(tmp_path, printed):
    body = {"widgets": [{"type": "metric", "properties": {"metrics": [["Shop", "Laod"]]}}]}
    (tmp_path / "x.json").write_text(
        json.dumps({"DashboardName": "x", "DashboardBody": json.dumps(body)} if printed else body)
    )
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    store = Store()
    add_series(store, {"series": HISTORY}, "history")
    read = read_definitions([tmp_path / "a.json", tmp_path / "x.json"])
    assert [(each.rule, each.name) for each in lint(read, store, bounds_s(store))] == [("CW015", "x")]


@pytest.mark.parametrize(("start", "told"), [("14d", False), ("20d", True)])
def test_what_is_asked_for_says_when_it_is_too_old_to_judge_by(tmp_path, capsys, start, told):
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    assert main(["queries", str(tmp_path / "a.json"), "--start", start]) == 0
    assert ("a: its periods of 60 s cannot be judged that far back" in capsys.readouterr().err) is told


@pytest.mark.parametrize("command", [["backtest", "--history", "h.csv"], ["queries", "--start", "1d"]])
def test_a_file_of_dashboards_alone_is_no_history_of_alarms(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_text('{"widgets": []}')
    Path("h.csv").write_text("timestamp,Shop/Load\n0,1\n")
    assert main([*command, "x.json"]) == 2
    assert "no alarm of x.json is evaluated" in capsys.readouterr().err


def test_every_rule_has_a_section_of_the_page_and_a_test():
    assert re.findall(r"^### (CW\d+)$", PAGE.read_text(), re.MULTILINE) == list(RULES)
    assert CASES.keys() | WITH_HISTORY.keys() | {"CW015"} == RULES.keys()


def closed(required, **properties):
    """An object of the members that SARIF's schema knows and that are written here, and no others."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def listed(items):
    return {"type": "array", "items": items}


TEXT = {"type": "string", "minLength": 1}
MESSAGE = closed(["text"], text=TEXT)
RULE = closed(["id"], id=TEXT, shortDescription=MESSAGE, help=MESSAGE)
REGION = closed([], startLine={"type": "integer", "minimum": 1})
PLACE = closed(["artifactLocation"], artifactLocation=closed([], uri=TEXT), region=REGION)
LOCATION = closed([], physicalLocation=PLACE, logicalLocations=listed(closed([], name=TEXT)))
RESULT = closed(
    ["message"],
    ruleId=TEXT,
    level={"enum": ["none", "note", "warning", "error"]},
    message=MESSAGE,
    locations=listed(LOCATION),
)
TOOL = closed(["driver"], driver=closed(["name"], name=TEXT, rules=listed(RULE)))
RUNS = listed(closed(["tool"], tool=TOOL, results=listed(RESULT)))
SARIF = closed(["version", "runs"], version={"const": "2.1.0"}, runs=RUNS, **{"$schema": TEXT})
"""SARIF 2.1.0 as far as it is written; https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html"""


def sarif_schema():
    """The published schema where SARIF_SCHEMA names it (the source distribution of cfn-lint has it), else ours."""
    given = os.environ.get("SARIF_SCHEMA")
    return json.loads(Path(given).read_text()) if given else SARIF


def test_findings_are_written_for_other_tools_with_their_place(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = json.dumps({"Resources": {"Loud": {"Type": "AWS::CloudWatch::Alarm", "Properties": QUIET}}}, indent=1)
    Path("template.json").write_text(text)
    assert main(["lint", "template.json", "--sarif", "lint.sarif", "--github"]) == 1
    out = capsys.readouterr().out
    told = "nobody hears it: it has no actions, and no composite watches it"
    assert f"template.json: Loud (a): CW011 {told}" in out
    assert f"::warning file=template.json,line=3,title=CW011::a: {told}" in out
    document = json.loads(Path("lint.sarif").read_text())
    assert [each.message for each in Draft7Validator(sarif_schema()).iter_errors(document)] == []
    (run,) = document["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    (result,) = run["results"]
    assert result["ruleId"] == "CW011"
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("template.json", 3)
    assert main(["lint", "template.json", "--ignore", "CW011"]) == 0
    assert main(["lint", "template.json", "--ignore", "CW999"]) == 2


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Where somebody stands who follows the page."""
    monkeypatch.chdir(tmp_path)
    for name, text in zip(("stack.yaml", "orders.yaml"), blocks("yaml"), strict=True):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_page_leads_from_nothing_to_a_first_failing_test(reader, capsys):
    assert main(["test", "orders.yaml", "--github"]) == 1
    out = capsys.readouterr().out
    (shown,) = re.findall(r"^```\n(FAILED.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert out.startswith(shown)
    assert "::error file=orders.yaml,line=3,title=somebody is called" in out
    stack = (reader / "stack.yaml").read_text()
    quicker = stack.replace("EvaluationPeriods: 3", "EvaluationPeriods: 3\n      DatapointsToAlarm: 2")
    (reader / "stack.yaml").write_text(quicker)
    assert main(["test", "orders.yaml"]) == 0


def test_the_plugin_tests_alarms_beside_the_code(reader):
    (reader / "test_orders.py").write_text(
        blocks("python")[0]
        + textwrap.dedent("""

        def test_too_early(cloudwatch_alarms):
            metric = "AWS/SQS/ApproximateAgeOfOldestMessage{QueueName=${Orders.QueueName}}"
            series = [{"metric": metric, "values": "0+60x60"}]
            cloudwatch_alarms.check([{"alarm": "orders-wait", "fires": ["20m"]}], series=series)

        def test_a_parameter(cloudwatch_alarms):
            assert cloudwatch_alarms.alarms["orders-wait"].threshold == 600
            assert cloudwatch_alarms.read("stack.yaml", Oldest="60").alarms["orders-wait"].threshold == 60
    """)
    )
    (reader / "pytest.ini").write_text("[pytest]\ncloudwatch_alarms = stack.yaml\n")
    # An installation registers the plugin by itself; a checkout that was installed before there was one does not.
    registered = {each.value for each in entry_points(group="pytest11")}
    plugin = (
        [] if "dashboards.cloudwatch.pytest_plugin" in registered else ["-p", "dashboards.cloudwatch.pytest_plugin"]
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "orders-wait fires: expected at 20m, was at 22m" in done.stdout


def test_watched_tests_run_again_when_a_file_changes_until_they_are_interrupted(reader):
    command = [sys.executable, "-u", "-m", "dashboards.cloudwatch", "test", "orders.yaml", "--watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as running:
        try:
            assert verdict(running) == "0 passed, 1 failed"
            stack = (reader / "stack.yaml").read_text()
            quicker = stack.replace("EvaluationPeriods: 3", "EvaluationPeriods: 3\n      DatapointsToAlarm: 2")
            (reader / "stack.yaml").write_text("Resources: [")
            assert "stack.yaml" in verdict(running, "stack.yaml")
            (reader / "stack.yaml").write_text(quicker)
            assert verdict(running) == "1 passed, 0 failed"
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0
        finally:
            running.kill()


def verdict(running, wanted=" passed, "):
    """The next line of the output that holds something."""
    return next(line.rstrip() for line in running.stdout if wanted in line)


def test_a_watched_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    changes = changing([path, tmp_path / "not there"], 0)
    next(changes)
    path.write_text("22")
    path.touch()
    next(changes)
    changes.close()
