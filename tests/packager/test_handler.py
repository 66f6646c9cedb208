"""The function's contract with the portal: every reply, role and credential, against tables and buckets on sockets."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import io
import json
import logging
import operator
import subprocess
import sys
import threading
import time
import types
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from unittest import mock

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager import handler as function
from packager import settings as packager_settings
from packager.errors import OutOfTimeError, PackagerError, RequestError, StoreError
from packager.portal import aws, clock
from packager.portal import settings as portal_settings
from packager.portal.deliveries import NotDoneError
from packager.portal.replies import LARGEST_BYTES, document, state_document
from packager.portal.users import Role, caller
from packager.results import ComponentResult, PackageResult
from packager.stores import s3_calls, s3_client
from telemetry import aws_lambda
from telemetry.engine.testing import recorded
from tests import portal as local
from tests.events import function_url, http_api
from tests.faulty_proxy import refuse, stall
from tests.portal import BODY_SECRET, EXTERNAL_ID, PUBLISHER, compilation_event, request, through_gateway

THREE = ["onnx-jetson-xavier-jp5", "onnx-jetson-xavier-jp6", "onnx-jetson-xavier-jp7"]
FOUR = ["jetson-xavier-jp5", "jetson-xavier-jp6", "jetson-xavier-jp7", "x86_64-cpu"]
ROLE_ARN = "arn:aws:iam::123456789012:role/DDAPortalAccess"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@dataclass
class Context:
    """What Lambda hands over beside the event."""

    left_s: float = 900
    aws_request_id: str = "3f1c5b7e-0000-4000-8000-000000000001"
    function_version: str = "$LATEST"
    log_stream_name: str = "2026/01/01/[$LATEST]0"

    def get_remaining_time_in_millis(self):
        return int(self.left_s * 1000)


def forget_the_environment():
    portal_settings.from_process_environment.cache_clear()
    packager_settings.from_process_environment.cache_clear()
    aws._client.cache_clear()
    aws._session.cache_clear()
    s3_client._clients.clear()


@pytest.fixture(scope="module")
def world(s3_server):
    with local.portal(s3_server.endpoint_url) as world, pytest.MonkeyPatch.context() as environment:
        for name, value in world.environment.items():
            environment.setenv(name, value)
        forget_the_environment()
        yield world
        forget_the_environment()
        aws_lambda.RUNTIME.close()  # later tests of this process record what they like


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch):
    """Between the attempts of a call of S3, which all fail in some tests here."""
    monkeypatch.setattr(s3_calls, "FIRST_PAUSE_S", 0.001)


@pytest.fixture(autouse=True)
def nothing_secret_is_written(world, capfd):
    """Whatever any test here makes the function write is searched for what must not stand there."""
    world.assumed.clear()
    world.published.clear()
    world.proxy.forget()
    local.listen(world)
    yield
    written = "".join(capfd.readouterr())
    for secret in world.secrets:
        assert secret not in written
    assert "\\ud800" not in written
    assert "\x1b" not in written
    assert "telemetry:" not in written, written  # a fault in the use of telemetry is said on standard error


def ask(event, left_s=900):
    reply = function.handler(event, Context(left_s))
    assert set(reply) == {"statusCode", "headers", "body"}
    assert reply["headers"]["Access-Control-Allow-Origin"] == "*"
    return reply["statusCode"], json.loads(reply["body"])


def put_record(world, training_id, **fields):
    world.tables["TRAINING_JOBS_TABLE"].put_item(Item={**world.record(training_id), **fields})


# Routes


def test_a_preflight_is_answered_with_cors_headers():
    reply = function.handler({"httpMethod": "OPTIONS", "path": "/api/v1/training/x/package"}, Context())
    assert (reply["statusCode"], reply["body"]) == (200, "")
    assert reply["headers"]["Access-Control-Allow-Origin"] == "*"
    assert "POST" in reply["headers"]["Access-Control-Allow-Methods"]
    assert "Authorization" in reply["headers"]["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/training/x/package"),
        ("POST", "/api/v1/training/x/publish"),
        ("POST", "/api/v1/training/x/package/more"),
        ("POST", "/package"),
        ("DELETE", "/api/v1/training/x/package"),
    ],
)
def test_any_other_method_or_path_is_not_found(method, path):
    assert ask({**request("x"), "httpMethod": method, "path": path}) == (404, {"error": "Not found"})


# Packaging


def test_a_compiled_model_is_packaged_recorded_audited_and_answered(world):
    job = world.job()
    status, body = ask(request(job))
    [entry] = body.pop("packaged_components")
    assert (status, body) == (
        200,
        {"training_id": job, "message": "Packaged 1 of 1 targets.", "component_creation_triggered": False},
    )
    assert entry == {
        "target": "jetson-xavier",
        "component_package_s3": entry["component_package_s3"],
        "status": "packaged",
    }
    key = entry["component_package_s3"].removeprefix(f"s3://{world.bucket}/")
    short = key.removeprefix("model_artifacts/model-")[:12]
    assert key == f"model_artifacts/model-{short}/{short}_greengrass_model_component.zip"
    with zipfile.ZipFile(io.BytesIO(world.s3.get_object(Bucket=world.bucket, Key=key)["Body"].read())) as component:
        assert component.testzip() is None
        assert component.namelist()[0] == "manifest.json"
        assert "mochi/compiled.so" in component.namelist()
    record = world.record(job)
    assert record["packaged_components"] == [entry]
    [audit] = world.audits(job)
    assert record["updated_at"] <= audit["timestamp"]
    assert audit == {
        "event_id": f"system_{audit['timestamp']}",
        "timestamp": audit["timestamp"],
        "user_id": "system",
        "action": "package_components",
        "resource_type": "training_job",
        "resource_id": job,
        "result": "success",
        "details": {"targets": ["jetson-xavier"], "packaged_count": 1, "failed_count": 0, "failed": [], "left": []},
        "ttl": audit["timestamp"] // 1000 + 90 * 86_400,
    }


def test_a_compiled_onnx_export_serves_three_targets_from_one_upload(world):
    status, body = ask(request(world.job(world.compiled("onnx", "onnx"))))
    assert (status, [each["target"] for each in body["packaged_components"]]) == (200, THREE)
    assert len({each["component_package_s3"] for each in body["packaged_components"]}) == 1


def test_an_export_format_onnx_makes_any_target_an_onnx_export(world):
    job = world.job(world.compiled("jetson-xavier-jp6", "onnx", export_format="onnx"))
    assert [each["target"] for each in ask(request(job))[1]["packaged_components"]] == THREE


def test_one_of_the_three_can_be_asked_for(world):
    job = world.job(world.compiled("onnx", "onnx"))
    assert [each["target"] for each in ask(request(job, {"targets": THREE[1:2]}))[1]["packaged_components"]] == (
        THREE[1:2]
    )
    assert list(world.components(job)) == THREE[1:2]


@pytest.mark.parametrize(
    "notes",
    [
        {"metadata": {"framework": "ONNX"}},
        {"validation_result": {"metadata": {"framework": "onnx"}}},
        {"metadata": {"model_file": "model.onnx"}},
        {"metadata": None, "validation_result": None},
    ],
)
def test_an_imported_onnx_model_serves_four_targets_from_one_upload(world, notes):
    job = world.job(source="imported", artifact_s3=world.uris["imported"], compilation_jobs=[], **notes)
    status, body = ask(request(job))
    assert (status, [each["target"] for each in body["packaged_components"]]) == (200, FOUR)
    assert len({each["component_package_s3"] for each in body["packaged_components"]}) == 1


def test_targets_of_an_imported_onnx_model_can_be_named(world):
    job = world.job(source="imported", artifact_s3=world.uris["imported"], metadata={"framework": "ONNX"})
    body = ask(request(job, {"targets": ["x86_64-cpu"]}))[1]
    assert [each["target"] for each in body["packaged_components"]] == ["x86_64-cpu"]
    status, body = ask(request(job, {"targets": ["toaster"]}))
    assert (status, body["type"]) == (400, "RequestError")


def test_one_failed_target_leaves_the_others_whole_and_all_three_places_say_so(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", "damaged"))
    status, body = ask(request(job))
    good, bad = body["packaged_components"]
    assert (status, good["status"], bad["status"]) == (200, "packaged", "failed")
    assert bad == {"target": "x86_64-cpu", "status": "failed", "error": bad["error"], "fault": "artifact"}
    assert body["message"] == "Packaged 1 of 2 targets, 1 failed."
    assert world.record(job)["packaged_components"] == [good, bad]
    [audit] = world.audits(job)
    assert (audit["result"], audit["details"]["failed"]) == ("partial", ["x86_64-cpu"])


@pytest.mark.parametrize(
    ("targets", "reply"), [({"a": "damaged"}, 400), ({"a": "damaged", "b": "s3://nowhere-{run}/x"}, 400)]
)
def test_where_all_targets_fail_reply_message_and_audit_say_so(world, targets, reply):
    names = ["jetson-xavier", "x86_64-cpu"]
    job = world.job(*(world.compiled(name, uri) for name, uri in zip(names, targets.values(), strict=False)))
    status, body = ask(request(job, {"auto_triggered": True}))
    assert status == reply
    assert body["error"] == f"Failed to package components: {body['message']}"
    assert {each["status"] for each in body["packaged_components"]} == {"failed"}
    assert body["message"] == f"No target was packaged: all {len(targets)} failed."
    assert body["component_creation_triggered"] is False
    assert world.published == []
    [audit] = world.audits(job)
    assert (audit["result"], audit["details"]["packaged_count"]) == ("failure", 0)


@pytest.mark.parametrize(
    "entry",
    [{"compiled_model_s3": ""}, {"compiled_model_s3": None}, {"compiled_model_s3": "/etc/passwd"}, {"target": "x"}],
)
def test_an_unusable_entry_fails_alone(world, entry):
    job = world.job({**world.compiled("x86_64-cuda"), **entry}, world.compiled("jetson-xavier"))
    status, body = ask(request(job))
    assert status == 200
    assert {each["target"]: each["status"] for each in body["packaged_components"]} == {
        entry.get("target", "x86_64-cuda"): "failed",
        "jetson-xavier": "packaged",
    }


def test_a_target_that_is_not_compiled_is_mentioned_beside_those_that_are(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", status="INPROGRESS"))
    body = ask(request(job, {"targets": ["jetson-xavier", "x86_64-cpu"]}))[1]
    assert [each["target"] for each in body["packaged_components"]] == ["jetson-xavier"]
    assert "1 requested targets have no completed compilation job" in body["message"]


def test_packaging_one_target_keeps_the_record_of_the_others(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", "neo2"))
    ask(request(job, {"targets": ["jetson-xavier"]}))
    ask(request(job, {"targets": ["x86_64-cpu"]}))
    assert {name: each["status"] for name, each in world.components(job).items()} == {
        "jetson-xavier": "packaged",
        "x86_64-cpu": "packaged",
    }


def test_two_concurrent_requests_lose_nothing(world):
    names = ["jetson-xavier", "x86_64-cpu", "arm64-cpu", "jetson-xavier-jp5", "jetson-xavier-jp6", "x86_64-cuda"]
    job = world.job(*(world.compiled(name) for name in names))
    ready = threading.Barrier(len(names))

    def package(name):
        ready.wait()
        assert ask(request(job, {"targets": [name]}))[0] == 200

    threads = [threading.Thread(target=package, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: each["status"] for name, each in world.components(job).items()} == dict.fromkeys(names, "packaged")
    assert len(world.audits(job)) == len(names)


def test_a_setting_refuses_components_that_break_a_rule_of_the_device(world, monkeypatch):
    job = world.job(world.compiled("x86_64-cpu", "onnx"), world.compiled("jetson-xavier"))  # no library in the first
    assert [each["status"] for each in ask(request(job))[1]["packaged_components"]] == ["packaged", "packaged"]
    monkeypatch.setenv("STRICT_DEVICE_RULES", "true")
    forget_the_environment()
    try:
        refused, taken = ask(request(job))[1]["packaged_components"]
    finally:
        monkeypatch.undo()
        forget_the_environment()
    assert (refused["status"], taken["status"]) == ("failed", "packaged")
    assert refused["error"].startswith("The component breaks 1 of the device's rules: (compiled-files)")


@pytest.mark.parametrize("by_hand", [None, types.SimpleNamespace(), mock.MagicMock()], ids=["none", "empty", "mock"])
def test_a_call_by_hand_needs_no_clock(world, by_hand, capfd):
    assert function.handler(request(world.job()), by_hand)["statusCode"] == 200
    capfd.readouterr()  # a made-up context may leave telemetry wanting


def test_a_second_request_finds_what_the_first_made(world):
    job = world.job()
    first, second = ask(request(job))[1], ask(request(job))[1]
    assert first == second


# The table of replies


def test_a_request_without_an_id_says_so():
    for parameters in (None, {}, {"id": None}, {"id": ""}):
        status, body = ask({**request("x"), "pathParameters": parameters})
        assert (status, body["error"]) == (400, "training_id is required")
    event = request("x")
    del event["pathParameters"]
    assert ask(event)[1]["error"] == "training_id is required"


def test_an_unknown_training_job_or_use_case_is_the_callers_mistake(world):
    status, body = ask(request("no-such-job"))
    assert (status, body["error"]) == (400, "There is no training job 'no-such-job'.")
    status, body = ask(request(world.job(usecase="no-such-use-case")))
    assert (status, body["error"]) == (400, "The use case of the training job does not exist.")


@pytest.mark.parametrize(
    "body", ["{", "nonsense", '{"targets": NaN}', "[" * 100_000, '{"targets": ' + "9" * 5000 + "}"]
)
def test_a_body_that_is_no_json_is_refused_with_the_reason(world, body):
    status, answer = ask({**request(world.job()), "body": body})
    assert (status, answer["field"]) == (400, "body")
    assert answer["error"].startswith("body is not valid JSON: ")


def test_a_trained_artifact_without_input_shape_is_refused_with_the_reason(world):
    job = world.job(artifact_s3=world.uris["neo"])
    status, body = ask(request(job))
    assert status == 400
    assert "trained artifact" in body["error"] or "manifest" in body["error"]
    [audit] = world.audits(job)
    assert audit["result"] == "failure"
    assert "packaged_components" not in world.record(job)


def test_a_role_that_is_too_low_is_refused(world):
    usecase = world.usecase()
    event = through_gateway(request(world.job(usecase=usecase), user=world.user("Operator", usecase)))
    assert ask(event) == (403, {"error": "Insufficient permissions"})


@pytest.mark.parametrize("jobs", [None, [], "none", {}])
def test_a_training_without_compilation_jobs_is_a_400(world, jobs):
    job = world.job()
    put_record(world, job, compilation_jobs=jobs)
    status, body = ask(request(job))
    assert (status, body["error"]) == (400, "No compilation jobs found. Run compilation first.")


def test_an_imported_model_that_is_no_onnx_needs_compilations(world):
    for notes in ({"metadata": {"framework": "PyTorch"}}, {}):
        job = world.job(source="imported", compilation_jobs=[], **notes)
        status, body = ask(request(job))
        assert (status, body["error"]) == (400, "No compilation jobs found. Run compilation first.")


def test_no_completed_compilation_jobs(world):
    for status in ("INPROGRESS", "FAILED", None, 5):
        reply, body = ask(request(world.job(world.compiled("jetson-xavier", status=status))))
        assert (reply, body["error"]) == (400, "No completed compilation jobs found")


def test_the_status_of_a_compilation_may_be_spelled_as_events_do(world):
    assert ask(request(world.job(world.compiled("jetson-xavier", status="Completed"))))[0] == 200


def test_no_completed_compilation_jobs_for_the_targets(world):
    status, body = ask(request(world.job(), {"targets": ["x86_64-cpu"]}))
    assert (status, body["error"]) == (400, "No completed compilation jobs for requested targets: ['x86_64-cpu']")


@pytest.mark.parametrize("artifact", [None, ""])
def test_a_training_job_without_an_artifact(world, artifact):
    job = world.job()
    put_record(world, job, artifact_s3=artifact)
    status, body = ask(request(job))
    assert (status, body["error"]) == (400, "Training job has no model artifact")


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_where_aws_refuses_the_reply_says_what(world, operation):
    job = world.job()
    local.breaking(world, operation, local.refused())
    status, body = ask(request(job))
    assert status == 500
    assert body["error"].startswith("Failed to package components: DynamoDB ")
    assert "AccessDeniedException" in body["error"]


def test_where_s3_refuses_the_trained_artifact_the_reply_says_what(world):
    job = world.job()
    local.breaking(world, "HeadObject", refuse(403, "AccessDenied"), times=20, where=lambda a: "trained" in a.target)
    status, body = ask(request(job))
    assert status == 500
    assert body["error"].startswith("Failed to package components: S3 ")


def test_an_audit_entry_that_cannot_be_written_stops_nothing(world):
    job = world.job()
    local.breaking(world, "PutItem", local.refused())
    assert ask(request(job))[0] == 200
    assert world.audits(job) == []


def test_anything_else_is_an_internal_error_with_the_request_id_and_no_more(world, monkeypatch, capfd):
    def broken(*_):
        raise KeyError(BODY_SECRET)

    monkeypatch.setattr("packager.portal.service.jobs.choose", broken)
    status, body = ask(request(world.job()))
    assert (status, body) == (500, {"error": "Internal server error", "request_id": Context.aws_request_id})
    written = capfd.readouterr().out
    assert '"error_type": "KeyError"' in written
    assert "in broken" in written
    assert BODY_SECRET not in written


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AUDIT_DAYS", "soon"), ("TIME_RESERVE_S", "1"), ("USECASES_TABLE", "a table"), ("USECASES_TABLE", "")],
)
def test_a_bad_setting_is_named_in_the_log_and_hidden_from_the_caller(world, monkeypatch, capfd, variable, value):
    job = world.job()
    monkeypatch.setenv(variable, value)
    forget_the_environment()
    try:
        status, body = ask(request(job))
        named = function.handler({"trained": "s3://b/k", "compiled": [], "output": "s3://b"}, Context())
    finally:
        monkeypatch.undo()
        forget_the_environment()
    assert (status, body["error"]) == (500, "Internal server error")
    assert variable in capfd.readouterr().out
    if value:
        assert (named["statusCode"], named["error"]["setting"]) == (500, variable)


# Fields


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"httpMethod": None}, "httpMethod"),
        ({"httpMethod": 5}, "httpMethod"),
        ({"path": None}, "path"),
        ({"path": []}, "path"),
        ({"pathParameters": []}, "pathParameters"),
        ({"pathParameters": {"id": 5}}, "pathParameters.id"),
        ({"pathParameters": {"id": "x" * 3000}}, "pathParameters.id"),
        ({"pathParameters": {"id": "\ud800"}}, "pathParameters.id"),
        ({"body": {}}, "body"),
        ({"body": "null"}, "body"),
        ({"body": "[]"}, "body"),
        ({"body": '{"targets": "jetson-xavier"}'}, "body.targets"),
        ({"body": '{"targets": [null]}'}, "body.targets.0"),
        ({"body": '{"targets": ["a", 1]}'}, "body.targets.1"),
        ({"body": '{"auto_triggered": null}'}, "body.auto_triggered"),
        ({"body": '{"auto_triggered": "yes"}'}, "body.auto_triggered"),
        ({"requestContext": None}, "requestContext"),
        ({"requestContext": {}}, "requestContext.authorizer"),
        ({"requestContext": {"authorizer": None}}, "requestContext.authorizer"),
        ({"requestContext": {"authorizer": {}}}, "requestContext.authorizer.userId"),
        ({"requestContext": {"authorizer": {"userId": None}}}, "requestContext.authorizer.userId"),
        ({"requestContext": {"authorizer": {"claims": None}}}, "requestContext.authorizer.claims"),
        ({"requestContext": {"authorizer": {"claims": {}}}}, "requestContext.authorizer.claims.sub"),
        ({"requestContext": {"authorizer": {"claims": {"sub": ["system"]}}}}, "requestContext.authorizer.claims.sub"),
        (
            {"requestContext": {"authorizer": {"claims": {"sub": "a", "email": None}}}},
            "requestContext.authorizer.claims.email",
        ),
    ],
)
def test_a_null_missing_or_mistyped_field_is_named(change, field):
    status, body = ask({**request("x"), **change})
    assert (status, body["type"], body["field"]) == (400, "RequestError", field)


@pytest.mark.parametrize("missing", ["httpMethod", "path", "requestContext"])
def test_a_missing_field_is_named(missing):
    event = request("x")
    del event[missing]
    status, body = ask(event)
    assert (status, body["field"], body["error"]) == (400, missing, f"{missing} is required.")


def test_what_a_request_holds_is_never_written(world):
    hostile = f"\x1b[31m\n{BODY_SECRET}\ud800"
    for event in (
        {**request("x"), "body": f'{{"targets": ["{BODY_SECRET}", 5]}}'},
        {**request("x"), "body": hostile},
        {**request("x"), "path": hostile},
        {**request(hostile)},
        {**request(world.job(), {"targets": [f"{BODY_SECRET}"]})},
        {**request(world.job()), "headers": {"Authorization": BODY_SECRET, "X-Amzn-Trace-Id": hostile}},
        request("x", user=hostile),
        {"trained": hostile, "compiled": [], "output": hostile},
        {"trained": "s3://b/k", "compiled": [{"target": BODY_SECRET, "uri": "s3://b/k"}], "output": "s3://b"},
        hostile,
        [hostile],
    ):
        assert 200 <= function.handler(event, Context())["statusCode"] < 500


MISSING = object()


def _places(event):
    """Where something stands in an event, at any depth."""
    inner = event.items() if isinstance(event, dict) else enumerate(event) if isinstance(event, list) else ()
    for name, value in inner:
        yield (name,)
        yield from ((name, *deeper) for deeper in _places(value))


def _with(event, place, value):
    """The event with `value`, or nothing, in one place."""
    changed = copy.deepcopy(event)
    holder = functools.reduce(operator.getitem, place[:-1], changed)
    if value is MISSING:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return changed


def changed_anywhere(event):
    """The event with any JSON value, or nothing, in the place of any of its fields, at any depth."""
    return st.builds(_with, st.just(event), st.sampled_from(list(_places(event))), st.just(MISSING) | json_values)


hostile = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
API_EVENT = {
    **through_gateway(request("no-such-job", user="nobody")),
    "multiValueHeaders": {"Content-Type": ["application/json"]},
    "queryStringParameters": None,
    "stageVariables": {"stage": "prod"},
    "isBase64Encoded": False,
}
API_BODY = {"targets": ["jetson-xavier", "onnx"], "auto_triggered": True}


@hostile
@given(changed_anywhere(API_EVENT))
def test_any_json_value_in_place_of_any_field_is_a_typed_4xx(world, event):
    status, body = ask(event)
    assert 400 <= status < 500, body
    assert body["error"] in {"Not found", "training_id is required"} or body["type"] == "RequestError"


@hostile
@given(body=changed_anywhere(API_BODY) | json_values, in_base64=st.booleans())
def test_any_json_value_in_the_body_is_a_typed_4xx(world, body, in_base64):
    text = json.dumps(body)
    if in_base64:
        text = base64.b64encode(text.encode()).decode()
    status, answer = ask({**API_EVENT, "body": text, "isBase64Encoded": in_base64})
    assert (status, answer["type"]) == (400, "RequestError")


def with_lambda_authorizer(event):
    user = event["requestContext"]["authorizer"]["claims"]["sub"]
    v2 = http_api(event)
    return {**v2, "requestContext": {**v2["requestContext"], "authorizer": {"lambda": {"userId": user}}}}


def below_a_base_path(event):
    return {**through_gateway(event), "path": f"/portal/v7{event['path']}"}


def behind_a_catch_all_resource(event):
    path = event["path"].removeprefix("/api/")
    return {
        **through_gateway(event),
        "resource": "/api/{proxy+}",
        "path": f"/base{event['path']}",
        "pathParameters": {"proxy": path},
    }


SHAPES = [
    through_gateway,
    below_a_base_path,
    behind_a_catch_all_resource,
    http_api,
    with_lambda_authorizer,
    function_url,
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_proxy_event_is_served_to_those_who_may_and_to_no_other(world, shape):
    job = world.job()
    user = world.user("DataScientist", world.record(job)["usecase_id"])
    status, body = ask(shape(request(job, {"targets": ["jetson-xavier"]}, user=user)))
    assert (status, [each["status"] for each in body["packaged_components"]]) == (200, ["packaged"])
    assert world.audits(job)[-1]["user_id"] == user
    assert ask(shape(request(job, user="system"))) == (403, {"error": "Insufficient permissions"})
    wrong = shape({**request(job, user=user), "path": f"/api/v1/training/{job}/publish"})
    if shape in (through_gateway, below_a_base_path):
        wrong["resource"] = "/api/v1/training/{id}/publish"
    wrong["routeKey"] = wrong.get("routeKey", "").replace("/package", "/publish")
    assert ask(wrong) == (404, {"error": "Not found"})


@pytest.mark.parametrize("several", [True, False])
def test_a_load_balancer_gets_its_form_of_reply_and_no_identity_is_believed(world, several):
    event = request(world.job())
    event["requestContext"] = {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1"}}
    event["pathParameters"] = None
    event["multiValueHeaders" if several else "headers"] = {"x-amzn-oidc-identity": ["system"]}
    reply = function.handler(event, Context())
    headers = reply["multiValueHeaders" if several else "headers"]
    assert headers["Content-Type"] == (["application/json"] if several else "application/json")
    assert (reply["statusCode"], reply["isBase64Encoded"]) == (400, False)
    assert json.loads(reply["body"])["field"] == "requestContext.authorizer"


@pytest.mark.parametrize("body", [None, "", "  ", "{}", '{"targets": null}'])
def test_a_body_that_says_nothing_asks_for_all_targets(world, body):
    event = {**request(world.job()), "body": body}
    if body is None:
        del event["body"]
    assert [each["target"] for each in ask(event)[1]["packaged_components"]] == ["jetson-xavier"]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model_type": "vllm"}, "vllm"),
        ({"source": "VLLM"}, "vllm"),
        ({"conversion": {"format": "tensorrt"}}, "conversion"),
        ({"runtime": "onnx", "detection": {"classes": 3}}, "onnx detection"),
        ({"metadata": {"runtime": "ONNX"}, "detection": {}}, "onnx detection"),
    ],
)
def test_a_kind_that_is_not_packaged_here_is_named(world, fields, kind):
    job = world.job(**fields)
    status, body = ask(request(job))
    assert (status, body["type"]) == (400, "RequestError")
    assert f" {kind} " in body["error"]
    assert "the portal's own function packages it" in body["error"]
    assert "packaged_components" not in world.record(job)


def test_an_imported_onnx_model_may_have_a_detection_block(world):
    imported = {"source": "imported", "runtime": "onnx", "detection": {"classes": 3}, "compilation_jobs": []}
    job = world.job(artifact_s3=world.uris["imported"], metadata={"framework": "ONNX"}, **imported)
    assert ask(request(job))[0] == 200


def test_what_is_left_is_told_in_words_that_a_user_of_the_portal_can_follow(world):
    job = world.job()
    status, body = ask(request(job), left_s=11)
    assert (status, body["left"]) == (200, ["jetson-xavier"])
    assert body["packaged_components"][0]["error"] == "Not done for want of time or space. Send the request again."
    assert "previous" not in json.dumps(body)


def test_a_body_in_base64_is_read_as_what_it_is(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", "neo2"))
    usecase = world.record(job)["usecase_id"]
    event = through_gateway(request(job, user=world.user("DataScientist", usecase)))
    body = base64.b64encode(b'{"targets": ["x86_64-cpu"]}').decode()
    answer = ask({**event, "body": body, "isBase64Encoded": True})[1]
    assert [each["target"] for each in answer["packaged_components"]] == ["x86_64-cpu"]


@pytest.mark.parametrize("body", ["{}", "\N{SNOWMAN}", "/w==", "abc"])
def test_a_body_that_is_not_the_base64_it_says_is_refused(body):
    status, answer = ask({**request("x"), "body": body, "isBase64Encoded": True})
    assert (status, answer["field"]) == (400, "body")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values)
def test_any_json_value_as_the_event_is_a_typed_4xx(world, value):
    answer = function.handler(value, Context())
    assert 400 <= answer["statusCode"] < 500


# Identities and roles


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("claims", [True, False])
def test_packaging_needs_the_role_data_scientist_or_above(world, role, claims):
    usecase = world.usecase()
    event = through_gateway(request(world.job(usecase=usecase), user=world.user(role.name, usecase), claims=claims))
    assert ask(event)[0] == (200 if role >= Role.DataScientist else 403)


@pytest.mark.parametrize("role", list(Role))
def test_of_the_global_roles_only_the_administrators_opens_every_use_case(world, role):
    event = through_gateway(request(world.job(), user=world.user(role.name, "global")))
    assert ask(event)[0] == (200 if role == Role.PortalAdmin else 403)


@pytest.mark.parametrize("role", ["", "portaladmin", "Owner", None, 5, ["PortalAdmin"]])
def test_no_role_or_an_unknown_one_opens_nothing(world, role):
    usecase = world.usecase()
    assert ask(through_gateway(request(world.job(usecase=usecase), user="nobody")))[0] == 403
    assert ask(through_gateway(request(world.job(usecase=usecase), user=world.user(role, usecase))))[0] == 403


def test_a_role_for_another_use_case_opens_nothing(world):
    event = through_gateway(request(world.job(), user=world.user("UseCaseAdmin", world.usecase())))
    assert ask(event)[0] == 403


@pytest.mark.parametrize("claims", [True, False])
def test_system_from_outside_opens_nothing_even_with_a_role(world, claims):
    world.user("PortalAdmin", "global", "system")
    try:
        job = world.job()
        assert ask(through_gateway(request(job, user="system", claims=claims))) == (
            403,
            {"error": "Insufficient permissions"},
        )
    finally:
        world.tables["USER_ROLES_TABLE"].delete_item(Key={"user_id": "system", "usecase_id": "global"})
    assert [(each["user_id"], each["result"]) for each in world.audits(job)] == [("system", "denied")]
    assert "packaged_components" not in world.record(job)


def lines_of(capfd, event):
    return [line for line in map(json.loads, capfd.readouterr().out.splitlines()) if line.get("event") == event]


def denied(world, job, _monkeypatch):
    return through_gateway(request(job, user=world.user("Viewer", "global")))


def nobody(_world, job, _monkeypatch):
    return through_gateway({**request(job), "requestContext": {}})


def aws_refusing(world, job, _monkeypatch):
    user = world.user("PortalAdmin", "global")
    local.breaking(world, "GetItem", local.refused(), times=2)
    return through_gateway(request(job, user=user))


def broken(world, job, monkeypatch):
    monkeypatch.setattr("packager.portal.service.jobs.choose", lambda *_: 1 / 0)
    return through_gateway(request(job, user=world.user("PortalAdmin", "global")))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (denied, (403, "denied", "ForbiddenError")),
        (nobody, (400, "denied", "RequestError")),
        (aws_refusing, (500, "failure", "AwsRefusedError")),
        (broken, (500, "failure", "ZeroDivisionError")),
    ],
)
def test_a_refusal_and_an_unexpected_failure_leave_an_audit_entry_and_a_line_with_who_asked(
    world, monkeypatch, capfd, case, expected
):
    status, result, error = expected
    job = world.job()
    event = case(world, job, monkeypatch)
    user = event["requestContext"].get("authorizer", {}).get("claims", {}).get("sub", "unknown")
    assert ask(event)[0] == status
    [entry] = world.audits(job)
    assert (entry["user_id"], entry["action"], entry["result"]) == (user, "package_components", result)
    assert entry["details"] == {"error_type": error, "status": status}
    [line] = lines_of(capfd, "request failed" if status >= 500 else "request refused")
    assert (line["user_id"], line["training_id"], line["error_type"]) == (user, job, error)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mark=st.sampled_from(["accountId", "apiId", "stage", "requestId", "identity", "domainName", "resourceId"]),
    value=json_values,
)
def test_any_mark_of_the_gateway_shuts_the_door_to_system(world, mark, value):
    event = request("no-such-job")
    event["requestContext"][mark] = value
    assert not caller(event).is_portal
    assert not caller({**request("x"), "headers": {mark: value}}).is_portal
    assert caller(request("x")).is_portal
    assert caller({**request("x"), "headers": {"Content-Type": "application/json"}}).is_portal


# Credentials


def test_a_use_case_of_our_own_account_is_served_with_our_own_credentials(world):
    for arn in (None, "", "arn:aws:iam::123456789012:root"):
        assert ask(request(world.job(usecase=world.usecase(cross_account_role_arn=arn))))[0] == 200
    assert ask(request(world.job(usecase=world.usecase(cross_account_role_arn=ROLE_ARN, account_id=""))))[0] == 200
    assert world.assumed == []
    assert _signers(world) == {local.KEYS["AWS_ACCESS_KEY_ID"]}


@pytest.mark.parametrize("external_id", [EXTERNAL_ID, None])
def test_a_use_case_of_another_account_lends_its_role(world, external_id):
    usecase = world.usecase(cross_account_role_arn=ROLE_ARN, external_id=external_id, region="eu-west-1")
    user = world.user("DataScientist", usecase, "a user:with/odd characters " + "x" * 60)
    world.proxy.forget()
    local.listen(world)
    job = world.job(world.compiled("jetson-xavier"), usecase=usecase)
    status, body = ask(through_gateway(request(job, user=user)))
    assert (status, body["packaged_components"][0]["status"]) == (200, "packaged"), body
    [(asked, answer)] = world.assumed
    assert asked["RoleArn"] == ROLE_ARN
    assert asked["DurationSeconds"] == "3600"
    assert asked.get("ExternalId") == external_id
    name, _, epoch = asked["RoleSessionName"].rpartition("-")
    assert name == "pkg-a-user-with-odd-char"
    assert epoch.isdigit()
    assert len(asked["RoleSessionName"]) <= 64
    [signer] = _signers(world)
    assert signer != local.KEYS["AWS_ACCESS_KEY_ID"]
    assert f"<AccessKeyId>{signer}</AccessKeyId>" in answer


def test_where_the_role_is_refused_the_reply_says_what(world):
    usecase = world.usecase(cross_account_role_arn=ROLE_ARN, external_id=EXTERNAL_ID)
    local.breaking(world, "PostBucket", refuse(403, "AccessDenied"), where=lambda asked: b"AssumeRole" in asked.body)
    status, body = ask(request(world.job(usecase=usecase)))
    assert (status, body["error"].partition(":")[0]) == (500, "Failed to package components")
    assert "AssumeRole" in body["error"]


@pytest.mark.parametrize("field", ["cross_account_role_arn", "account_id", "external_id", "region", "s3_bucket"])
def test_a_mistyped_field_of_the_use_case_is_named(world, field):
    usecase = world.usecase(**{"cross_account_role_arn": ROLE_ARN, field: 5})
    status, body = ask(request(world.job(usecase=usecase)))
    assert (status, body["field"]) == (400, f"usecase.{field}")


def _signers(world):
    """Whose keys signed the requests to S3."""
    found = set()
    for asked in world.proxy.requests:
        if "/s3/" in (signed := asked.headers.get("authorization", "")):
            found.add(signed.partition("Credential=")[2].partition("/")[0])
    return found


# Publishing


def test_an_auto_triggered_request_asks_for_publishing(world):
    job = world.job()
    body = ask(request(job, {"auto_triggered": True}))[1]
    assert body["component_creation_triggered"] is True
    [(name, kind, payload)] = world.published
    assert (name, kind) == (PUBLISHER, "Event")
    assert payload["httpMethod"] == "POST"
    assert payload["path"] == f"/api/v1/training/{job}/publish"
    assert payload["pathParameters"] == {"id": job}
    claims = payload["requestContext"]["authorizer"]["claims"]
    assert (claims["sub"], claims["cognito:username"]) == ("system", "system")
    assert claims["email"].startswith("system@")
    assert json.loads(payload["body"]) == {
        "component_name": "model-mochi-detector-2",
        "component_version": "1.0.0",
        "friendly_name": "Mochi Detector_2",
        "auto_triggered": True,
    }


def test_a_failure_to_ask_for_publishing_is_logged_and_never_raised(world, capfd):
    local.breaking(world, "PostObject", refuse(403, "AccessDeniedException"), times=9)
    status, body = ask(request(world.job(), {"auto_triggered": True}))
    assert (status, body["component_creation_triggered"]) == (200, False)
    assert '"event": "TriggerPublish"' in capfd.readouterr().out


def test_without_a_publishing_function_a_warning_says_so(world, monkeypatch, capfd):
    monkeypatch.setenv("GREENGRASS_PUBLISH_FUNCTION_NAME", "")
    forget_the_environment()
    assert ask(request(world.job(), {"auto_triggered": True}))[1]["component_creation_triggered"] is False
    assert "GREENGRASS_PUBLISH_FUNCTION_NAME" in capfd.readouterr().out
    monkeypatch.undo()
    forget_the_environment()


# Time


def test_with_three_seconds_left_the_answer_says_what_is_left(world, capfd):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("onnx", "onnx"))
    status, body = ask(request(job), left_s=3)
    assert status == 200
    assert body["left"] == ["jetson-xavier", *THREE]
    assert {each["status"] for each in body["packaged_components"]} == {"failed"}
    assert body["message"].startswith("No target was packaged. Not done for want of time or space: jetson-xavier, ")
    assert "send the request again" in body["message"]
    assert world.audits(job)[0]["result"] == "failure"
    assert world.uploads() == []
    said, until_s = capfd.readouterr().out, time.monotonic() + 60
    while '"AbortedForTime": 1' not in said:  # the answer does not wait for the lines
        assert time.monotonic() < until_s, said
        time.sleep(0.05)
        said += capfd.readouterr().out
    assert ask(request(job))[0] == 200
    assert {each["status"] for each in world.components(job).values()} == {"packaged"}


class Stalling(Context):
    """A clock that stands still until AWS leaves a request unanswered; then no more than the last call is left."""

    def __init__(self, world, operation, where=lambda _: True):
        super().__init__()
        self._stalled = threading.Event()
        answer_never = stall()

        def notice(exchange, asked):
            self._stalled.set()
            answer_never(exchange, asked)

        local.breaking(world, operation, notice, times=1000, where=where)

    def get_remaining_time_in_millis(self):
        return 1000 * (function.REPLY_RESERVE_S if self._stalled.is_set() else 100)


def answer_of(event, lambda_context):
    reply = function.handler(event, lambda_context)
    return reply["statusCode"], json.loads(reply["body"])


def test_a_record_that_is_not_read_in_time_is_an_answer(world, capfd):
    status, body = answer_of(request(world.job()), Stalling(world, "GetItem"))
    assert (status, body["request_id"]) == (500, Context.aws_request_id)
    assert body["error"].startswith("Failed to package components: DynamoDB GetItem (training_jobs) was given up.")
    assert '"AbortedForTime": 1' in capfd.readouterr().out


def test_a_record_that_is_not_written_in_time_is_an_answer_that_says_what_is_done(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", "damaged"))
    status, body = answer_of(request(job), Stalling(world, "UpdateItem"))
    assert status == 500
    assert body["error"].startswith("Failed to package components: DynamoDB UpdateItem (training_jobs) was given up.")
    assert [each["status"] for each in body["packaged_components"]] == ["packaged", "failed"]
    assert body["left"] == []
    assert "packaged_components" not in world.record(job)
    local.breaking(world, "UpdateItem", stall(), times=0)
    assert ask(request(job))[1]["packaged_components"][0] == body["packaged_components"][0]


def test_a_role_that_is_not_lent_in_time_is_an_answer(world):
    usecase = world.usecase(cross_account_role_arn=ROLE_ARN)
    late = Stalling(world, "PostBucket", where=lambda asked: b"AssumeRole" in asked.body)
    status, body = answer_of(request(world.job(usecase=usecase)), late)
    assert status == 500
    assert body["error"].startswith("Failed to package components: STS AssumeRole was given up.")


def test_an_audit_entry_that_is_not_written_in_time_changes_nothing_of_the_answer(world):
    job = world.job()
    status, body = answer_of(request(job), Stalling(world, "PutItem"))
    assert (status, body["message"]) == (200, "Packaged 1 of 1 targets.")


def test_publishing_that_does_not_answer_in_time_changes_nothing_of_the_answer(world):
    late = Stalling(world, "PostObject")
    status, body = answer_of(request(world.job(), {"auto_triggered": True}), late)
    assert (status, body["component_creation_triggered"]) == (200, False)


def test_an_event_that_is_not_recorded_in_time_is_raised_so_that_it_comes_again(world):
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    world.job(mine)
    news = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
    for operation in ("Scan", "UpdateItem"):
        with pytest.raises(aws.AwsRefusedError, match="was given up"):
            function.handler(news, Stalling(world, operation))


def test_what_does_not_stop_in_time_leaves_its_last_words(world, monkeypatch, capfd):
    logged = threading.Event()
    say = clock._log_timeout

    def heard(*told):
        say(*told)
        logged.set()

    monkeypatch.setattr(clock, "_log_timeout", heard)
    monkeypatch.setattr(
        "packager.packaging.package", lambda *_, **__: logged.wait(10) or pytest.fail("nothing was said")
    )
    with pytest.raises(AttributeError):
        function.handler(_machine_event(world), Context(left_s=0.3))
    written = capfd.readouterr().out
    [told] = [json.loads(line) for line in written.splitlines() if '"event": "time is up"' in line]
    assert (told["time_given_s"], told["time_left_s"]) == (0.3, 0.3)
    assert '"outcome": "incomplete"' in written


# Machines


def _machine_event(world, **change):
    return {
        "trained": world.uris["trained"],
        "compiled": [{"target": "jetson-xavier", "uri": world.uris["neo"]}],
        "output": f"s3://{world.bucket}/machines",
        **change,
    }


@pytest.mark.parametrize("manifest", [None, "prepare"])
def test_what_a_machine_asks_of_s3_reaches_the_requests_that_write(world, manifest):
    asked = {"encryption": "AES256", "tags": "team=vision", "acl": "bucket-owner-full-control", "requester_pays": True}
    event = _machine_event(world, output=f"s3://{world.bucket}/asked", options={"s3": asked}, manifest=manifest)
    assert function.handler(event, Context())["statusCode"] == 200
    written = [*world.proxy.asked("PutObject"), *world.proxy.asked("CreateMultipartUpload")]
    assert written
    for each in written:
        found = {name: value for name, value in each.headers.items() if name.startswith("x-amz-")}
        assert found.items() >= {
            "x-amz-server-side-encryption": "AES256", "x-amz-tagging": "team=vision",
            "x-amz-acl": "bucket-owner-full-control", "x-amz-request-payer": "requester",
        }.items()  # fmt: skip


def test_a_machine_gets_the_document_of_the_command_line(world):
    answer = function.handler(_machine_event(world), Context())
    [component] = answer["components"]
    assert (answer["statusCode"], answer["error"], answer["left"]) == (200, None, [])
    assert set(answer) == {"statusCode", "components", "manifest", "peak_scratch_bytes", "left", "error"}
    body = world.s3.get_object(Bucket=world.bucket, Key=component["uri"].split("/", 3)[3])["Body"].read()
    assert component["sha256"] == hashlib.sha256(body).hexdigest()
    assert json.loads(json.dumps(answer)) == answer


def test_a_machine_can_package_one_target_per_invocation_or_an_imported_model(world):
    event = _machine_event(
        world, trained=world.uris["imported"], compiled=[], options={"imported_targets": ["x86_64-cpu"]}
    )
    assert [each["target"] for each in function.handler(event, Context())["components"]] == ["x86_64-cpu"]


def test_null_for_an_optional_field_of_a_machine_is_the_field_missing(world):
    options = {"strategy": None, "force": None, "strict": None, "imported_targets": None, "previous": None}
    for event in (
        _machine_event(world, options=None, training_id=None, manifest=None, trace_header=None),
        _machine_event(world, options=options),
    ):
        assert function.handler(event, Context())["components"][0]["error"] is None


def test_in_lambda_a_component_goes_to_s3_only(world, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "edge-model-packager")
    forget_the_environment()
    try:
        for output in (str(tmp_path), f"file://{tmp_path}"):
            answer = function.handler(_machine_event(world, output=output), Context())
            assert (answer["statusCode"], answer["error"]["field"]) == (400, "output")
            assert "S3" in answer["error"]["message"] or "s3://" in answer["error"]["message"]
        assert list(tmp_path.iterdir()) == []
    finally:
        monkeypatch.undo()
        forget_the_environment()


def test_a_time_reserve_that_leaves_no_time_is_named_at_the_start(world, monkeypatch):
    monkeypatch.setenv("TIME_RESERVE_S", "60")
    monkeypatch.setenv("FUNCTION_TIME_S", "60")
    forget_the_environment()
    try:
        answer = function.handler(_machine_event(world), Context())
        assert (answer["statusCode"], answer["error"]["type"]) == (500, "SettingsError")
        assert answer["error"]["setting"] == "TIME_RESERVE_S"
        assert ask(request("x"))[0] == 500
    finally:
        monkeypatch.undo()
        forget_the_environment()


def test_a_machine_goes_on_from_a_partial_result(world):
    event = _machine_event(
        world,
        compiled=[{"target": "x86_64-cpu", "uri": world.uris["neo2"]}, {"target": "onnx", "uri": world.uris["onnx"]}],
        output=f"s3://{world.bucket}/partial",
    )
    partial = function.handler(event, Context(left_s=3))
    assert (partial["statusCode"], partial["left"]) == (200, ["x86_64-cpu", *THREE])
    whole = function.handler({**event, "options": {"previous": partial}}, Context())
    assert (whole["left"], {each["status"] for each in whole["components"]}) == ([], {"packaged"})
    again = function.handler({**event, "options": {"previous": whole}}, Context())
    assert [each["uri"] for each in again["components"]] == [each["uri"] for each in whole["components"]]


def test_a_machine_has_the_manifest_prepared_once_and_gets_brief_answers_then(world):
    event = _machine_event(world, output=f"s3://{world.bucket}/prepared")
    kept = function.handler({**event, "compiled": None, "manifest": "prepare"}, Context())
    assert kept == {"statusCode": 200, "manifest_uri": kept["manifest_uri"], "error": None}
    assert kept["manifest_uri"].startswith(f"s3://{world.bucket}/prepared/model_artifacts/manifest-")
    with recorded() as records:
        answer = function.handler({**event, "manifest": "prepared"}, Context())
    assert "CreateManifest" not in {each.row for each in records}
    assert set(answer) == {"statusCode", "components", "peak_scratch_bytes", "left", "again", "error"}
    plain = function.handler(event | {"options": {"force": True}}, Context())
    [component], [same] = answer["components"], plain["components"]
    assert (component["status"], component["sha256"], component["uri"]) == ("packaged", same["sha256"], same["uri"])


def test_a_brief_answer_names_the_targets_whose_failure_can_pass():
    passing, lasting = StoreError("busy", code="SlowDown"), StoreError("gone", code="NoSuchBucket")
    result = PackageResult(
        [
            ComponentResult("a", "failed", "streaming", 0, error=passing),
            ComponentResult("b", "failed", "streaming", 0, error=lasting),
            ComponentResult("c", "left", "streaming", 0, error=OutOfTimeError("no time")),
            ComponentResult("d", "packaged", "streaming", 0),
        ],
        manifest={"large": "x" * 1000},
    )
    answer = state_document(result)
    assert (answer["again"], answer["left"], "manifest" in answer) == (["a"], ["c"], False)


def test_a_manifest_that_cannot_be_prepared_is_the_answer(world):
    for name, status, error in (("damaged", 400, "ExtractionError"), ("nothing", 404, "ArtifactNotFoundError")):
        trained = world.uris.get(name, f"s3://{world.bucket}/{name}")
        answer = function.handler(_machine_event(world, trained=trained, manifest="prepare"), Context())
        assert (answer["statusCode"], answer["error"]["type"], answer["components"]) == (status, error, [])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trained": None}, "trained"),
        ({"trained": "models/relative"}, "trained"),
        ({"compiled": None}, "compiled"),
        ({"compiled": {"jetson-xavier": "s3://b/k"}}, "compiled"),
        ({"compiled": [None]}, "compiled[0]"),
        ({"compiled": [{"target": "jetson-xavier"}]}, "compiled[0].uri"),
        ({"compiled": [{"target": "x86_64-cpu", "uri": "s3://b/k"}] * 2}, "compiled[1].target"),
        ({"output": 5}, "output"),
        ({"options": {"strategy": "magic"}}, "options.strategy"),
        ({"options": {"force": "yes"}}, "options.force"),
        ({"options": {"forse": True}}, "options"),
        ({"options": {"previous": 5}}, "options.previous"),
        ({"options": {"s3": "aws:kms"}}, "options.s3"),
        ({"options": {"s3": {"give_up_s": 1}}}, "options.s3"),
        ({"options": {"s3": {"acl": 5}}}, "options.s3.acl"),
        ({"options": {"s3": {"acl": "Robert'); --"}}}, "options.s3.acl"),
        ({"options": {"s3": {"bucket_key": True}}}, "options.s3.bucket_key"),
        ({"options": {"s3": {"expected_bucket_owner": "123"}}}, "options.s3.expected_bucket_owner"),
        ({"options": {"previous": {"components": [5]}}}, "options.previous.components[0]"),
        ({"training_id": 5}, "training_id"),
        ({"manifest": "magic"}, "manifest"),
        ({"manifest": {"model_graph": {}}}, "manifest"),
        ({"manifest": "prepare", "output": None}, "output"),
    ],
)
def test_a_machine_is_told_which_field_is_wrong(world, change, field):
    answer = function.handler(_machine_event(world, **change), Context())
    assert (answer["statusCode"], answer["error"]["type"], answer["error"]["field"]) == (400, "RequestError", field)
    assert answer["components"] == []


ERROR = {"type": "OutOfTimeError", "message": "late", "next_step": "again", "time_left_s": 1.5}
WARNING = {"rule": "neo-file-set", "message": "no .meta", "next_step": "compile again"}
LEFT = {"status": "left", "uri": None, "sha256": None, "size_bytes": None, "files": None, "strategy": "partial"}
LEFT |= {"duration_s": 0.5, "warnings": [WARNING], "error": ERROR}
MACHINE_EVENT = {
    "trained": "/no-such-folder-of-ours/x",
    "compiled": [
        {"target": "jetson-xavier", "uri": "/no-such-folder-of-ours/y"},
        {"target": "onnx", "uri": "/no-such-folder-of-ours/z"},
    ],
    "output": "s3://no-such-bucket-of-ours",
    "options": {
        "strategy": "auto",
        "force": True,
        "strict": False,
        "imported_targets": [],
        "previous": {
            "statusCode": 200,
            "components": [{"target": "jetson-xavier", **LEFT}, {"target": "x86_64-cpu", **LEFT}],
            "manifest": {"model_graph": {}},
            "peak_scratch_bytes": 0,
            "left": ["jetson-xavier"],
            "error": None,
        },
    },
    "training_id": "t",
    "manifest": "prepared",
    "trace_header": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
}


@hostile
@given(changed_anywhere(MACHINE_EVENT))
def test_any_json_value_in_a_machines_event_is_a_typed_4xx(world, event):
    answer = function.handler(event, Context())
    assert 400 <= answer["statusCode"] < 500, answer
    assert answer["error"]["type"] in {"RequestError", "ArtifactNotFoundError", "StoreError"}


@pytest.mark.parametrize(
    "trained", ["/", "file:///tmp", "/dev/null", "/x" * 1000, "file:///%2e%2e/nowhere", "s3://b-b/.."]
)
def test_a_trained_artifact_that_is_no_file_is_the_machines_mistake(world, trained):
    answer = function.handler(_machine_event(world, trained=trained), Context())
    assert 400 <= answer["statusCode"] < 500, answer
    assert answer["error"]["next_step"]


def test_a_damaged_trained_artifact_is_the_machines_mistake(world):
    answer = function.handler(_machine_event(world, trained=world.uris["damaged"]), Context())
    assert (answer["statusCode"], answer["error"]["type"]) == (400, "ExtractionError")


def test_an_answer_is_valid_utf8_and_small_enough():
    answer = document(200, {"manifest": {"name": "\ud800"}, "left": []})
    assert answer == {"statusCode": 200, "manifest": {"name": "?"}, "left": []}
    assert document(200, {"manifest": "x" * LARGEST_BYTES, "left": []}) == {
        "statusCode": 200,
        "manifest": None,
        "left": [],
    }


# EventBridge


def test_a_completed_compilation_is_recorded_and_packaged_without_waiting_for_the_others(world):
    mine = world.compiled("jetson-xavier", status="INPROGRESS", compiled_model_s3=None)
    job = world.job(
        world.compiled("x86_64-cpu", status="FAILED"), mine, world.compiled("arm64-cpu", status="INPROGRESS")
    )
    answer = function.handler(compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"]), Context())
    assert (answer["statusCode"], answer["status"], answer["training_id"]) == (200, "COMPLETED", job)
    entries = world.record(job)["compilation_jobs"]
    assert [each["status"] for each in entries] == ["FAILED", "COMPLETED", "INPROGRESS"]
    assert entries[1]["compiled_model_s3"] == world.uris["neo"]
    assert {name: each["status"] for name, each in world.components(job).items()} == {"jetson-xavier": "packaged"}
    assert answer["component_creation_triggered"] is False


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_compilation_that_failed_is_recorded_with_its_reason(world, status):
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    job = world.job(mine, world.compiled("x86_64-cpu", status="INPROGRESS"))
    answer = function.handler(compilation_event(mine["compilation_job_name"], status), Context())
    assert (answer["statusCode"], answer["packaged_components"]) == (200, [])
    entry = world.record(job)["compilation_jobs"][0]
    assert entry["status"] == status.upper()
    assert entry["failure_reason"] == (
        "ClientError: the operator is not supported" if status == "Failed" else "The compilation job ended as STOPPED."
    )


def test_when_the_last_compilation_has_ended_publishing_is_asked_for_once(world):
    first = world.compiled("jetson-xavier", status="INPROGRESS")
    last = world.compiled("x86_64-cpu", status="INPROGRESS")
    world.job(first, last)
    function.handler(compilation_event(first["compilation_job_name"], artifact=world.uris["neo"]), Context())
    assert world.published == []
    function.handler(compilation_event(last["compilation_job_name"], "Failed"), Context())
    assert len(world.published) == 1


def test_events_that_come_at_once_undo_nothing_of_each_other(world):
    names = ["jetson-xavier", "x86_64-cpu", "arm64-cpu", "x86_64-cuda"]
    entries = [world.compiled(name, status="INPROGRESS", compiled_model_s3=None) for name in names]
    job = world.job(*entries)
    ready = threading.Barrier(len(names))

    def news(entry):
        ready.wait()
        function.handler(compilation_event(entry["compilation_job_name"], artifact=world.uris["neo"]), Context())

    threads = [threading.Thread(target=news, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["status"] for each in world.record(job)["compilation_jobs"]] == ["COMPLETED"] * 4
    assert {name: each["status"] for name, each in world.components(job).items()} == dict.fromkeys(names, "packaged")
    assert world.published


def test_a_job_is_found_on_whichever_page_it_stands(world):
    entries = [world.compiled("x86_64-cpu", status="INPROGRESS", padding="x" * 300_000) for _ in range(8)]
    crowd = [world.job(entry) for entry in entries]
    world.proxy.forget()
    local.listen(world)
    for training_id, entry in zip(crowd, entries, strict=True):
        answer = function.handler(compilation_event(entry["compilation_job_name"], "Failed"), Context())
        assert answer["training_id"] == training_id
    scans = [asked for asked in world.proxy.requests if asked.headers.get("x-amz-target", "").endswith("Scan")]
    assert len(scans) > len(crowd)
    for training_id in crowd:
        world.tables["TRAINING_JOBS_TABLE"].delete_item(Key={"training_id": training_id})


def test_an_index_that_a_setting_names_is_asked_first(world, monkeypatch):
    world.tables["TRAINING_JOBS_TABLE"].update(
        AttributeDefinitions=[{"AttributeName": "compilation_job_name", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": "by-compilation",
                    "KeySchema": [{"AttributeName": "compilation_job_name", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            }
        ],
    )
    monkeypatch.setenv("COMPILATION_JOB_INDEX", "by-compilation")
    forget_the_environment()
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    indexed = world.job(mine, compilation_job_name=mine["compilation_job_name"])
    other = world.compiled("x86_64-cpu", status="INPROGRESS")
    not_indexed = world.job(other)
    world.proxy.forget()
    local.listen(world)
    assert function.handler(compilation_event(mine["compilation_job_name"], "Failed"), Context())["training_id"] == (
        indexed
    )
    assert not [asked for asked in world.proxy.requests if asked.headers.get("x-amz-target", "").endswith("Scan")]
    found = function.handler(compilation_event(other["compilation_job_name"], "Failed"), Context())["training_id"]
    assert found == not_indexed
    monkeypatch.undo()
    forget_the_environment()


def test_news_of_a_compilation_that_nobody_knows_is_a_typed_refusal(world):
    answer = function.handler(compilation_event("somebody-elses-job", "Failed"), Context())
    assert (answer["statusCode"], answer["error"]["field"]) == (400, "detail.CompilationJobName")


def test_what_aws_refuses_about_an_event_is_raised_so_that_it_comes_again(world):
    local.breaking(world, "Scan", local.refused())
    with pytest.raises(aws.AwsRefusedError, match="Scan"):
        function.handler(compilation_event("a-job", "Failed"), Context())


EVENT_BRIDGE_EVENT = {
    **compilation_event("nobodys", artifact="s3://b/k"),
    "version": "0",
    "id": "b5a9d0d7-3e0c-4a3f-9a52-000000000001",
    "account": "123456789012",
    "time": "2026-01-01T00:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:sagemaker:us-east-1:123456789012:compilation-job/nobodys"],
}


@settings(hostile, max_examples=100)  # most of them look through the table
@given(
    changed_anywhere(EVENT_BRIDGE_EVENT)
    | changed_anywhere({**EVENT_BRIDGE_EVENT, **compilation_event("nobodys", "Failed")})
)
def test_any_json_value_in_an_event_of_event_bridge_is_not_ours_or_a_typed_error_for_the_dead_letters(world, event):
    with suppress(RequestError):
        answer = function.handler(event, Context())
        assert (answer["statusCode"], answer["error"]["type"]) in {
            (400, "UnknownCompilationError"),  # an event of EventBridge
            (400, "RequestError"),  # of a machine, once it is no event of EventBridge
        }


def test_a_compilation_whose_component_is_left_or_fails_for_a_cause_that_can_pass_comes_again(world):
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    job = world.job(mine)
    event = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
    with pytest.raises(NotDoneError, match="jetson-xavier"):
        function.handler(event, Context(left_s=11))
    assert world.published == []
    answer = function.handler(event, Context())
    assert [each["status"] for each in answer["packaged_components"]] == ["packaged"]
    assert list(world.components(job)) == ["jetson-xavier"]
    assert len(world.published) == 1


def test_publishing_that_is_not_reached_is_tried_again_when_the_event_comes_again(world):
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    world.job(mine)
    event = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
    local.breaking(world, "PostObject", refuse(403, "AccessDeniedException"), times=9)
    with pytest.raises(NotDoneError, match="was not reached"):
        function.handler(event, Context())
    world.proxy.forget()
    local.listen(world)
    assert function.handler(event, Context())["component_creation_triggered"] is True
    assert len(world.published) == 1


@pytest.mark.parametrize("at_once", [False, True])
def test_the_same_event_delivered_again_publishes_once(world, at_once):
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    world.job(mine)
    event = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
    job = world.job()

    def deliver(_):
        compiled = function.handler(event, Context())
        asked = ask(request(job, {"auto_triggered": True}))[1]
        return compiled["component_creation_triggered"], asked["component_creation_triggered"]

    with ThreadPoolExecutor(4 if at_once else 1) as pool:
        assert list(pool.map(deliver, range(4))) == [(True, True)] * 4
    paths = sorted(payload["path"].split("/")[4] for _, _, payload in world.published)
    assert len(paths) == len(set(paths)) == 2


# Deliveries


def in_sqs(*contents, group=None):
    """An event of SQS; texts stand as they are."""
    attributes = {"MessageGroupId": group} if group else {}
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": content if isinstance(content, str) else json.dumps(content),
                "attributes": {"ApproximateReceiveCount": "1", **attributes},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:packages",
            }
            for number, content in enumerate(contents)
        ]
    }


def in_sns(content):
    message = {"Type": "Notification", "MessageId": "sns-1", "Message": json.dumps(content)}
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": message}]}


def in_sns_in_sqs(content):
    return in_sqs({"Type": "Notification", "MessageId": "sns-1", "Message": json.dumps(content)})


S3_NOTIFICATION = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "models"}, "object": {"key": "model.tar.gz", "size": 1}},
        }
    ]
}


def failed_messages(event, context=None):
    return [each["itemIdentifier"] for each in function.handler(event, context or Context())["batchItemFailures"]]


@pytest.mark.parametrize("wrapped", [in_sqs, in_sns, in_sns_in_sqs])
def test_a_request_in_a_message_is_served(world, wrapped):
    output = f"s3://{world.bucket}/{wrapped.__name__}"
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    job = world.job(mine)
    for content in (
        _machine_event(world, output=output),
        compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"]),
    ):
        assert failed_messages(wrapped(content)) == []
    assert world.s3.list_objects_v2(Bucket=world.bucket, Prefix=f"{wrapped.__name__}/")["KeyCount"] == 1
    assert list(world.components(job)) == ["jetson-xavier"]


def test_only_the_messages_that_have_to_come_again_are_reported(world):
    output = f"s3://{world.bucket}/batch"
    good, slow = _machine_event(world, output=output), _machine_event(world, output=output, trained="s3://slow/x")
    local.breaking(
        world, "HeadObject", refuse(503, "SlowDown"), times=10**6, where=lambda asked: "/slow/" in asked.target
    )
    assert failed_messages(in_sqs(good, slow, good)) == ["message-1"]
    assert failed_messages(in_sqs(good, slow, good, group="in order")) == ["message-1", "message-2"]
    assert failed_messages(in_sqs(good, good), Context(left_s=11)) == ["message-0", "message-1"]


@pytest.mark.parametrize("wrapped", [in_sns, lambda content: content])
def test_what_cannot_be_reported_is_raised(world, wrapped):
    mine = world.compiled("jetson-xavier", status="INPROGRESS")
    world.job(mine)
    event = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
    with pytest.raises(NotDoneError):
        function.handler(wrapped(event), Context(left_s=11))


MALFORMED = {
    "no JSON": in_sqs("{"),
    "no object": in_sqs("5"),
    "no request": in_sqs({"trained": "s3://b/k"}),
    "an API request that nobody vouches for": in_sqs(request("x", {"auto_triggered": True})),
    "an S3 notification": S3_NOTIFICATION,
    "an S3 notification in a queue": in_sqs(S3_NOTIFICATION),
    "an S3 notification in a topic": in_sns(S3_NOTIFICATION),
    "a stream": {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": "e30="}}]},
    "another event of EventBridge": {"source": "aws.s3", "detail-type": "Object Created", "detail": {}},
    "a state that is none": compilation_event("a-job", "Exploded"),
}


@pytest.fixture
def dead_letters(world, monkeypatch):
    """A queue of dead letters; gives what lies there."""
    queue = boto3.client("sqs", endpoint_url=world.proxy.endpoint_url, region_name="us-east-1")
    url = queue.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", url)
    forget_the_environment()

    def letters():
        answer = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        return [
            (
                json.loads(each["Body"]),
                {name: value["StringValue"] for name, value in each["MessageAttributes"].items()},
            )
            for each in answer.get("Messages", [])
        ]

    yield letters
    monkeypatch.undo()
    forget_the_environment()


@pytest.mark.parametrize("name", MALFORMED)
def test_what_can_never_succeed_lies_with_the_dead_letters_once_with_its_reason(world, dead_letters, name):
    event = MALFORMED[name]
    answer = function.handler(event, Context())
    assert answer.get("batchItemFailures", []) == []
    assert answer.get("statusCode", 400) == 400
    [(letter, reason)] = dead_letters()
    assert letter in (event, event.get("Records", [None])[0])
    assert reason["ErrorType"] == "RequestError"
    assert reason["ErrorMessage"]


@pytest.mark.parametrize("name", MALFORMED)
def test_without_a_queue_of_dead_letters_what_can_never_succeed_fails_so_that_aws_keeps_it(world, name):
    event = MALFORMED[name]
    if "in a queue" in name or event.get("Records", [{}])[0].get("eventSource") == "aws:sqs":
        assert failed_messages(event) == ["message-0"]
    else:
        with pytest.raises(RequestError):
            function.handler(event, Context())


def test_a_target_that_fails_for_good_is_a_dead_letter_beside_those_that_were_packaged(world, dead_letters):
    compiled = [
        {"target": "x86_64-cpu", "uri": world.uris["damaged"]},
        {"target": "arm64-cpu", "uri": world.uris["neo"]},
    ]
    event = _machine_event(world, compiled=compiled, output=f"s3://{world.bucket}/mixed")
    assert failed_messages(in_sqs(event)) == []
    [(letter, reason)] = dead_letters()
    assert (json.loads(letter["body"]), reason["ErrorType"]) == (event, "FailedTargetsError")
    assert "x86_64-cpu" in reason["ErrorMessage"]
    assert "arm64-cpu" not in reason["ErrorMessage"]


def test_a_dead_letter_that_is_not_kept_fails_and_comes_again(world, dead_letters):
    local.breaking(world, "PostObject", refuse(403, "AccessDenied"), times=9)
    local.breaking(world, "PostBucket", refuse(403, "AccessDenied"), times=9)
    assert failed_messages(in_sqs("{")) == ["message-0"]


def test_the_compilation_of_somebody_else_and_a_test_of_s3_are_no_failures(world):
    assert failed_messages(in_sqs(compilation_event("somebody-elses-job", "Failed"))) == []
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "models"}
    assert failed_messages(test) == []
    assert failed_messages(in_sqs(test)) == []
    assert failed_messages(in_sns(test)) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed_anywhere(in_sqs(MACHINE_EVENT)) | changed_anywhere(in_sns(MACHINE_EVENT)))
def test_any_json_value_in_a_delivery_is_reported_or_a_typed_error(world, event):
    with suppress(PackagerError):
        answer = function.handler(event, Context())
        assert "batchItemFailures" in answer or answer["statusCode"] == 400


# Cold start


NOT_DEPLOYED = (
    "aiohttp",
    "altair",
    "aws_cdk",
    "click",
    "dashboards",
    "infra",
    "moto",
    "prometheus_client",
    "pytest",
    "rich",
)


def _modules_after(event):
    """What a process has imported that answered one event, where only what is deployed can be imported."""
    code = f"""
