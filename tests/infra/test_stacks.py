from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from dashboards.cloudwatch.body import problems
from dashboards.product.specs import alarm_parameters
from dashboards.product.stages import of_the_stage
from infra.environment import environment
from infra.monitoring_stack import catalog_of
from infra.values import MIB
from packager.portal import pre_traffic
from packager.portal.settings import cors_headers
from telemetry import observe, to_stdout
from telemetry.catalog import NAMESPACE, RESERVE_STORAGE
from telemetry.check import check_line
from tests.infra.conftest import EVERYTHING, SMALL, main_function, of_type, synthesize, templates

KEPT = {"AWS::Logs::LogGroup", "AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::KMS::Key", "AWS::Lambda::Version"}


def only(template, kind):
    (found,) = of_type(template, kind).values()
    return found


@pytest.mark.parametrize("deployment", [EVERYTHING, SMALL], ids=lambda each: each.stage)
def test_the_function_has_exactly_the_limits_of_the_settings(deployment, request):
    folder = request.getfixturevalue("everything" if deployment is EVERYTHING else "small")
    function = main_function(templates(folder)["service"])[1]
    assert function["FunctionName"] == deployment.function_name
    assert function["MemorySize"] * MIB == deployment.memory_bytes
    assert function["EphemeralStorage"]["Size"] * MIB == deployment.scratch_bytes
    assert function["Timeout"] == deployment.time_s
    assert function["ReservedConcurrentExecutions"] == deployment.reserved_concurrency
    assert function["Architectures"] == [deployment.architecture]
    assert function["Runtime"] == "python3.13"
    assert function["Handler"] == "packager.handler.handler"
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert "DeadLetterConfig" in function
    variables = dict(function["Environment"]["Variables"])
    assert variables.pop("DEAD_LETTER_QUEUE_URL")["Ref"].startswith("DeadLetters")
    assert "/probes" in json.dumps(variables.pop("PROBE_PLACE"))
    if deployment.user_pool:
        assert f":stateMachine:{deployment.function_name}" in json.dumps(variables.pop("REQUEST_MACHINE_ARN"))
    assert variables == environment(deployment)


def test_the_default_limits_are_those_the_models_need(service):
    function = main_function(service)[1]
    assert (function["EphemeralStorage"]["Size"], function["MemorySize"], function["Timeout"]) == (8192, 3008, 900)


@pytest.mark.parametrize("deployment", [EVERYTHING, SMALL], ids=lambda each: each.stage)
def test_every_alarm_of_the_catalog_is_deployed_as_it_is_tested(deployment, request):
    folder = request.getfixturevalue("everything" if deployment is EVERYTHING else "small")
    template = templates(folder)["monitoring"]
    expected = alarm_parameters(catalog_of(deployment))
    for kind, key in (
        ("AWS::CloudWatch::Alarm", "MetricAlarms"),
        ("AWS::CloudWatch::CompositeAlarm", "CompositeAlarms"),
    ):
        deployed = {p["AlarmName"]: unreferenced(p) for p in of_type(template, kind).values()}
        assert deployed.keys() == {each["AlarmName"] for each in expected[key]}
        for each in expected[key]:
            beyond = {"AlarmDescription", "AlarmActions", "OKActions"}
            there = deployed[each["AlarmName"]]
            assert {k: v for k, v in there.items() if k not in beyond} == {
                k: v for k, v in each.items() if k not in beyond
            }
            assert bool(there.get("AlarmActions")) == each["ActionsEnabled"]


def unreferenced(value):
    """The value with the text of each Fn::Sub in place of it."""
    if isinstance(value, dict):
        return value["Fn::Sub"] if value.keys() == {"Fn::Sub"} else {k: unreferenced(v) for k, v in value.items()}
    return [unreferenced(each) for each in value] if isinstance(value, list) else value


NAMES = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::CompositeAlarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::CodeDeploy::Application": "ApplicationName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::Logs::QueryDefinition": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Document": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
"""What has a name that an account and region knows once; everything else gets one from CloudFormation."""


