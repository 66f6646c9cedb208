"""What moto can make of the templates is made, and the state machine runs there with our function behind Lambda."""

from __future__ import annotations

import functools
import io
import json
import re
import time
import uuid
import zipfile
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from dashboards.cloudwatch.recording import Recording
from dashboards.cloudwatch.series import Sample
from dashboards.drills.faults import Injected
from dashboards.drills.judging import assess
from dashboards.drills.table import Drill
from dashboards.drills.world import SIGNALS
from dashboards.product.specs import metric_of
from infra.state_machine import package_model, package_models
from infra.tasks import TURNS
from packager.errors import StoreError
from packager.portal import aws as portal_aws
from packager.portal import settings as portal_settings
from packager.portal.replies import state_document
from packager.portal.settings import SYSTEM_CLAIMS
from packager.results import ComponentResult, PackageResult
from packager.stores import s3_client
from telemetry import aws_lambda
from telemetry.engine.testing import recorded
from telemetry.watch import Names, pages
from tests import archives, models
from tests.infra.conftest import ACCOUNT, EVERYTHING, REGION, main_function, of_type

WORLD = {"lambda": {"use_docker": False}, "stepfunctions": {"execute_state_machine": True}}
OUTSIDE = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::Logs::MetricFilter")
OUTSIDE += ("AWS::Logs::QueryDefinition",)
WANTED = {
    "service": {"AWS::IAM::Role", "AWS::Lambda::Function", "AWS::StepFunctions::StateMachine", "AWS::Events::Rule"},
    "monitoring": {"AWS::CloudWatch::Dashboard", "AWS::SSM::Document", "AWS::Events::Rule", "AWS::IAM::Role"},
}
STATE_BYTES = 256 << 10
"""What a state of Step Functions can hold."""

TARGETS = ("jetson-xavier", "jetson-xavier-jp5", "x86_64-cpu")


@functools.cache
def inside_moto():
    """What these tests reach for, imported by the workers that run them only: it takes seconds."""
    from moto import mock_aws  # noqa: PLC0415
    from moto.awslambda_simple.models import LambdaSimpleBackend  # noqa: PLC0415
    from moto.cloudformation.parsing import get_model_map  # noqa: PLC0415
    from moto.stepfunctions.models import stepfunctions_backends  # noqa: PLC0415
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (  # noqa: PLC0415
        state_task_service_sfn,
    )

    return SimpleNamespace(
        mock_aws=mock_aws,
        known_types=get_model_map(),
        functions=LambdaSimpleBackend,
        machines=stepfunctions_backends,
        nested=state_task_service_sfn.StateTaskServiceSfn,
    )


def makeable(template):
    """The template without the types that moto does not know; the function stands in for its alias."""
    gone = {name for name, each in template["Resources"].items() if each["Type"] not in inside_moto().known_types}
    aliases = set(of_type(template, "AWS::Lambda::Alias"))
    function = main_function(template)[0] if aliases else None

    def filled(value):
        match value:
            case {"Ref": name} if name in aliases:
                return {"Fn::GetAtt": [function, "Arn"]}
            case {"Ref": name} | {"Fn::GetAtt": [name, _]} if name in gone:
                return name
            case {"Type": "MOCK", **others}:  # moto wants to know who is called
                return {"Type": "MOCK", "IntegrationHttpMethod": "POST", "Uri": "", **filled(others)}
            case dict():
                return {key: filled(each) for key, each in value.items()}
            case list():
                return [filled(each) for each in value]
            case _:
                return value

    resources = {
        name: {**each, "DependsOn": [other for other in _listed(each.get("DependsOn", [])) if other not in gone]}
        for name, each in template["Resources"].items()
        if name not in gone
    }
    return filled({**template, "Resources": resources})


def _listed(value):
    return value if isinstance(value, list) else [value]


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with inside_moto().mock_aws(config=WORLD):
        yield


