import json
import textwrap
from xml.etree import ElementTree as ET

import pytest

from dashboards.cloudwatch.commands import main

ALARMS = {
    "MetricAlarms": [
        {
            "AlarmName": "disk",
            "Namespace": "N",
            "MetricName": "Used",
            "Dimensions": [{"Name": "Host", "Value": "a"}],
            "Statistic": "Maximum",
            "Period": 60,
            "EvaluationPeriods": 3,
            "DatapointsToAlarm": 2,
            "Threshold": 90,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
        },
        {
            "AlarmName": "deploying",
            "Namespace": "N",
            "MetricName": "Deploying",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        },
    ],
    "CompositeAlarms": [
        {
            "AlarmName": "page",
            "AlarmRule": "ALARM(disk)",
            "ActionsSuppressor": "deploying",
            "ActionsSuppressorWaitPeriod": 60,
            "ActionsSuppressorExtensionPeriod": 120,
        }
    ],
}


@pytest.fixture
def alarms(tmp_path):
    path = tmp_path / "alarms.json"
    path.write_text(json.dumps(ALARMS))
    return path


def run(tmp_path, text, *options):
    path = tmp_path / "test.yaml"
    path.write_text(textwrap.dedent(text))
    return main(["test", str(path), *map(str, options)])


PASSING = """
    tests:
      - name: two of three full minutes fire, the next good ones end it
        series:
          - {metric: "N/Used{Host=a}", values: 50 95 50 95 50x9}
        expect:
          - {alarm: disk, at: 3m, is: OK}
          - {alarm: disk, at: 4m, is: ALARM}
          - {alarm: disk, fires: [4m]}
          - {alarm: page, calls: [5m]}
      - name: nothing is said while it is deployed
        interval: 30s
        series:
          - {metric: N/Used, dimensions: {Host: a}, values: 95x9}
          - {metric: N/Deploying, values: 1x7 0x1}
        expect:
          - {alarm: page, at: 2m, is: ALARM}
          - {alarm: page, calls: [7m]}
"""


def test_a_test_file_that_holds_passes(tmp_path, alarms, capsys):
    assert run(tmp_path, PASSING, "--alarms", alarms) == 0
    assert capsys.readouterr().out == "2 passed, 0 failed\n"


def test_a_test_file_may_name_its_alarms_itself(tmp_path, alarms):
    assert run(tmp_path, f"alarms: [{alarms.name}]" + textwrap.dedent(PASSING)) == 0


def test_an_alarm_whose_actions_are_switched_off_calls_nobody(tmp_path, capsys):
    path = tmp_path / "alarms.json"
    path.write_text(json.dumps({"MetricAlarms": [ALARMS["MetricAlarms"][0] | {"ActionsEnabled": False}]}))
    series = "[{metric: 'N/Used{Host=a}', values: 95x5}]"
    text = f"tests: [{{series: {series}, expect: [{{alarm: disk, fires: [2m]}}, {{alarm: disk, calls: []}}]}}]"
    assert run(tmp_path, text, "--alarms", path) == 0, capsys.readouterr().out


def test_a_failure_shows_the_series_the_evaluation_and_the_difference(tmp_path, alarms, capsys):
    junit = tmp_path / "junit.xml"
    text = """
        tests:
          - name: too eager
            series: [{metric: "N/Used{Host=a}", values: 50 95 _ 95}]
            expect:
              - {alarm: disk, at: 2m, is: ALARM}
              - {alarm: page, fires: [1m]}
    """
    assert run(tmp_path, text, "--alarms", alarms, "--junit", junit) == 1
    out = capsys.readouterr().out
    for line in (
        "disk at 2m: expected ALARM, was OK",
        "series  Maximum of N/Used{Host=a}: 50 95 _ 95",
        "judged  2 of 3 periods of 60 s >= 90, missing is notBreaching",
        "window  at 2m: ---0X = _ _ _ 50 95",
        "states  0s INSUFFICIENT_DATA, 1m OK, 4m ALARM",
        "page fires: expected at 1m, was at 4m",
        "child   disk: 0s INSUFFICIENT_DATA, 1m OK, 4m ALARM",
        "0 passed, 1 failed",
    ):
        assert line in out
    suite = ET.parse(junit).getroot()  # noqa: S314  our own output
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall("testcase/failure"))) == ("1", "1", 2)