def test_two_stages_in_one_account_share_no_name_and_no_metric(everything, small):
    def names(folder):
        found = {
            (kind, json.dumps(each[name]))
            for template in templates(folder).values()
            for kind, name in NAMES.items()
            for each in of_type(template, kind).values()
        }
        stacks = {("stack", path.name) for path in folder.glob("*.template.json")}
        return found | stacks

    def metrics(folder):
        text = json.dumps(templates(folder))
        return set(re.findall(rf'"({NAMESPACE}[^"\\]*)\\*"', text))

    assert not names(everything) & names(small)
    assert {kind for kind, _ in names(everything)} == {*NAMES, "stack"}
    assert (metrics(everything), metrics(small)) == ({f"{NAMESPACE}/test"}, {f"{NAMESPACE}/small"})


def test_the_stacks_fit_into_every_partition_of_aws(small):
    for template in templates(small).values():
        assert "arn:aws:" not in json.dumps(template)


def test_the_function_writes_its_metrics_where_its_stage_looks_for_them(service, capfd, monkeypatch):
    variables = main_function(service)[1]["Environment"]["Variables"]
    for name, value in variables.items():
        if isinstance(value, str):  # the address of the queue is known when it is deployed
            monkeypatch.setenv(name, value)
    with to_stdout(), observe(RESERVE_STORAGE, granted=1):
        pass
    (line,) = [each for each in capfd.readouterr().out.splitlines() if '"ReserveStorage"' in each and "_aws" in each]
    assert list(check_line(line)) == []
    (directive,) = json.loads(line)["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == EVERYTHING.names.namespace
    # And what is recorded of any stage is what the alarms and dashboards of the catalog look at offline.
    assert of_the_stage(EVERYTHING.names.namespace) == of_the_stage(NAMESPACE)


def test_every_alarm_links_to_a_runbook_that_the_deployment_shows(monitoring):
    boards = {each["DashboardName"] for each in of_type(monitoring, "AWS::CloudWatch::Dashboard").values()}
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        for alarm in of_type(monitoring, kind).values():
            text = alarm["AlarmDescription"]
            link = text["Fn::Sub"] if isinstance(text, dict) else text
            assert re.search(r"/dashboard/([\w-]+)", link)[1] in boards, link


def test_every_dashboard_is_one_that_cloudwatch_draws_and_shows_the_kills(monitoring):
    bodies = {
        each["DashboardName"]: json.loads(each["DashboardBody"]["Fn::Sub"])
        for each in of_type(monitoring, "AWS::CloudWatch::Dashboard").values()
    }
    assert {name: list(problems(body)) for name, body in bodies.items()} == {name: [] for name in bodies}
    drawn = json.dumps(bodies["edge-model-packager-test-service"])
    everywhere = json.dumps(bodies)
    for properties in of_type(monitoring, "AWS::Logs::MetricFilter").values():
        assert properties["MetricTransformations"][0]["MetricName"] in drawn
    assert '"QueueName", "edge-model-packager-test-dead-letters"' in everywhere


def test_events_are_tried_three_times_through_the_alias_before_they_are_dead_letters(service):
    tried = only(service, "AWS::Lambda::EventInvokeConfig")
    (alias,) = of_type(service, "AWS::Lambda::Alias")
    assert (json.dumps(alias) in json.dumps(tried["Qualifier"]), tried["MaximumRetryAttempts"]) == (True, 2)
    queue = next(iter(of_type(service, "AWS::SQS::Queue")))
    (rule,) = rules_with(service, "EventPattern")
    assert json.dumps(queue) in json.dumps(rule["Targets"][0]["DeadLetterConfig"])
    assert json.dumps(queue) in json.dumps(main_function(service)[1]["DeadLetterConfig"])


def test_a_dead_letter_is_a_ticket(service, monitoring):
    (alarm,) = (
        each
        for each in of_type(monitoring, "AWS::CloudWatch::Alarm").values()
        if each["AlarmName"] == "edge-model-packager-test-dead-letters"
    )
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": only(service, "AWS::SQS::Queue")["QueueName"]}]
    assert "Topicticket" in json.dumps(alarm["AlarmActions"])


LINES = {
    "2026-06-01T10:15:00.123Z 3f1c5b7e Task timed out after 900.10 seconds": "KilledForTime",
    "REPORT RequestId: 3f1c5b7e Duration: 900100.00 ms Max Memory Used: 300 MB Status: timeout": None,
    "RequestId: 3f1c5b7e Error: Runtime exited with error: signal: killed\nRuntime.ExitError": "KilledForMemory",
    "REPORT RequestId: 3f1c5b7e Duration: 5000.00 ms Status: error Error Type: Runtime.ExitError": None,
    "RequestId: 3f1c5b7e Error: Runtime exited with error: exit status 1\nRuntime.ExitError": None,
    "REPORT RequestId: 3f1c5b7e Duration: 5000.00 ms Max Memory Used: 300 MB": None,
}


def test_each_kill_is_counted_once_under_what_it_was_for(monitoring):
    patterns = {
        each["MetricTransformations"][0]["MetricName"]: each["FilterPattern"].strip('"')
        for each in of_type(monitoring, "AWS::Logs::MetricFilter").values()
    }
    for line, metric in LINES.items():
        assert [name for name, text in patterns.items() if text in line] == ([metric] if metric else [])


def test_composites_wait_for_the_alarms_they_watch(monitoring):
    names = {
        properties["AlarmName"]: logical
        for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        for logical, properties in of_type(monitoring, kind).items()
    }
    for logical, composite in of_type(monitoring, "AWS::CloudWatch::CompositeAlarm").items():
        waits = monitoring["Resources"][logical]["DependsOn"]
        watched = {names[name] for name in names if f'"{name}"' in composite["AlarmRule"]}
        assert watched
        assert watched <= set(waits)


def test_what_holds_data_outlives_the_stacks(service, monitoring):
    for template in (service, monitoring):
        for name, resource in template["Resources"].items():
            if resource["Type"] in KEPT:
                assert resource.get("DeletionPolicy") == "Retain", name
                assert resource.get("UpdateReplacePolicy") == "Retain", name


def test_every_log_group_forgets_after_the_days_of_the_settings(service):
    groups = of_type(service, "AWS::Logs::LogGroup")
    assert {each["LogGroupName"] for each in groups.values()} == {
        "/aws/lambda/edge-model-packager-test",
        "/aws/vendedlogs/states/edge-model-packager-test",
        "/aws/vendedlogs/states/edge-model-packager-test-many",
        "/aws/apigateway/edge-model-packager-test",
        "/aws/lambda/CodeDeployHook_edge-model-packager-test",
    }
    assert {each["RetentionInDays"] for each in groups.values()} == {EVERYTHING.log_retention_days}


def test_a_deployment_is_undone_by_an_alarm_on_the_new_version_alone(service):
    group = only(service, "AWS::CodeDeploy::DeploymentGroup")
    ((name, alarm),) = of_type(service, "AWS::CloudWatch::Alarm").items()
    (watched,) = group["AlarmConfiguration"]["Alarms"]
    assert group["AlarmConfiguration"]["Enabled"]
    assert name in json.dumps(watched)
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    (version,) = of_type(service, "AWS::Lambda::Version")
    assert version in json.dumps(alarm["AlarmName"])
    (filtered,) = of_type(service, "AWS::Logs::MetricFilter").values()
    assert version in json.dumps(filtered["FilterPattern"])


def test_a_new_version_is_probed_before_it_gets_traffic(service):
    (alias,) = [each for each in service["Resources"].values() if each["Type"] == "AWS::Lambda::Alias"]
    hook = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["BeforeAllowTrafficHook"]["Ref"]
    function = of_type(service, "AWS::Lambda::Function")[hook]
    # AWS's policy for CodeDeploy lets it invoke functions whose names begin so.
    assert function["FunctionName"] == "CodeDeployHook_edge-model-packager-test"
    assert function["Environment"]["Variables"] == {pre_traffic.VERSION: alias_version(alias)}
    module, _, name = function["Handler"].rpartition(".")
    assert (module, getattr(pre_traffic, name)) == (pre_traffic.__name__, pre_traffic.handler)


def alias_version(alias):
    version = alias["Properties"]["FunctionVersion"]["Fn::GetAtt"][0]
    return {"Ref": version}


def rules_with(template, member):
    return [each for each in of_type(template, "AWS::Events::Rule").values() if member in each]


def test_probes_come_on_schedule_write_below_a_prefix_that_expires_and_are_off_by_setting(service, tmp_path):
    (rule,) = rules_with(service, "ScheduleExpression")
    assert rule["ScheduleExpression"] == "rate(15 minutes)"
    assert json.loads(rule["Targets"][0]["Input"]) == {"probe": True}
    place = main_function(service)[1]["Environment"]["Variables"]["PROBE_PLACE"]
    assert "/probes" in json.dumps(place)
    rules = only(service, "AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]
    assert {each.get("Prefix"): each.get("ExpirationInDays") for each in rules}["probes/"] == 1
    synthesize(replace(SMALL, probe_minutes=0), tmp_path / "off")
    off = templates(tmp_path / "off")
    assert (rules_with(off["service"], "ScheduleExpression"), "PROBE_PLACE" in json.dumps(off["service"])) == (
        [],
        False,
    )
    names = {each["AlarmName"] for each in of_type(off["monitoring"], "AWS::CloudWatch::Alarm").values()}
    assert "edge-model-packager-small-probe-failing" not in names


def test_uploads_that_never_ended_are_removed_after_a_day(service):
    rules = only(service, "AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]
    assert {"DaysAfterInitiation": 1} in [each.get("AbortIncompleteMultipartUpload") for each in rules]


def test_topics_call_those_that_the_settings_name(monitoring):
    topics = {name: each["TopicName"][-6:] for name, each in of_type(monitoring, "AWS::SNS::Topic").items()}
    assert set(topics.values()) == {"t-page", "ticket"}
    subscriptions = of_type(monitoring, "AWS::SNS::Subscription").values()
    assert {(topics[each["TopicArn"]["Ref"]], each["Protocol"], each["Endpoint"]) for each in subscriptions} == {
        ("t-page", "email", "on-call@example.com"),
        ("t-page", "https", EVERYTHING.page_endpoints[0]),
        ("ticket", "email", "team@example.com"),
    }
    channels = of_type(monitoring, "AWS::Chatbot::SlackChannelConfiguration").values()
    assert {each["SlackChannelId"]: [topics[arn["Ref"]] for arn in each["SnsTopicArns"]] for each in channels} == {
        "C0123PAGES": ["t-page"],
        "C0123TEAMS": ["t-page", "ticket"],
    }
    for each in channels:
        (guardrail,) = each["GuardrailPolicies"]
        assert "CloudWatchReadOnlyAccess" in json.dumps(guardrail)
    actions = {
        alarm["AlarmDescription"][:6]: [
            action if isinstance(action, str) else topics[action["Ref"]] for action in heard
        ]
        for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        for alarm in of_type(monitoring, kind).values()
        if (heard := alarm.get("AlarmActions"))
    }
    assert actions == {"[page]": ["t-page", *EVERYTHING.page_topics], "[ticke": ["ticket"]}
    assert not of_type(monitoring, "AWS::Chatbot::SlackChannelConfiguration").keys() & set(topics)


def test_whoever_is_called_gets_the_runbook_the_dashboard_and_the_first_query_as_links(small):
    monitoring = templates(small)["monitoring"]
    hosts = monitoring["Mappings"]["Consoles"]
    longest = max((each["host"] for each in hosts.values()), key=len)
    found = 0
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        for alarm in of_type(monitoring, kind).values():
            text, more = alarm["AlarmDescription"]["Fn::Sub"]
            assert more == {
                "ConsoleHostOfThePartition": {"Fn::FindInMap": ["Consoles", {"Ref": "AWS::Partition"}, "host"]}
            }
            text = text.replace("${ConsoleHostOfThePartition}", longest).replace("${AWS::Region}", "ap-southeast-1")
            assert "${" not in text
            assert len(text) <= 1024
            if alarm.get("AlarmActions"):
                links = re.findall(rf"^(\w+): https://{re.escape(longest)}/\S+$", text, re.MULTILINE)
                assert links == ["Runbook", "Dashboard", "Query"], alarm["AlarmName"]
                assert "?region=ap-southeast-1#" in text
                assert "?start=PT3H" in text
                found += 1
    assert found > 8


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "console.aws.amazon.com"),
        ("cn-north-1", "console.amazonaws.cn"),
        ("us-gov-west-1", "console.amazonaws-us-gov.com"),
    ],
)
def test_links_are_those_of_the_partition(region, host):
    assert (
        replace(SMALL, region=region).names.dashboard("overview").startswith(f"https://{host}/cloudwatch/home?region=")
    )