import json, os, sys

class NotDeployed:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {NOT_DEPLOYED!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, NotDeployed())
from packager.handler import handler
answers = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
assert handler(json.loads({json.dumps(event)!r}), None)["statusCode"] in (200, 400, 404)
os.write(answers, json.dumps(sorted(sys.modules)).encode())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("event", [{"httpMethod": "OPTIONS", "path": "/x"}, {"httpMethod": "GET", "path": "/x"}, {}])
def test_an_answer_that_needs_no_aws_imports_none_of_it(world, event):
    loaded = _modules_after(event)
    assert loaded.isdisjoint(["boto3", "botocore", "urllib3", "requests", "yaml", *NOT_DEPLOYED])
    assert len(loaded) <= 520, len(loaded)


def test_a_request_that_is_packaged_imports_boto3_and_no_tool_of_people(world):
    loaded = _modules_after(request(world.job()))
    assert "boto3" in loaded
    assert loaded.isdisjoint(["requests", *NOT_DEPLOYED])
    assert len(loaded) <= 900, len(loaded)


def test_a_clients_and_sessions_are_made_once(world, monkeypatch):
    ask(request(world.job()))
    made = []
    monkeypatch.setattr("boto3.session.Session.client", lambda *_, **__: made.append(1))
    assert ask(request(world.job()))[0] == 200
    assert made == []


def test_libraries_stay_quiet_about_requests_at_any_level(world, monkeypatch):
    for name in ("botocore", "urllib3", "boto3"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING
