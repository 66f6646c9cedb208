"""Other people's files: each alarm is evaluated, or named with file, logical id and reason."""

import json
import textwrap

import pytest

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.alarm_files import read_definitions
from dashboards.cloudwatch.commands import main
from dashboards.cloudwatch.errors import DashboardError, DefinitionError

PLAIN = (
    "Namespace: X, MetricName: Y, Statistic: Sum, Period: 60, EvaluationPeriods: 1, Threshold: 1, "
    "ComparisonOperator: GreaterThanThreshold"
)
PARAMETERS = {
    "AlarmName": "x",
    "Namespace": "R",
    "MetricName": "m",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}


def definitions(folder, text, *, name="template.yaml", **parameters):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return read_definitions([path], {key.replace("__", "::"): value for key, value in parameters.items()})


def template(**resources):
    return "Resources:\n" + "".join(f"  {name}: {body}\n" for name, body in resources.items())


def alarm(extra="", **attributes):
    more = "".join(f", {name}: {value}" for name, value in attributes.items())
    return f"{{Type: AWS::CloudWatch::Alarm{more}, Properties: {{{PLAIN}{extra}}}}}"


def told(found):
    return [(each.source.logical_id, each.reason) for each in found.unevaluated]


def test_one_alarm_that_cannot_be_evaluated_keeps_nobody_from_the_others(tmp_path):
    dump = {"MetricAlarms": [PARAMETERS, PARAMETERS | {"AlarmName": "bad", "Period": 45}]}
    found = definitions(tmp_path, dump, name="dump.json")
    assert list(found.alarms) == ["x"]
    assert [str(each) for each in found.unevaluated] == [
        f"{tmp_path / 'dump.json'}: bad: period 45 s; CloudWatch takes 10, 20, 30 or a multiple of 60"
    ]


CONDITIONAL = """
Parameters:
  TopicArn: {Type: String, Default: ''}
Conditions:
  HasTopic: !Not [!Equals [!Ref TopicArn, '']]
"""


def test_an_alarm_behind_a_condition_that_does_not_hold_is_named_and_a_parameter_brings_it(tmp_path):
    text = CONDITIONAL + template(Cpu=alarm(", AlarmActions: [!Ref TopicArn]", Condition="HasTopic"))
    with pytest.raises(DefinitionError, match=r"none of its alarms can be evaluated:\n.*Cpu: its condition HasTopic"):
        definitions(tmp_path, text)
    found = definitions(tmp_path, text + template(Other=alarm()).removeprefix("Resources:\n"))
    assert told(found) == [("Cpu", "its condition HasTopic does not hold with TopicArn=''; --parameter TopicArn=VALUE")]
    found = definitions(tmp_path, text, TopicArn="arn:aws:sns:eu-west-1:1:t")
    assert found.alarms["Cpu"].actions["ALARM"] == ("arn:aws:sns:eu-west-1:1:t",)
    with pytest.raises(DefinitionError, match=r"no file has the parameter 'TopicArm'; there are TopicArn"):
        definitions(tmp_path, text, TopicArm="x")


def test_a_condition_on_what_only_a_deployment_knows_is_named_until_somebody_says_it(tmp_path):
    text = textwrap.dedent("""
        Parameters: {Stage: {Type: String}}
        Conditions:
          Known: !Equals [!Ref AWS::Region, eu-west-1]
          Both: !And [!Condition Known, !Equals [!Ref Stage, prod]]
    """) + template(A=alarm(Condition="Both"), B=alarm())
    found = definitions(tmp_path, text)
    assert told(found) == [("A", "its condition Both is for a deployment to decide; --parameter AWS::Region=VALUE")]
    assert list(definitions(tmp_path, text, AWS__Region="eu-west-1", Stage="prod").alarms) == ["A", "B"]
    assert told(definitions(tmp_path, text, Stage="test"))[0][1].startswith("its condition Both does not hold")


def test_the_value_of_an_ssm_parameter_is_not_its_default(tmp_path):
    head = "Parameters: {Limit: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /limits/load}}\n"
    text = head + template(A=alarm().replace("Threshold: 1", "Threshold: !Ref Limit"), B=alarm())
    assert told(definitions(tmp_path, text)) == [
        ("A", "Threshold is ${Limit}, which only a deployment knows; --parameter Limit=VALUE")
    ]
    assert definitions(tmp_path, text, Limit="7").alarms["A"].threshold == 7