@pytest.mark.parametrize(
    ("test", "named"),
    [
        ("{name: t, series: []}", "nothing is expected"),
        (
            "{name: t, expect: [{alarm: nobody, at: 1m, is: OK}]}",
            "no alarm of 3 is called 'nobody'; there are deploying",
        ),
        ("{name: t, expect: [{alarm: dusk, fires: 1m}]}", "is called 'dusk'; there are disk"),
        ("{name: t, expect: [{alarm: disk, is: OK}]}", "write both"),
        ("{name: t, expect: [{alarm: disk, at: 1m, is: FIRING}]}", "'FIRING' is no state"),
        ("{name: t, expect: [5]}", "the test cannot be read"),
        ("5", "the test cannot be read"),
        ("{name: t, expect: [{alarm: disk}]}", "expects nothing"),
        ("{name: t, series: [{values: 1}], expect: [{alarm: disk, fires: []}]}", "a series needs"),
        ("{name: t, expect: [{alarm: disk, at: soon, is: OK}]}", "'soon' is no duration"),
    ],
)
def test_a_test_that_cannot_run_fails_and_says_why(tmp_path, alarms, capsys, test, named):
    assert run(tmp_path, f"tests: [{test}]", "--alarms", alarms) == 1
    assert named in capsys.readouterr().out


def test_a_file_that_is_no_test_is_an_error(tmp_path, alarms, capsys):
    assert run(tmp_path, "tests: 5", "--alarms", alarms) == 2
    assert "`tests` is to be a list" in capsys.readouterr().err


TEMPLATE = """
    Parameters: {Limit: {Type: Number, Default: 90}}
    Resources:
      Topic: {Type: AWS::SNS::Topic}
      Disk:
        Type: AWS::CloudWatch::Alarm
        Properties:
          Namespace: N
          MetricName: Used
          Dimensions: [{Name: Topic, Value: !GetAtt Topic.TopicName}]
          Statistic: Maximum
          Period: 60
          EvaluationPeriods: 1
          Threshold: !Ref Limit
          ComparisonOperator: GreaterThanThreshold
          AlarmActions: [!Ref Topic]
      Page:
        Type: AWS::CloudWatch::CompositeAlarm
        Properties:
          AlarmName: !Sub "${AWS::StackName}-page"
          AlarmRule: !Sub "ALARM(${Disk}) OR ALARM(\\"${Disk.Arn}\\")"
          ActionsSuppressor: !GetAtt Disk.Arn
"""


def test_alarms_of_a_cloudformation_template_can_be_tested(tmp_path):
    template = tmp_path / "template.yaml"
    template.write_text(textwrap.dedent(TEMPLATE))
    text = """
        tests:
          - series: [{metric: "N/Used{Topic=${Topic.TopicName}}", values: 95}]
            expect: [{alarm: "${AWS::StackName}-page", at: 1m, is: ALARM}, {alarm: Disk, at: 1m, is: ALARM}]
    """
    assert run(tmp_path, text, "--template", template) == 0


CHOSEN = """
    Parameters: {Stage: {Type: String, Default: prod}, Secret: {Type: String}}
    Mappings: {Limits: {prod: {Load: 5}}}
    Conditions:
      IsProd: !Equals [!Ref Stage, prod]
      IsTest: !Not [!Condition IsProd]
      Either: !Or [!Condition IsTest, !And [!Condition IsProd, !Equals [a, a]]]
    Resources:
      Load: &load
        Type: AWS::CloudWatch::Alarm
        Condition: Either
        Properties: &properties
          AlarmName: !Join ["-", [!Ref Stage, !Select [1, !Split ["/", "a/load"]]]]
          Namespace: N
          MetricName: Load
          Statistic: Sum
          Period: "60"
          EvaluationPeriods: !If [IsProd, "1", "9"]
          DatapointsToAlarm: !If [IsTest, "9", !Ref AWS::NoValue]
          Threshold: !FindInMap [Limits, !Ref Stage, Load]
          ComparisonOperator: GreaterThanThreshold
      Test: {Type: AWS::CloudWatch::Alarm, Condition: IsTest, Properties: *properties}
      Unknown:
        Type: AWS::CloudWatch::Alarm
        Properties: {<<: *properties, AlarmName: a, Threshold: !Ref Secret}
      Imported:
        Type: AWS::CloudWatch::Alarm
        Properties: {<<: *properties, AlarmName: b, Threshold: !ImportValue other}
"""


def test_what_a_template_decides_is_decided_and_what_only_a_deployment_knows_is_named(tmp_path, capsys):
    template = tmp_path / "template.yaml"
    template.write_text(textwrap.dedent(CHOSEN))
    text = "tests: [{series: [{metric: N/Load, values: 5 6}], expect: [{alarm: prod-load, fires: 2m}]}]"
    assert run(tmp_path, text, "--template", template) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"not evaluated: {template}: {reason}"
        for reason in (
            "Test: its condition IsTest does not hold with Stage='prod'; --parameter Stage=VALUE",
            "Unknown (a): Threshold is ${Secret}, which only a deployment knows; --parameter Secret=VALUE",
            'Imported (b): Threshold is ${ImportValue("other")}, which only a deployment knows',
        )
    ]