def deploy(name, template):
    """Create a stack and return the kinds of what is there then."""
    if name == "service":
        boto3.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
        assets = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
        boto3.client("s3").create_bucket(Bucket=assets)
        _, function = main_function(template)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("empty.py", "")
        boto3.client("s3").put_object(Bucket=assets, Key=function["Code"]["S3Key"], Body=packed.getvalue())
    stacks = boto3.client("cloudformation")
    stacks.create_stack(StackName=name, TemplateBody=json.dumps(makeable(template)))
    pages = stacks.get_paginator("list_stack_resources").paginate(StackName=name)
    return sorted(each["ResourceType"] for page in pages for each in page["StackResourceSummaries"])


def test_what_can_be_made_from_both_templates_is_made(aws, service, monitoring):
    for name, template in (("service", service), ("monitoring", monitoring)):
        made = deploy(name, template)
        expected = [
            each["Type"] for each in template["Resources"].values() if each["Type"] in inside_moto().known_types
        ]
        assert set(made) >= WANTED[name]
        assert made == sorted(expected)
    function = boto3.client("lambda").get_function_configuration(FunctionName="edge-model-packager-test")
    assert (function["MemorySize"], function["Timeout"]) == (3008, 900)
    for board in ("overview", "storage", "targets", "telemetry"):
        body = boto3.client("cloudwatch").get_dashboard(DashboardName=f"edge-model-packager-test-{board}")[
            "DashboardBody"
        ]
        assert "${" not in body
        assert f":{REGION}:{ACCOUNT}:alarm:edge-model-packager-test-" in body
    pages = boto3.client("ssm").get_paginator("list_documents").paginate(Filters=[{"Key": "Owner", "Values": ["Self"]}])
    documents = [each["Name"] for page in pages for each in page["DocumentIdentifiers"]]
    assert len(documents) == len(of_type(monitoring, "AWS::SSM::Document"))


def test_what_templates_cannot_make_there_is_taken_through_the_api(aws, monitoring):
    """Every parameter's name, type and range is checked against AWS's own description of the service."""
    cloudwatch, logs = boto3.client("cloudwatch"), boto3.client("logs")
    logs.create_log_group(logGroupName="/aws/lambda/edge-model-packager-test")
    put = {
        "AWS::CloudWatch::Alarm": lambda given: cloudwatch.put_metric_alarm(**_filled(given)),
        "AWS::CloudWatch::CompositeAlarm": lambda given: _checked(cloudwatch, "PutCompositeAlarm", given),
        "AWS::Logs::MetricFilter": lambda given: logs.put_metric_filter(**_camel(given)),
        "AWS::Logs::QueryDefinition": lambda given: _checked(logs, "PutQueryDefinition", _camel(given)),
    }
    for kind in OUTSIDE:
        found = of_type(monitoring, kind)
        assert found
        for properties in found.values():
            actions = {key: [f"arn:aws:sns:{REGION}:{ACCOUNT}:topic"] for key in ("AlarmActions", "OKActions")}
            put[kind]({**properties, **{key: value for key, value in actions.items() if key in properties}})
    there = cloudwatch.describe_alarms(MaxRecords=100)["MetricAlarms"]
    assert len(there) == len(of_type(monitoring, OUTSIDE[0]))


def _filled(value):
    """Return properties with what CloudFormation fills in."""
    if isinstance(value, dict):
        if value.keys() == {"Fn::Sub"}:
            known = {"Partition": "aws", "Region": REGION, "AccountId": ACCOUNT}
            return re.sub(r"\$\{AWS::(\w+)\}", lambda match: known[match[1]], value["Fn::Sub"])
        return {key: _filled(each) for key, each in value.items()}
    return [_filled(each) for each in value] if isinstance(value, list) else value