def test_what_a_deployment_knows_becomes_a_placeholder_that_is_equal_to_itself(tmp_path):
    dimension = ', Dimensions: [{Name: LoadBalancer, Value: !Select [1, !Split ["/", !Ref Listener]]}]'
    found = definitions(tmp_path, template(Listener="{Type: X}", A=alarm(dimension), B=alarm(dimension), C=alarm()))
    assert found.unevaluated == []
    assert found.alarms["A"].metrics == found.alarms["B"].metrics
    (metric,) = found.alarms["A"].metrics
    assert str(metric) == 'X/Y{LoadBalancer=${Select(1, Split("/", Listener))}}'
    (tmp_path / "test.yaml").write_text(
        f"tests: [{{series: [{{metric: {json.dumps(str(metric))}, values: 0 2}}], expect: [{{alarm: A, fires: 2m}}]}}]"
    )
    assert main(["test", str(tmp_path / "test.yaml"), "--alarms", str(tmp_path / "template.yaml")]) == 0


INTRINSICS = {
    "!Sub '${AWS::StackName}-${Topic.TopicName}-${!literal}'": "${AWS::StackName}-${Topic.TopicName}-${literal}",
    "!Sub ['${a}/${Stage}', {a: !Ref Stage}]": "prod/prod",
    "!Join ['-', [a, !Ref Stage, b]]": "a-prod-b",
    "!Select [1, [a, b]]": "b",
    "!Select [0, !Ref Names]": "first",
    "!Select [1, !Split ['/', 'a/b']]": "b",
    "!FindInMap [Map, !Ref Stage, key]": "mapped",
    "!FindInMap [Map, other, key, {DefaultValue: fallback}]": "fallback",
    "!FindInMap [Map, !Ref AWS::Region, key]": '${FindInMap("Map", AWS::Region, "key")}',
    "!If [IsProd, this, that]": "this",
    "!If [InRegion, same, same]": "same",
    "!GetAtt Queue.Arn": "${Queue.Arn}",
    "!GetAtt [Queue, Arn]": "${Queue.Arn}",
    "!ImportValue other": '${ImportValue("other")}',
    "!Ref Queue": "${Queue}",
    "!Sub 'arn:${AWS::Partition}:x'": "arn:aws:x",
    "!Base64 x": '${Base64("x")}',
    "{'Fn::ToJsonString': {a: 1}}": '{"a": 1}',
    "!Join ['', ['n', {'Fn::Length': [1, 2]}]]": "n2",
    "'{{resolve:ssm:/a/b}}'": "{{resolve:ssm:/a/b}}",
}


@pytest.mark.parametrize(("written", "known"), INTRINSICS.items())
def test_every_intrinsic_function_is_worked_out_as_far_as_it_can_be(tmp_path, written, known):
    head = textwrap.dedent("""
        Parameters:
          Stage: {Type: String, Default: prod}
          Names: {Type: CommaDelimitedList, Default: 'first, second'}
        Mappings: {Map: {prod: {key: mapped}}}
        Conditions: {IsProd: !Equals [!Ref Stage, prod], InRegion: !Equals [!Ref AWS::Region, x]}
    """)
    found = definitions(tmp_path, head + template(A=alarm(f", Dimensions: [{{Name: N, Value: {written}}}]")))
    assert found.alarms["A"].metrics == (Metric("X", "Y", (("N", known),)),)


FOREACH = """
Transform: AWS::LanguageExtensions
Parameters: {Queues: {Type: CommaDelimitedList, Default: 'in,out'}}
Resources:
  'Fn::ForEach::Outer':
    - N
    - [a, b-c]
    - 'Al&{N}':
        Type: AWS::CloudWatch::Alarm
        Properties: {%s, Dimensions: [{Name: Q, Value: !Ref N}]}
      'Fn::ForEach::Inner':
        - Q
        - !Ref Queues
        - 'Al&{N}${Q}':
            Type: AWS::CloudWatch::Alarm
            Properties: {%s, Dimensions: [{Name: Q, Value: !Sub '${N}/${Q}'}]}
  Plain: {Type: AWS::CloudWatch::Alarm, Properties: {%s}}
"""