def test_the_portal_and_its_api_are_there_only_when_the_settings_name_them(small, service):
    kinds = {each["Type"] for each in templates(small)["service"]["Resources"].values()}
    assert "AWS::ApiGateway::RestApi" not in kinds
    assert rules_with(templates(small)["service"], "EventPattern") == []
    (rule,) = rules_with(service, "EventPattern")
    assert rule["EventPattern"]["detail-type"] == ["SageMaker Compilation Job State Change"]
    methods = of_type(service, "AWS::ApiGateway::Method").values()
    assert {each["HttpMethod"]: each["AuthorizationType"] for each in methods} == {
        "POST": "COGNITO_USER_POOLS",
        "GET": "COGNITO_USER_POOLS",
        "OPTIONS": "NONE",
    }


def test_a_preflight_and_a_refusal_never_reach_the_function_and_carry_the_headers_of_the_origin(service):
    (options,) = [
        each for each in of_type(service, "AWS::ApiGateway::Method").values() if each["HttpMethod"] == "OPTIONS"
    ]
    assert options["Integration"]["Type"] == "MOCK"
    (answer,) = options["Integration"]["IntegrationResponses"]
    said = {name.rpartition(".")[2]: value.strip("'") for name, value in answer["ResponseParameters"].items()}
    assert said == {**cors_headers(EVERYTHING.cors_origin), "Access-Control-Max-Age": "86400"}
    refusals = of_type(service, "AWS::ApiGateway::GatewayResponse").values()
    assert {each["ResponseType"] for each in refusals} == {"DEFAULT_4XX", "DEFAULT_5XX"}
    for each in refusals:
        assert each["ResponseParameters"]["gatewayresponse.header.Access-Control-Allow-Origin"] == "'*'"


def test_the_api_says_in_its_log_who_asked_and_waits_as_long_as_the_setting_says(service):
    (stage,) = of_type(service, "AWS::ApiGateway::Stage").values()
    assert {"$context.identity.sourceIp", "$context.authorizer.claims.sub", "$context.authorizer.error"} <= set(
        json.loads(stage["AccessLogSetting"]["Format"]).values()
    )
    (post,) = [each for each in of_type(service, "AWS::ApiGateway::Method").values() if each["HttpMethod"] == "POST"]
    assert post["Integration"]["TimeoutInMillis"] == EVERYTHING.integration_s * 1000


def test_both_stacks_are_the_same_bytes_when_synthesized_twice(everything, tmp_path):
    # The asset's path is part of nothing but its own manifest.
    again = tmp_path / "out"
    synthesize(EVERYTHING, again)
    first = {path.name: path.read_bytes() for path in everything.glob("*.template.json")}
    assert first
    assert {path.name: path.read_bytes() for path in again.glob("*.template.json")} == first