def _camel(value):
    """CloudFormation's spelling of names as the API of the logs spells them."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: _camel(each) for key, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list) else value


def _checked(client, operation, given):
    from botocore.validate import validate_parameters  # noqa: PLC0415  beside its use

    validate_parameters(given, client.meta.service_model.operation_model(operation).input_shape)


@dataclass
class Context:
    """What Lambda hands to a handler."""

    left_s: float = 900.0
    aws_request_id: str = "request"
    function_version: str = "1"
    log_stream_name: str = "stream"
    started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self):
        return int((self.left_s - (time.monotonic() - self.started)) * 1000)


@dataclass
class Lambda:
    """The function behind moto's Lambda; `faults` says by target what an invocation meets, first one first.

    A fault is a context with little time, an answer of the function's, or the name of an error of Lambda's.
    """

    faults: dict[str, list[Any]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)

    def invoke(self, function_name, _qualifier, body, _headers, response_headers):
        from packager.handler import handler  # noqa: PLC0415  what runs in Lambda

        event = json.loads(body)
        self.events.append((function_name, event))
        if "httpMethod" in event:
            return b"{}"
        fault = (self.faults.get(_about(event)) or [None]).pop(0)
        if isinstance(fault, str):
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorType": fault, "errorMessage": f"{fault} told by the test"}).encode()
        answer = json.dumps(fault if isinstance(fault, dict) else handler(event, fault or Context())).encode()
        assert len(answer) < STATE_BYTES // 4  # several stand in one state: events, answers, records
        return answer

    def about(self, target):
        """The events of a target, or those that had the manifest prepared."""
        return [event for _, event in self.events if _about(event) == target]


def _about(event):
    if event.get("manifest") == "prepare":
        return "prepare"
    return event["compiled"][0].get("target") if event.get("compiled") else "imported"


@pytest.fixture
def run(aws, service, monkeypatch):
    """Deploy the service, and return a way to run the machine of one model to its end."""
    deploy("service", _impatient(service))
    machines = boto3.client("stepfunctions")
    # What stacks make and what runs are two worlds in moto: the deployed definition is carried over.
    deployed = inside_moto().machines[ACCOUNT][REGION].state_machines
    (made,) = [each for each in deployed if each.name == "edge-model-packager-test"]
    arn = machines.create_state_machine(name=made.name, roleArn=made.roleArn, definition=made.definition)
    arn = arn["stateMachineArn"]

    def ended(given, function):
        as_function(function)
        started = machines.start_execution(stateMachineArn=arn, name=uuid.uuid4().hex, input=json.dumps(given))
        return _ended(started["executionArn"])

    def run_(given, function):
        return _output(ended(given, function))

    def as_function(function):
        monkeypatch.setattr(inside_moto().functions, "invoke", lambda _, *given: function.invoke(*given))

    run_.as_function, run_.machine, run_.ended = as_function, arn, ended
    yield run_
    aws_lambda.RUNTIME.close()  # later tests of this process record what they like


def _ended(execution):
    """The description of an execution, when it has ended."""
    machines = boto3.client("stepfunctions")
    ended = machines.describe_execution(executionArn=execution)
    while ended["status"] == "RUNNING":
        time.sleep(0.05)
        ended = machines.describe_execution(executionArn=execution)
    return ended


def _output(ended):
    assert ended["status"] == "SUCCEEDED", ended
    return json.loads(ended["output"])


def _impatient(template):
    """The same machines with the shortest pauses, and three turns for what is throttled in place of a night's."""
    text = json.dumps(template)
    for long, short in (
        ('\\"IntervalSeconds\\": 2', '\\"IntervalSeconds\\": 1'),
        (f'\\"MaxAttempts\\": {TURNS}', '\\"MaxAttempts\\": 2'),
        ('\\"pause_s\\": 15', '\\"pause_s\\": 0'),
        ('\\"Seconds\\": 60', '\\"Seconds\\": 0'),
    ):
        assert long in text
        text = text.replace(long, short)
    return json.loads(text.replace("States.MathAdd($.pause_s, 15)", "States.MathAdd($.pause_s, 0)"))


@pytest.fixture
def model(tmp_path):
    trained = models.trained(tmp_path / "model.tar.gz", 1 << 16)
    compiled = [
        {"target": target, "uri": str(models.neo(tmp_path / f"{target}.tar.gz", 1 << 16, seed=target))}
        for target in TARGETS
    ]
    return {"trained": str(trained), "compiled": compiled, "output": str(tmp_path / "out")}