def test_loops_are_written_out(tmp_path):
    found = definitions(tmp_path, FOREACH % (PLAIN, PLAIN, PLAIN))
    assert found.unevaluated == []
    assert {name: dict(alarm.metrics[0].dimensions).get("Q") for name, alarm in found.alarms.items()} == {
        "Ala": "a", "Alain": "a/in", "Alaout": "a/out",
        "Albc": "b-c", "Albcin": "b-c/in", "Albcout": "b-c/out",
        "Plain": None,
    }  # fmt: skip


def test_what_may_hold_alarms_elsewhere_is_named(tmp_path):
    text = "Transform: [AWS::Serverless-2016-10-31, MyMacro]\n" + template(
        Nested="{Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: x}}",
        Application="{Type: AWS::Serverless::Application}",
        New="{Type: AWS::CloudWatch::QuantumAlarm}",
        A=alarm(),
    )
    found = definitions(tmp_path, text)
    assert list(found.alarms) == ["A"]
    assert {where: reason.split(",")[0].split(":")[0] for where, reason in told(found)} == {
        "Nested": "a nested stack",
        "Application": "a nested stack",
        "New": "AWS",
        "Transform": "the macro MyMacro may add alarms",
    }


def test_a_composite_over_an_alarm_that_is_not_evaluated_is_named_with_the_reason(tmp_path):
    text = template(
        A=alarm(", AlarmName: a"),
        L="{Type: AWS::CloudWatch::LogAlarm, Properties: {AlarmName: l, ComparisonOperator: GreaterThanThreshold,"
        " Threshold: 0, QueryResultsToAlarm: 1, QueryResultsToEvaluate: 1}}",
        C="{Type: AWS::CloudWatch::CompositeAlarm, Properties: {AlarmName: c, AlarmRule: 'ALARM(a) OR ALARM(l)'}}",
    )
    found = definitions(tmp_path, text)
    assert list(found.alarms) == ["a"]
    assert [str(each).removeprefix(f"{tmp_path}/") for each in found.unevaluated] == [
        "template.yaml: L (l): 'ScheduledQueryConfiguration' is missing",
        f"template.yaml: C (c): watches l, which is not among the alarms ({found.unevaluated[0]})",
    ]
    with pytest.raises(DefinitionError, match="none of its alarms can be evaluated"):
        definitions(tmp_path, text.split("  C:")[0].replace(f"  A: {alarm(', AlarmName: a')}\n", ""))


def test_composites_that_watch_each_other_are_named_and_the_rest_is_evaluated(tmp_path):
    rule = "{{Type: AWS::CloudWatch::CompositeAlarm, Properties: {{AlarmRule: 'ALARM({})'}}}}".format
    found = definitions(tmp_path, template(A=alarm(), X=rule("Y"), Y=rule("X"), Z=rule("A")))
    assert list(found.alarms) == ["A", "Z"]
    assert all("circle" in reason or "not among" in reason for _, reason in told(found))


def test_a_name_that_stands_twice_is_named(tmp_path):
    found = definitions(tmp_path, template(A=alarm(", AlarmName: a"), B=alarm(", AlarmName: a")))
    assert told(found) == [
        ("B", f"the name stands in {tmp_path}/template.yaml: A too; in CloudWatch the later one wins")
    ]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (", Treshold: 5", "property 'Treshold' is not known to this version; is it Threshold?"),
        (", Unit: count", "unit 'count' is none of CloudWatch's; is it Count?"),
        (", TreatMissingData: fine", "TreatMissingData 'fine'; there are missing, ignore, breaching, notBreaching"),
        (", EvaluationCriteria: {PromQLCriteria: {Query: up}}", "EvaluationCriteria: a PromQL query is not evaluated"),
        (", Dimensions: [{Name: a, Val: b}]", "property 'Val' is not known"),
        (", Dimensions: 5", "cannot be read: "),
    ],
)
def test_what_is_wrong_or_new_in_an_alarm_is_named(tmp_path, extra, reason):
    ((where, found),) = told(definitions(tmp_path, template(A=alarm(extra), B=alarm())))
    assert where == "A"
    assert found.startswith(reason)


# -- other formats ----------------------------------------------------------------------------------------------------