BANDED = """
AlarmName: a
ThresholdMetricId: e
Metrics: [{Id: m, ReturnData: false, MetricStat: {Metric: {Namespace: N, MetricName: M}, Period: 60, Stat: Sum}}"""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("MetricAlarms: [{Namespace: N}]", "'MetricName' is missing"),
        ("MetricAlarms: 5", "MetricAlarms is to be a list"),
        ("Resources: {A: {Type: AWS::CloudWatch::Alarm}}", "A: 'Namespace' is missing"),
        ("Resources: 5", "holds neither alarms nor a template"),
        ("{version: 4, lineage: x, resources: []}", "is a state as Terraform keeps it; give the output of terraform"),
        (f"{BANDED}, {{Id: e, Expression: BAND(m), ReturnData: true}}]", "0 queries beside its band return data; an"),
    ],
)
def test_a_file_of_alarms_that_cannot_be_read_is_an_error(tmp_path, capsys, text, named):
    (tmp_path / "alarms.yaml").write_text(text)
    assert run(tmp_path, "tests: []", "--alarms", tmp_path / "alarms.yaml") == 2
    err = capsys.readouterr().err
    assert named in err
    assert "alarms.yaml" in err


BAND = {"AlarmName": "band", "EvaluationCriteria": {"PromQLCriteria": {"Query": "up == 0"}}, "EvaluationInterval": 60}


def test_alarms_of_a_dump_that_cannot_be_evaluated_are_named_and_the_others_tested(tmp_path, capsys):
    over = [
        {"AlarmName": "over", "AlarmRule": "ALARM(band)"},
        {"AlarmName": "top", "AlarmRule": "OK(over) OR ALARM(disk)"},
    ]
    dump = {"MetricAlarms": [*ALARMS["MetricAlarms"], BAND], "CompositeAlarms": [*ALARMS["CompositeAlarms"], *over]}
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(dump))
    assert run(tmp_path, PASSING, "--alarms", path) == 0
    err = capsys.readouterr().err
    assert f"not evaluated: {path}: band: EvaluationCriteria: a PromQL query is not evaluated" in err
    assert f"not evaluated: {path}: over: watches band, which is not among the alarms" in err
    assert f"not evaluated: {path}: top: watches over" in err


EMF = {
    "_aws": {
        "Timestamp": 0,
        "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["Host"]], "Metrics": [{"Name": "Used"}]}],
    },
    "Host": "a",
}


def recorded(values):
    for minute, value in enumerate(values):
        envelope = EMF["_aws"] | {"Timestamp": 1_700_000_040_000 + minute * 60_000}
        yield json.dumps(EMF | {"_aws": envelope, "Used": value})


EXPORTS = {
    "plain": lambda lines: "START RequestId\n" + "\n".join(lines),
    "S3 export": lambda lines: "\n".join(f"2026-01-01T00:00:00.000Z {line}" for line in lines),
    "filter-log-events": lambda lines: json.dumps({"events": [{"timestamp": 1, "message": line} for line in lines]}),
    "Logs Insights": lambda lines: json.dumps({"results": [[{"field": "@message", "value": line}] for line in lines]}),
}


@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)
def test_recorded_lines_of_every_export_are_simulated_alike(tmp_path, alarms, capsys, export):
    path = tmp_path / "telemetry.log"
    path.write_text(export(list(recorded([50, 95, 95, 50, 50, 95, 95, 50, 50, 95, 95]))))
    assert main(["simulate", str(path), "--alarms", str(alarms), "--json"]) == 0
    verdicts = {verdict["name"]: verdict for verdict in json.loads(capsys.readouterr().out)}
    assert verdicts["disk"]["fired_s"] == [180, 420, 660]
    assert verdicts["disk"]["delays_s"] == [120, 120, 120]
    assert verdicts["disk"]["flapping"]
    assert verdicts["page"]["called_s"] == [240, 480, 720]
    assert not verdicts["deploying"]["seen"]


def test_a_recording_can_be_what_a_test_is_about(tmp_path, alarms):
    (tmp_path / "telemetry.jsonl").write_text("\n".join(recorded([50, 95, 95])))
    text = "tests: [{recorded: telemetry.jsonl, expect: [{alarm: disk, fires: [3m]}]}]"
    assert run(tmp_path, text, "--alarms", alarms) == 0