def test_one_fails_once_one_for_good_one_is_partial_and_nothing_is_lost(run, model, tmp_path):
    function = Lambda(
        {
            TARGETS[0]: ["ConnectionError"],
            TARGETS[1]: ["Runtime.ExitError"] * 100,
            TARGETS[2]: [Context(left_s=1.0), Context(left_s=1.0)],
        }
    )
    with recorded() as seen:
        records = run(model, function)["components"]
    by_target = {each["target"]: each for each in records}
    assert [each["target"] for each in records] == list(TARGETS)
    assert by_target[TARGETS[0]]["status"] == by_target[TARGETS[2]]["status"] == "packaged"
    failed = by_target[TARGETS[1]]
    assert failed["status"] == "failed"
    assert failed["error"]["type"] == "Runtime.ExitError"
    assert "told by the test" in failed["error"]["message"]
    assert failed["error"]["next_step"]
    assert (len(function.about(TARGETS[0])), len(function.about(TARGETS[2]))) == (2, 3)
    assert len(function.about(TARGETS[1])) > 1  # moto counts retries of targets side by side together, now and then
    for target in (TARGETS[0], TARGETS[2]):
        assert zipfile.is_zipfile(by_target[target]["uri"].removeprefix("file://"))
    previous = [event["options"].get("previous", {}) for event in function.about(TARGETS[2])]
    assert [each.get("left") for each in previous] == [None, [TARGETS[2]], [TARGETS[2]]]
    assert len(function.about("prepare")) == 1
    read = [each.fields["source"] for each in seen if each.row == "ReadArtifact"]
    assert read.count(model["trained"]) == 1


def test_what_is_left_after_the_last_continuation_is_reported_as_left(run, model):
    model["compiled"] = model["compiled"][:1]
    function = Lambda({TARGETS[0]: [Context(left_s=1.0)] * 100})
    (record,) = run(model, function)["components"]
    assert (record["target"], record["status"]) == (TARGETS[0], "left")
    assert len(function.about(TARGETS[0])) == 1 + EVERYTHING.continuations


def busy(target):
    """The function's answer when S3 was busy for longer than it tried by itself."""
    error = StoreError("S3 is busy.", code="SlowDown")
    return {
        "statusCode": 200,
        **state_document(PackageResult([ComponentResult(target, "failed", "streaming", 1.0, error=error)])),
    }


@pytest.mark.parametrize(("times", "status"), [(1, "packaged"), (100, "failed")])
def test_a_target_whose_failure_can_pass_is_tried_again_after_a_pause(run, model, times, status):
    model["compiled"] = model["compiled"][:1]
    function = Lambda({TARGETS[0]: [busy(TARGETS[0])] * times})
    (record,) = run(model, function)["components"]
    assert record["status"] == status
    assert len(function.about(TARGETS[0])) == 1 + min(times, EVERYTHING.retries)
    if status == "failed":
        assert (record["error"]["type"], record["error"]["code"]) == ("StoreError", "SlowDown")


def test_a_killed_invocation_is_called_again_as_often_as_the_setting_says(run, model):
    model["compiled"] = model["compiled"][:1]
    function = Lambda({TARGETS[0]: ["Sandbox.Timedout"] * 100})
    (record,) = run(model, function)["components"]
    assert (record["status"], record["error"]["type"]) == ("failed", "Sandbox.Timedout")
    assert len(function.about(TARGETS[0])) == 1 + EVERYTHING.retries


@pytest.mark.parametrize("error", ["ValueError", "Runtime.ImportModuleError"])
def test_what_would_fail_the_same_way_is_not_called_again(run, model, error):
    model["compiled"] = model["compiled"][:1]
    function = Lambda({TARGETS[0]: [error] * 100})
    (record,) = run(model, function)["components"]
    assert (record["status"], record["error"]["type"]) == ("failed", error)
    assert len(function.about(TARGETS[0])) == 1


@pytest.mark.parametrize("at", ["prepare", TARGETS[0]])
def test_a_machine_that_cannot_reach_the_function_fails(run, model, at):
    model["compiled"] = model["compiled"][:1]
    function = Lambda({at: ["Lambda.ResourceNotFoundException"] * 100})
    assert run.ended(model, function)["status"] == "FAILED"
    assert len(function.about(at)) == 1


def _throttles(function):
    return {"Throttles": len(function.events), "ExecutionsFailed": 1}