TERRAFORM = {
    "alarm_name": "x", "namespace": "R", "metric_name": "m", "statistic": "Sum", "period": 60, "evaluation_periods": 1,
    "threshold": 1, "comparison_operator": "GreaterThanThreshold",
}  # fmt: skip
RULE = {"Schedule": {"Expression": "cron(0 2 * * *)", "Duration": "PT1H"}}
FORMATS = {
    "parameters of PutMetricAlarm": PARAMETERS,
    "a list of them": [PARAMETERS],
    "describe-alarms": {
        "MetricAlarms": [PARAMETERS | {"StateValue": "OK", "AlarmArn": "arn:x"}],
        "CompositeAlarms": [],
    },
    "get-template": {
        "TemplateBody": {"Resources": {"X": {"Type": "AWS::CloudWatch::Alarm", "Properties": PARAMETERS}}}
    },
    "serverless.yml": {"resources": {"Resources": {"X": {"Type": "AWS::CloudWatch::Alarm", "Properties": PARAMETERS}}}},
    "tf.json": {"resource": {"aws_cloudwatch_metric_alarm": {"x": TERRAFORM}}},
    "tf.json with a variable": {
        "variable": {"limit": {"default": 1}},
        "resource": {"aws_cloudwatch_metric_alarm": {"x": [TERRAFORM | {"threshold": "${var.limit}"}]}},
    },
}


@pytest.mark.parametrize("data", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_alarm(tmp_path, data):
    expected = definitions(tmp_path, PARAMETERS, name="put.json").alarms["x"]
    found = definitions(tmp_path, data, name="file.json")
    assert found.unevaluated == []
    assert list(found.alarms.values()) == [expected]


PLAN = {
    "planned_values": {
        "root_module": {
            "resources": [
                {
                    "address": "aws_cloudwatch_metric_alarm.x",
                    "type": "aws_cloudwatch_metric_alarm",
                    "values": TERRAFORM | {"dimensions": {"Host": "a"}, "datapoints_to_alarm": None, "tags": {}},
                }
            ],
            "child_modules": [
                {
                    "resources": [
                        {
                            "address": "module.web.aws_cloudwatch_metric_alarm.rate[0]",
                            "type": "aws_cloudwatch_metric_alarm",
                            "values": {
                                "alarm_name": "rate", "evaluation_periods": 2, "threshold": 5,
                                "comparison_operator": "GreaterThanThreshold", "alarm_actions": ["arn:t"],
                                "metric_query": [
                                    {"id": "e", "expression": "a * 2", "return_data": True, "metric": []},
                                    {"id": "a", "metric": [{"namespace": "N", "metric_name": "m", "period": 300,
                                                            "stat": "Sum", "dimensions": {}}]},
                                ],
                            },
                        },
                        {
                            "address": "module.web.aws_cloudwatch_composite_alarm.both",
                            "type": "aws_cloudwatch_composite_alarm",
                            "values": {"alarm_name": "both", "alarm_rule": "ALARM(x)", "actions_suppressor": [
                                {"alarm": "rate", "wait_period": 60, "extension_period": 120}]},
                        },
                        {"address": "module.web.aws_sns_topic.t", "type": "aws_sns_topic", "values": {}},
                    ]
                }
            ],
        }
    },
    "resource_changes": [
        {"address": "aws_cloudwatch_metric_alarm.x", "change": {"after_unknown": {"dimensions": {"Balancer": True}}}},
        {
            "address": "module.web.aws_cloudwatch_metric_alarm.rate[0]",
            "change": {"after_unknown": {"metric_query": [{"metric": []}, {"metric": [{"dimensions": {"Q": True}}]}]}},
        },
    ],
    "configuration": {
        "root_module": {
            "resources": [
                {
                    "address": "aws_cloudwatch_metric_alarm.x",
                    "expressions": {"dimensions": {"references": ["aws_lb.main.arn_suffix", "aws_lb.main"]}},
                }
            ],
        }
    },
}  # fmt: skip


def test_a_plan_of_terraform_is_read_with_its_modules_and_with_what_is_known_after_the_apply(tmp_path):
    found = definitions(tmp_path, PLAN, name="plan.json")
    assert found.unevaluated == []
    assert found.alarms["x"].metrics == (Metric("R", "m", (("Balancer", "${aws_lb.main.arn_suffix}"), ("Host", "a"))),)
    rate, both = found.alarms["rate"], found.alarms["both"]
    (metric,) = rate.metrics
    assert metric.dimensions[0][1].startswith("${module.web.aws_cloudwatch_metric_alarm.rate[0].metric_query")
    assert (rate.result, rate.period_s, rate.actions["ALARM"]) == ("e", 300, ("arn:t",))
    assert (both.suppressor, both.wait_s, both.extension_s) == ("rate", 60, 120)
    assert found.sources["rate"].logical_id == "module.web.aws_cloudwatch_metric_alarm.rate[0]"


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"for_each": "${var.names}"}, "for_each is for Terraform to work out"),
        ({"period": "${var.period}"}, "Period is ${var.period}, which only a deployment knows"),
        ({"metric_query": {"id": "m"}}, "metric_query 'm' has neither a metric nor an expression"),
        ({"tresholds": 5}, "attribute 'tresholds' of Terraform is not known"),
    ],
)
def test_what_only_terraform_knows_is_named_with_its_address(tmp_path, extra, reason):
    other = TERRAFORM | {"alarm_name": "y"}
    data = {"resource": {"aws_cloudwatch_metric_alarm": {"x": TERRAFORM | extra, "y": other}}}
    ((where, found),) = told(definitions(tmp_path, data, name="main.tf.json"))
    assert where == "aws_cloudwatch_metric_alarm.x"
    assert found.startswith(reason)