def test_simulate_says_of_many_changes_the_first_and_the_last(tmp_path, alarms, capsys):
    path = tmp_path / "series.yaml"
    path.write_text(f"series: [{{metric: N/Deploying, values: {'0 1 ' * 20}0 _ 1}}]")
    assert main(["simulate", str(path), "--alarms", str(alarms)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if " deploying: " in line)
    assert line.split(": ", 1)[1] == (
        "0s INSUFFICIENT_DATA, 1m OK, 2m ALARM, 3m OK, 4m ALARM, 5m OK, ... 35 more changes ..., 41m OK, 43m ALARM"
        " (60 s after the first bad point; called 21 of 21 times; in ALARM for 20m; flapping)"
    )


def test_simulate_says_in_words_what_happened(tmp_path, alarms, capsys):
    path = tmp_path / "series.yaml"
    path.write_text("series: [{metric: 'N/Used{Host=a}', values: 95 95 50}]")
    assert main(["simulate", str(path), "--alarms", str(alarms)]) == 0
    out = capsys.readouterr().out
    notes = "120 s after the first bad point; called 1 of 1 times; in ALARM for 1m"
    assert f"disk: 0s INSUFFICIENT_DATA, 1m OK, 2m ALARM ({notes})" in out
    assert "deploying: 0s INSUFFICIENT_DATA, 1m OK (saw no data)" in out


@pytest.mark.parametrize(
    "line",
    [
        '{"_aws": {"CloudWatchMetrics": [{"Metrics": [{}]}]}}',
        '{"_aws": {"CloudWatchMetrics": [{"Metrics": "x", "Dimensions": 5}], "Timestamp": "now"}}',
        '{"_aws": {"CloudWatchMetrics": [{"Metrics": [{"Name": "a"}]}], "Timestamp": "now"}, "a": 1}',
        '{"_aws": {"CloudWatchMetrics": [5]}',
        '{"a": [',
    ],
)
def test_lines_that_break_the_format_are_passed_over(tmp_path, alarms, capsys, line):
    path = tmp_path / "telemetry.jsonl"
    path.write_text("\n".join([line, *recorded([50, 95, 95])]))
    assert main(["simulate", str(path), "--alarms", str(alarms), "--json"]) == 0
    verdicts = {verdict["name"]: verdict for verdict in json.loads(capsys.readouterr().out)}
    assert verdicts["disk"]["fired_s"] == [180]


def test_a_file_without_metrics_is_an_error(tmp_path, alarms, capsys):
    path = tmp_path / "empty.log"
    path.write_text("nothing\n")
    assert main(["simulate", str(path), "--alarms", str(alarms)]) == 2
    assert "holds no EMF line" in capsys.readouterr().err


def test_alarms_of_a_test_file_that_are_not_evaluated_are_named_and_one_file_needs_no_list(tmp_path, capsys):
    resources = {
        "Odd": {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Period": 45}},
        "C": {"Type": "Custom::Alarm"},
    }
    good = {"Namespace": "N", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1}
    good |= {"Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
    resources["Good"] = {"Type": "AWS::CloudWatch::Alarm", "Properties": good}
    (tmp_path / "stack.json").write_text(json.dumps({"Resources": resources}))
    test = {"name": "t", "series": [{"metric": "N/m", "values": "5"}], "expect": [{"alarm": "Good", "fires": ["1m"]}]}
    (tmp_path / "tests.yaml").write_text(json.dumps({"alarms": "stack.json", "tests": [test]}))
    assert main(["test", str(tmp_path / "tests.yaml")]) == 0
    err = capsys.readouterr().err
    assert [line.split(": ")[2] for line in err.splitlines()] == ["Odd", "C"]
    (tmp_path / "tests.yaml").write_text(json.dumps({"alarms": 5, "tests": [test]}))
    assert main(["test", str(tmp_path / "tests.yaml")]) == 2


@pytest.mark.parametrize("key", ["at", "fires", "calls", "until", "start"])
def test_a_moment_beyond_all_history_is_refused(tmp_path, key, capsys):
    alarm = {"AlarmName": "a", "Namespace": "N", "MetricName": "m", "Statistic": "Sum", "Period": 60}
    alarm |= {"EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
    (tmp_path / "alarms.json").write_text(json.dumps(alarm))
    expected = {"alarm": "a", "at": "1m", "is": "OK"}
    far = {"at": {"at": "9" * 40}, "fires": {"fires": ["99999999d"]}, "calls": {"calls": ["99999999d"]}}
    test = {"name": "t", "series": [{"metric": "N/m", "values": "0 0"}], "expect": [expected | far.get(key, {})]}
    if key in {"fires", "calls"}:
        test["expect"] = [{"alarm": "a", **far[key]}]
    test |= {"until": {"until": "9" * 400}, "start": {"start": "9999-99-99"}}.get(key, {})
    (tmp_path / "t.yaml").write_text(json.dumps({"alarms": "alarms.json", "tests": [test]}))
    assert main(["test", str(tmp_path / "t.yaml")]) in {1, 2}
    assert "Traceback" not in capsys.readouterr().err