@pytest.mark.parametrize(
    ("error", "counted", "fires"),
    [
        ("Lambda.AccessDeniedException", lambda _: {"ExecutionsFailed": 1}, ()),
        ("Lambda.TooManyRequestsException", _throttles, ("all-throttled",)),
    ],
)
def test_a_machine_that_may_not_invoke_or_is_always_throttled_is_a_page_with_the_second_execution(
    run, model, error, counted, fires
):
    """A drill: the deployed machine fails in earnest; what AWS would count of it is laid before the alarms."""
    model["compiled"] = model["compiled"][:1]
    recording = Recording()
    began_s = int(time.time()) // 3600 * 3600
    for number in range(2):
        function = Lambda({"prepare": [error] * 100, TARGETS[0]: [error] * 100})
        assert run.ended(model, function)["status"] == "FAILED"
        for name, count in counted(function).items():
            recording.store.add(metric_of(SIGNALS[name], Names()), Sample(began_s + number * 20, float(count)))
    windows = [alarm.name for alarm in (*pages.EXECUTIONS_FAILED, pages.LAST_EXECUTION_FAILED)]
    fires = (
        *fires,
        *windows,
        "executions-failed-twice",
        "executions-failing",
        "packaging-impaired",
        "packaging-broken",
    )
    outcome = assess(Drill(error, None, fires, "packaging-broken"), Injected(recording, error))
    assert outcome.failures == ()


MALFORMED = [
    {},
    {"trained": None},
    {"compiled": {}},
    {"compiled": "text"},
    {"compiled": 7},
    {"compiled": {"0": {}}},
    {"compiled": [7]},
    {"compiled": [None]},
    {"compiled": [[]]},
    {"compiled": [{}]},
    {"output": 7},
    {"options": "text"},
    {"options": {"unknown": 1}},
    {"request": None},
    {"request": "text"},
    {"request": {"training_id": "../x", "user_id": 7, "body": [], "done": {}}},
]


def test_whatever_the_input_a_machine_ends_in_records_or_fails_but_never_without_either(run, model):
    for given in MALFORMED:
        whole = {**model, "compiled": model["compiled"][:1], **given} if given else {}
        ended = run.ended(whole, Lambda())
        if ended["status"] == "SUCCEEDED":
            told = json.loads(ended["output"])
            assert told["statusCode"] == 400 if "request" in given else told["components"], given
            assert {each["status"] for each in told.get("components", ())} <= {"failed"}, given
        else:
            assert ended["status"] == "FAILED", given


def test_null_for_an_optional_field_of_an_input_is_the_field_missing(run, model, tmp_path):
    whole = {**model, "compiled": model["compiled"][:1], "options": None, "publish": None}
    function = Lambda({TARGETS[0]: [Context(left_s=1.0)]})
    (record,) = run(whole, function)["components"]
    assert (record["status"], len(function.about(TARGETS[0]))) == ("packaged", 2)
    assert [each["execution"].get("target_number") for each in function.about(TARGETS[0])] == [0, 0]
    trained = models.imported_onnx(tmp_path / "imported.tar.gz", 1 << 16)
    assert run({"trained": str(trained), "compiled": None, "output": str(tmp_path / "out")}, Lambda())["components"]


def test_without_a_trained_artifact_every_target_fails_with_its_error_at_once(run, model, tmp_path):
    function = Lambda()
    records = run({**model, "trained": str(tmp_path / "nothing.tar.gz")}, function)["components"]
    assert [(each["target"], each["status"], each["uri"]) for each in records] == [
        (target, "failed", None) for target in TARGETS
    ]
    assert {each["error"]["type"] for each in records} == {"ArtifactNotFoundError"}
    assert len(function.events) == 1


@pytest.mark.parametrize("fault", ["ValueError", {"statusCode": 500, "error": {"type": "StoreError"}}])
def test_targets_are_packaged_even_when_preparing_failed(run, model, fault):
    function = Lambda({"prepare": [fault] * 100})
    records = run(model, function)["components"]
    assert [each["status"] for each in records] == ["packaged"] * 3