def test_the_output_of_the_cdk_is_read_as_a_folder(tmp_path):
    out = tmp_path / "cdk.out"
    out.mkdir()
    for name in "ab":
        body = {"Resources": {name: {"Type": "AWS::CloudWatch::Alarm", "Properties": PARAMETERS | {"AlarmName": name}}}}
        (out / f"{name}.template.json").write_text(json.dumps(body))
    (out / "c.template.json").write_text(json.dumps({"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}))
    (out / "manifest.json").write_text("{}")
    assert list(read_definitions([out]).alarms) == ["a", "b"]


def test_mute_rules_and_dashboards_are_found_beside_the_alarms(tmp_path):
    properties = json.dumps({"Name": "night", "MuteTargets": {"AlarmNames": ["a"]}, "Rule": RULE})
    mute = f"{{Type: AWS::CloudWatch::AlarmMuteRule, Properties: {properties}}}"
    board = (
        "{Type: AWS::CloudWatch::Dashboard, Properties: {DashboardName: d, DashboardBody: !Sub '{\"widgets\": []}'}}"
    )
    found = definitions(tmp_path, template(A=alarm(), M=mute, D=board))
    assert [(rule.name, rule.alarms, rule.duration_s) for rule in found.mutes] == [("night", ("a",), 3600)]
    assert found.dashboards == {"d": {"widgets": []}}


@pytest.mark.parametrize("text", ["a: 1", "[]", "5", "", "Resources: {T: {Type: AWS::SNS::Topic}}", "{", "a: [", "\t"])
def test_a_file_without_alarms_is_an_error_that_names_it(tmp_path, text):
    with pytest.raises(DashboardError, match=r"template\.yaml"):
        definitions(tmp_path, text)


def test_a_function_that_is_given_what_it_does_not_take_names_its_alarm_and_leaves_the_others_whole(tmp_path):
    alarm = {"Namespace": "N", "MetricName": "m", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1}
    alarm |= {"ComparisonOperator": "GreaterThanThreshold", "Statistic": "Sum"}
    kind = "AWS::CloudWatch::Alarm"
    resources = {
        "Good": {"Type": kind, "Properties": alarm},
        "Far": {"Type": kind, "Properties": alarm | {"Namespace": {"Fn::Select": [5, ["a", "b"]]}}},
        "Odd": {"Type": kind, "Properties": [1]},
        "Name": {"Type": kind, "Properties": alarm | {"AlarmName": {"Fn::Select": ["x", ["a"]]}}},
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"Resources": resources}))
    found = read_definitions([path])
    assert [*found.alarms] == ["Good"]
    assert {each.source.logical_id for each in found.unevaluated} == {"Far", "Odd", "Name"}
    assert any("takes number 5 of 2 values" in each.reason for each in found.unevaluated)


def test_names_in_yaml_are_text_as_in_json(tmp_path):
    text = """
        Mappings: {Limits: {123456789012: {On: 3}, 1: {On: 4}}}
        Resources:
          No: {Type: AWS::CloudWatch::Alarm, Properties: {Namespace: N, MetricName: m, Statistic: Sum, Period: 60,
            EvaluationPeriods: 1, ComparisonOperator: GreaterThanThreshold,
            Threshold: !FindInMap [Limits, !Ref 'AWS::AccountId', 'On']}}
    """
    found = definitions(tmp_path, textwrap.dedent(text), **{"AWS::AccountId": "123456789012"})
    assert {name: alarm.threshold for name, alarm in found.alarms.items()} == {"No": 3.0}


BOARDS = """
Parameters: {P: {Type: Number}}
Conditions: {Never: !Equals [a, b]}
Resources:
  Good: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardName: good, DashboardBody: '{"widgets": []}'}}
  Again: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardName: good, DashboardBody: '{"widgets": []}'}}
  Number: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: !Sub '{"widgets": [{"width": ${P}}]}'}}
  Import: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: !ImportValue x}}
  Wrong: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: !Select [3, [a]]}}
  Absent: {Type: AWS::CloudWatch::Dashboard, Condition: Never, Properties: {DashboardBody: '{"widgets": []}'}}
  List: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: '[]'}}
  Empty: {Type: AWS::CloudWatch::Dashboard}
"""


def test_a_dashboard_that_cannot_be_worked_out_is_named_with_its_file_and_logical_id(tmp_path):
    found = definitions(tmp_path, BOARDS)
    reasons = {each.source.logical_id: each.reason for each in found.unevaluated}
    assert all(str(each).startswith(f"{tmp_path}") and each.dashboard for each in found.unevaluated)
    assert [*found.dashboards] == ["good"]
    expected = {
        "Again": "the name stands in",
        "Number": "it holds what only a deployment knows; --parameter P=VALUE",
        "Import": "it holds what only a deployment knows",
        "Wrong": "Fn::Select takes number 3 of 1 values",
        "Absent": "its condition Never does not hold",
        "List": "its DashboardBody has no `widgets`",
        "Empty": "its DashboardBody has no `widgets`",
    }
    assert reasons.keys() == expected.keys()
    assert [name for name, part in expected.items() if part not in reasons[name]] == []
    assert {*definitions(tmp_path, BOARDS, P="6").dashboards} == {"good", "Number"}


def test_a_loop_over_what_only_a_deployment_knows_is_named_and_the_rest_is_evaluated(tmp_path):
    loops = """
          Fn::ForEach::Late: [N, !Ref Later, {'A${N}': {Type: AWS::CloudWatch::Alarm}}]
          Fn::ForEach::Buckets: [N, !Ref Later, {'B${N}': {Type: AWS::S3::Bucket}}]
    """
    text = (
        "Parameters: {Later: {Type: CommaDelimitedList}}\n"
        + template(Cpu=alarm())
        + textwrap.dedent(loops).replace("\nFn", "\n  Fn")
    )
    found = definitions(tmp_path, text)
    assert [*found.alarms] == ["Cpu"]
    expected = "Fn::ForEach::Late: its collection is ${Later}, which only a deployment knows; --parameter Later=VALUE"
    assert told(found) == [("Fn::ForEach::Late", expected)]


def test_whatever_may_make_alarms_is_named(tmp_path):
    others = {
        "Include": {"Type": "AWS::CloudFormation::StackSet", "Properties": {}},
        "Module": {"Type": "My::Team::Alarms::MODULE", "Properties": {}},
        "Custom": {"Type": "Custom::AlarmMaker", "Properties": {}},
        "Bucket": {"Type": "Custom::Bucket", "Properties": {}},
        "Fn::Transform": {"Name": "AWS::Include", "Parameters": {"Location": "s3://b/x"}},
        "Cpu": {"Type": "AWS::CloudWatch::Alarm", "Properties": PARAMETERS},
        "New": {"Type": "AWS::CloudWatch::Alarm", "Properties": {**PARAMETERS, "AlarmName": "n", "Xyzzy": 1}},
    }
    found = definitions(tmp_path, json.dumps({"Resources": others}), name="t.json")
    named = {each.source.logical_id for each in found.unevaluated}
    assert named == {"Include", "Module", "Custom", "Fn::Transform", "New"}
    assert "property 'Xyzzy' is not known" in found.reason("n")
    kinds = ("aws_cloudwatch_log_alarm", "awscc_cloudwatch_alarm", "aws_cloudformation_stack", "aws_sqs_queue")
    planned = [{"address": f"{kind}.x", "type": kind, "values": {"name": "x"}} for kind in kinds]
    planned.append(
        {"address": "a.b", "type": "aws_cloudwatch_dashboard", "values": {"dashboard_body": '{"widgets": []}'}}
    )
    found = definitions(tmp_path, json.dumps({"values": {"root_module": {"resources": planned}}}), name="s.json")
    assert [each.source.logical_id for each in found.unevaluated] == [f"{kind}.x" for kind in kinds[:3]]


def test_a_template_within_a_reply_is_read_as_yaml_too_and_so_are_several_documents(tmp_path):
    inner = template(Cpu=alarm())
    assert [*definitions(tmp_path, json.dumps({"TemplateBody": inner}), name="t.json").alarms] == ["Cpu"]
    assert [*definitions(tmp_path, f"---\n{inner}\n---\n{template(Disk=alarm())}").alarms] == ["Cpu", "Disk"]


def test_what_a_deployment_calls_a_resource_may_be_given(tmp_path):
    text = template(
        Cpu=alarm(", Dimensions: [{Name: A, Value: !Ref Queue}, {Name: B, Value: !GetAtt Queue.QueueName}]")
    )
    found = definitions(
        tmp_path, text + "  Queue: {Type: AWS::SQS::Queue}\n", **{"Queue": "url", "Queue.QueueName": "q"}
    )
    assert found.alarms["Cpu"].metrics[0].dimensions == (("A", "url"), ("B", "q"))
    with pytest.raises(DefinitionError, match=r"no file has the parameter 'Quene.QueueName'"):
        definitions(tmp_path, text, **{"Quene.QueueName": "q"})


ALIASES = "a: &a [1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Resources: &r {A: {Type: T, Properties: &p {B: [*p]}}}", "aliases stand for themselves"),
        (ALIASES, "values and more"),
        ("Resources:\n  A: {Type: T}\n  A: {Type: T}\n", "the resource A stands twice"),
        ('{"Resources": {"A": {"Type": "T"}, "A": {"Type": "T"}}}', "the resource A stands twice"),
        ("a: " + "[" * 3000 + "]" * 3000, "cannot be read"),
        ("\x00", "cannot be read"),
    ],
    ids=["itself", "many", "twice", "twice in JSON", "deep", "binary"],
)  # fmt: skip
def test_a_file_that_would_lose_something_or_never_end_is_refused(tmp_path, text, reason):
    with pytest.raises(DefinitionError, match=reason):
        definitions(tmp_path, text)


@pytest.mark.parametrize("section", ["Parameters", "Conditions", "Mappings", "Transform", "Metadata"])
@pytest.mark.parametrize("value", [5, "x", [1], None, {"A": 5}])
def test_a_section_of_a_template_that_is_of_another_kind_keeps_nobody_from_the_alarms(tmp_path, section, value):
    resources = {"Cpu": {"Type": "AWS::CloudWatch::Alarm", "Properties": {**PARAMETERS, "Dimensions": []}}}
    found = definitions(tmp_path, json.dumps({section: value, "Resources": resources}), name="t.json")
    assert [*found.alarms] == ["x"]


def test_functions_within_each_other_do_not_double_without_end(tmp_path):
    doubled = "x"
    conditions = {"C0": {"Fn::Equals": ["a", "a"]}}
    for number in range(40):
        conditions[f"C{number + 1}"] = {"Fn::And": [{"Condition": f"C{number}"}] * 2}
        doubled = {"Fn::Sub": ["${A}${A}", {"A": doubled}]}
    resources = {"Cpu": {"Type": "AWS::CloudWatch::Alarm", "Condition": "C40", "Properties": PARAMETERS}}
    resources["Large"] = {"Type": "AWS::CloudWatch::Alarm", "Properties": {**PARAMETERS, "AlarmName": doubled}}
    found = definitions(tmp_path, json.dumps({"Conditions": conditions, "Resources": resources}), name="t.json")
    assert [*found.alarms] == ["x"]
    assert "letters; at most" in found.unevaluated[0].reason


@pytest.mark.parametrize("command", [["lint"], ["test"], ["queries", "--start", "1d"], ["backtest", "--history", "x"]])
def test_a_command_without_a_file_says_that_it_needs_one(command, capsys):
    assert main(command) == 2
    assert "name a file with" in capsys.readouterr().err