def test_packaging_again_finds_everything_and_reads_nothing(run, model, s3_server, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url)
    monkeypatch.setattr(s3_client, "_clients", {})
    paths = {each["target"]: each["uri"] for each in model["compiled"]}
    for name, path in {"trained": model["trained"], **paths}.items():
        s3_server.client().upload_file(path, bucket, name)
    there = {
        "trained": f"s3://{bucket}/trained",
        "compiled": [{"target": target, "uri": f"s3://{bucket}/{target}"} for target in paths],
        "output": f"s3://{bucket}/out",
    }
    first = run(there, Lambda())["components"]
    with recorded() as seen:
        again = run(there, Lambda())["components"]
    assert [each["status"] for each in (*first, *again)] == ["packaged"] * 3 + ["already_there"] * 3
    assert [each["uri"] for each in again] == [each["uri"] for each in first]
    assert not {"CreateManifest", "ReadArtifact"} & {each.row for each in seen}


@pytest.mark.parametrize("imported", [True, False])
def test_a_manifest_larger_than_a_state_goes_another_way(run, model, tmp_path, imported):
    stage = {"type": "mochi", "input_shape": [1, 3, 8, 8], "classes": ["x" * 100] * (STATE_BYTES // 100)}
    manifest = {"model_graph": {"model_graph_type": "single_stage_model_graph", "stages": [stage]}}
    name = "model.onnx" if imported else "model.pt"
    facts = manifest | ({"runtime": "onnx", "runtime_artifact": name} if imported else {})
    files = [
        ("config.yaml", b"dataset: {image_width: 8, image_height: 8}"),
        ("export_artifacts/manifest.json", json.dumps(facts).encode()),
        (f"export_artifacts/{name}", b"weights"),
    ]
    trained = tmp_path / "large.tar.gz"
    trained.write_bytes(archives.gz(archives.tar(files)))
    compiled = [] if imported else model["compiled"]
    records = run({**model, "trained": str(trained), "compiled": compiled}, Lambda())["components"]
    assert {each["status"] for each in records} == {"packaged"}
    with zipfile.ZipFile(records[0]["uri"]) as component:
        assert json.loads(component.read("manifest.json"))["model_graph"] == manifest["model_graph"]


def test_an_entry_that_is_wrong_is_a_record_and_the_others_are_packaged(run, model):
    first, second, third = model["compiled"]
    model["compiled"] = [{"uri": first["uri"]}, {"target": second["target"]}, third]
    records = run(model, Lambda())["components"]
    assert [(each["target"], each["status"]) for each in records] == [
        (None, "failed"),
        (second["target"], "failed"),
        (third["target"], "packaged"),
    ]
    assert [each["error"]["field"] for each in records[:2]] == ["compiled[0].target", "compiled[0].uri"]


def test_a_refused_request_is_a_record_with_the_functions_own_words(run, model):
    model["compiled"] = [{**model["compiled"][0], "uri": "relative/path"}]
    (record,) = run(model, Lambda())["components"]
    assert (record["target"], record["status"], record["uri"]) == (TARGETS[0], "failed", None)
    assert record["error"]["type"] == "RequestError"
    assert "compiled[0].uri" in record["error"]["message"]


def test_an_imported_model_is_one_invocation_for_all_its_targets(run, tmp_path):
    trained = models.imported_onnx(tmp_path / "model.tar.gz", 1 << 16)
    function = Lambda()
    records = run({"trained": str(trained), "output": str(tmp_path / "out")}, function)["components"]
    assert len(function.events) == 1
    assert {each["status"] for each in records} == {"packaged"}
    assert len({each["target"] for each in records}) == 4


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("packaged", [True, False])
def test_components_are_published_when_that_is_asked_for_and_there_are_any(run, model, asked, packaged):
    model["compiled"] = model["compiled"][:1]
    wanted = {"training_id": "job-7", "component_name": "model-mochi", "component_version": "1.0.0"}
    function = Lambda({} if packaged else {TARGETS[0]: ["ValueError"] * 100})
    records = run({**model, **({"publish": wanted} if asked else {})}, function)["components"]
    published = [(name, event) for name, event in function.events if "httpMethod" in event]
    assert len(records) == 1
    assert bool(published) == (asked and packaged)
    for name, event in published:
        assert name.endswith("function:publish-components")
        assert (event["path"], event["pathParameters"]) == ("/api/v1/training/job-7/publish", {"id": "job-7"})
        assert json.loads(event["body"]) == wanted
        assert event["requestContext"]["authorizer"]["claims"] == SYSTEM_CLAIMS


@pytest.mark.parametrize("machine", [package_model, package_models])
def test_names_of_states_are_unique_and_every_transition_leads_to_one(machine):
    def scopes(states):
        yield states
        for each in states["States"].values():
            if "ItemProcessor" in each:
                yield from scopes(each["ItemProcessor"])

    found = list(scopes(machine(EVERYTHING)))
    names = [name for scope in found for name in scope["States"]]
    assert len(set(names)) == len(names)
    for scope in found:
        ways = [scope["StartAt"]]
        for each in scope["States"].values():
            ways += [each[key] for key in ("Next", "Default") if key in each]
            ways += [way["Next"] for key in ("Choices", "Catch") for way in each.get(key, ())]
        assert set(ways) == set(scope["States"])


def _spelled(change):
    """What moto leaves out between the spelling of the language and that of the API, and a name for each execution."""

    def normalise(_self, given=None, *_, parameters=None, response=None, **__):
        names = next(each for each in (given, parameters, response) if each is not None)
        for name in list(names):
            value = names.pop(name)
            names[change(name[0]) + name[1:]] = json.dumps(value) if name == "Input" else value
        if "input" in names:
            names["name"] = uuid.uuid4().hex

    return normalise


def test_many_models_are_an_execution_each_and_their_records_are_kept(run, model, monkeypatch):
    monkeypatch.setattr(inside_moto().nested, "_normalise_parameters", _spelled(str.lower))
    monkeypatch.setattr(inside_moto().nested, "_normalise_response", _spelled(str.upper))
    s3, machines = boto3.client("s3"), boto3.client("stepfunctions")
    own = f"edge-model-packager-test-{ACCOUNT}-{REGION}"
    inputs = [{**model, "compiled": [each]} for each in model["compiled"]]
    s3.put_object(Bucket=own, Key="lists/today.json", Body=json.dumps(inputs).encode())
    function = Lambda()
    run.as_function(function)
    deployed = inside_moto().machines[ACCOUNT][REGION].state_machines
    (made,) = [each for each in deployed if each.name.endswith("-many")]
    arn = machines.create_state_machine(name=made.name, roleArn=made.roleArn, definition=made.definition)[
        "stateMachineArn"
    ]
    execution = machines.start_execution(
        stateMachineArn=arn, input=json.dumps({"bucket": own, "key": "lists/today.json"})
    )
    written = _output(_ended(execution["executionArn"]))["ResultWriterDetails"]
    assert written["Bucket"] == own
    assert written["Key"].startswith("runs/")
    s3.head_object(Bucket=own, Key=written["Key"])
    each_model = machines.list_executions(stateMachineArn=run.machine)["executions"]
    records = [record for each in each_model for record in _output(_ended(each["executionArn"]))["components"]]
    assert sorted((each["target"], each["status"]) for each in records) == [(each, "packaged") for each in TARGETS]
    assert [len(function.about(each)) for each in ("prepare", *TARGETS)] == [len(inputs), 1, 1, 1]


@pytest.fixture
def portal(run, monkeypatch, tmp_path, s3_server, bucket):
    """The portal's tables with one job of three targets, a user who may package it, and the function's environment."""
    names = {name: f"{name.lower()}" for name in ("TRAINING_JOBS_TABLE", "USECASES_TABLE", "USER_ROLES_TABLE")}
    names["AUDIT_LOG_TABLE"] = "audit"
    for name, value in {**names, "REQUEST_MACHINE_ARN": run.machine, "INTEGRATION_S": "11"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url)
    _forget_clients(monkeypatch)
    uris = {}
    made = {target: models.neo(tmp_path / f"{target}.tar.gz", 1 << 16, seed=target) for target in TARGETS}
    for name, path in {"trained": models.trained(tmp_path / "model.tar.gz", 1 << 16), **made}.items():
        s3_server.client().upload_file(str(path), bucket, name)
        uris[name] = f"s3://{bucket}/{name}"
    tables = boto3.resource("dynamodb")
    keys = {"TRAINING_JOBS_TABLE": ["training_id"], "USECASES_TABLE": ["usecase_id"]}
    keys |= {"USER_ROLES_TABLE": ["user_id", "usecase_id"], "AUDIT_LOG_TABLE": ["event_id"]}
    jobs, cases, roles, _ = (_table(tables, names[name], each) for name, each in keys.items())
    compiled = [{"target": target, "status": "COMPLETED", "compiled_model_s3": uris[target]} for target in TARGETS]
    job = {"training_id": "job", "usecase_id": "case", "artifact_s3": uris["trained"], "compilation_jobs": compiled}
    jobs.put_item(Item=job)
    cases.put_item(Item={"usecase_id": "case", "s3_bucket": bucket})
    roles.put_item(Item={"user_id": "user", "usecase_id": "case", "role": "DataScientist"})
    yield jobs
    _forget_clients(monkeypatch)


def _forget_clients(monkeypatch):
    portal_settings.from_process_environment.cache_clear()
    portal_aws._client.cache_clear()
    portal_aws._session.cache_clear()
    monkeypatch.setattr(s3_client, "_clients", {})


def _table(tables, name, keys):
    return tables.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
    )


@dataclass
class LambdaOfRequests:
    """The function behind moto's Lambda; `faults` are what the next invocations of a request meet: as in `Lambda`."""

    faults: list[Any]

    def invoke(self, _function_name, _qualifier, body, _headers, response_headers):
        from packager.handler import handler  # noqa: PLC0415  what runs in Lambda

        event = json.loads(body)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, str):
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorType": fault, "errorMessage": f"{fault} told by the test"}).encode()
        return json.dumps(fault if isinstance(fault, dict) else handler(event, (fault or Context)())).encode()


def ask(method):
    from packager.handler import handler  # noqa: PLC0415  what runs in Lambda

    event = {
        "httpMethod": method,
        "resource": "/api/v1/training/{id}/package",
        "path": "/api/v1/training/job/package",
        "pathParameters": {"id": "job"},
        "requestContext": {"apiId": "a", "authorizer": {"claims": {"sub": "user"}}},
    }
    reply = handler(event, Context())
    return reply["statusCode"], json.loads(reply["body"])


def state_at_the_end():
    while (told := ask("GET"))[1]["state"] == "running":
        time.sleep(0.05)
    return told[1]


LATE = functools.partial(Context, left_s=11.0)
BUSY = {"statusCode": 500, "body": '{"error": "Failed to package components: S3 is busy."}'}


def test_a_request_that_takes_longer_goes_on_in_the_machine_until_nothing_is_left(run, portal):
    run.as_function(LambdaOfRequests([BUSY, "Sandbox.Timedout", LATE, None]))
    status, body = ask("POST")
    assert (status, body["left"], body["status_url"]) == (202, list(TARGETS), "/api/v1/training/job/package")
    told = state_at_the_end()
    assert (told["state"], told["reply"]["statusCode"]) == ("succeeded", 200)
    assert told["reply"]["body"]["message"] == "Packaged 3 of 3 targets."
    assert {each["status"] for each in told["packaged_components"]} == {"packaged"}
    assert portal.get_item(Key={"training_id": "job"})["Item"]["packaged_components"] == told["packaged_components"]


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (LATE, {"statusCode": 500, "left": list(TARGETS)}),
        ({"statusCode": 200, "body": "no JSON"}, None),
    ],
)
def test_a_request_that_is_not_served_after_all_tries_fails_the_execution(run, portal, fault, reply):
    run.as_function(LambdaOfRequests([fault] * 100))
    ask("POST")
    told = state_at_the_end()
    assert told["state"] == "failed"
    found = told.get("reply")
    assert (found and {"statusCode": found["statusCode"], "left": found["body"].get("left")}) == (
        reply and {"statusCode": reply["statusCode"], "left": reply.get("left")}
    )
