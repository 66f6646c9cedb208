"""Requests that take longer than API Gateway waits: they go on in the state machine, and say where to look."""

from __future__ import annotations

import json

import pytest

from packager import handler as function
from packager.portal import aws, tables
from packager.portal import settings as portal_settings
from packager.stores import s3_client
from telemetry import aws_lambda
from tests import portal as local
from tests.portal import MACHINE_ARN, PUBLISHER, Context, request, through_gateway


def forget():
    portal_settings.from_process_environment.cache_clear()
    aws._client.cache_clear()
    aws._session.cache_clear()
    s3_client._clients.clear()


@pytest.fixture(scope="module")
def world(s3_server):
    with local.portal(s3_server.endpoint_url) as world, pytest.MonkeyPatch.context() as environment:
        # The work stops two seconds before its reserve, which leaves none: whatever is asked is left at once.
        given = {**world.environment, "REQUEST_MACHINE_ARN": MACHINE_ARN, "INTEGRATION_S": "11"}
        for name, value in given.items():
            environment.setenv(name, value)
        environment.setattr(tables, "_LONGEST_PAUSE_S", 0.0)
        forget()
        yield world
        forget()
        aws_lambda.RUNTIME.close()


@pytest.fixture(autouse=True)
def _anew(world):
    world.executions.clear()
    world.published.clear()
    local.breaking(world, "GetItem", local.refused(), times=0)


def ask(event):
    reply = function.handler(event, Context())
    return reply["statusCode"], json.loads(reply["body"]), reply["headers"]


def outside(world, job, body=None, *, role="DataScientist", method="POST", user=None):
    user = user or world.user(role, world.record(job)["usecase_id"])
    event = through_gateway({**request(job, body, user=user), "httpMethod": method})
    event["requestContext"]["path"] = f"/prod/api/v1/training/{job}/package"
    return event


def user_of(event):
    return event["requestContext"]["authorizer"]["claims"]["sub"]


def continued(world, left_s=900):
    """The reply of the function to the machine, which sends what it was given; see infra/request_states.py."""
    (execution,) = world.executions.values()
    given = json.loads(execution["input"])["request"]
    event = {
        "httpMethod": "POST",
        "path": f"/api/v1/training/{given['training_id']}/package",
        "pathParameters": {"id": given["training_id"]},
        "body": json.dumps(given["body"]),
        "requestContext": {"authorizer": {"userId": given["user_id"]}},
        "execution": {"id": execution["executionArn"].rpartition(":")[2], "done": given["done"]},
    }
    reply = function.handler(event, Context(left_s))
    return reply["statusCode"], json.loads(reply["body"])


def test_a_request_that_cannot_end_in_time_is_answered_202_with_where_to_look_and_goes_on(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", ""))
    event = outside(world, job, {"auto_triggered": True})
    status, body, headers = ask(event)
    path = f"/prod/api/v1/training/{job}/package"
    assert (status, headers["Location"]) == (202, path)
    broken = body["packaged_components"]
    assert [(each["target"], each["status"]) for each in broken] == [("x86_64-cpu", "failed")]
    assert {name: body[name] for name in ("training_id", "state", "status_url", "left")} == {
        "training_id": job, "state": "running", "status_url": path, "left": ["jetson-xavier"],
    }  # fmt: skip
    (arn, execution), *others = world.executions.items()
    assert not others
    assert json.loads(execution["input"]) == {
        "request": {
            "training_id": job,
            "user_id": user_of(event),
            "body": {"targets": ["jetson-xavier"], "auto_triggered": True},
            "done": broken,
        }
    }
    assert world.record(job)["package_execution"]["arn"] == arn
    assert [(each["result"], each["user_id"]) for each in world.audits(job)] == [("accepted", user_of(event))]
    assert world.published == []

    status, body = continued(world)
    assert (status, body["message"]) == (200, "Packaged 1 of 2 targets, 1 failed.")
    assert [(each["target"], each["status"]) for each in body["packaged_components"]] == [
        ("x86_64-cpu", "failed"),
        ("jetson-xavier", "packaged"),
    ]
    assert body["component_creation_triggered"]
    assert [name for name, *_ in world.published] == [PUBLISHER]
    assert continued(world)[1] == body
    assert [name for name, *_ in world.published] == [PUBLISHER]
    assert {each["user_id"] for each in world.audits(job)} == {user_of(event)}


def test_publishing_waits_until_nothing_is_left(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", ""))
    assert ask(outside(world, job, {"auto_triggered": True}))[0] == 202
    status, body = continued(world, left_s=11)
    assert (status, body["left"], body["component_creation_triggered"]) == (200, ["jetson-xavier"], False)
    assert world.published == []


ENDS = [
    ({"status": "RUNNING"}, {"state": "running"}),
    (
        {"status": "SUCCEEDED", "stopDate": 1.8e9 + 60, "output": '{"statusCode": 200, "body": {"message": "m"}}'},
        {"state": "succeeded", "ended_at": 60, "reply": {"statusCode": 200, "body": {"message": "m"}}},
    ),
    (
        {"status": "FAILED", "stopDate": 1.8e9 + 60, "error": "RequestLeft", "cause": '{"left": ["x"]}'},
        {"state": "failed", "ended_at": 60, "reply": {"statusCode": 500, "body": {"left": ["x"]}}},
    ),
    (
        {"status": "FAILED", "stopDate": 1.8e9 + 60, "error": "Lambda.Unknown", "cause": "of no concern to callers"},
        {"state": "failed", "ended_at": 60},
    ),
    ({"status": "TIMED_OUT", "stopDate": 1.8e9 + 60}, {"state": "failed", "ended_at": 60}),
]


@pytest.mark.parametrize(("end", "expected"), ENDS, ids=lambda each: each.get("status"))
@pytest.mark.parametrize("role", ["Viewer", "UseCaseAdmin"])
def test_the_state_is_told_to_everyone_with_a_role_in_the_use_case(world, end, expected, role):
    from datetime import datetime  # noqa: PLC0415  beside its use

    job = world.job()
    ask(outside(world, job))
    (execution,) = world.executions.values()
    execution.update(end)
    status, body, _ = ask(outside(world, job, role=role, method="GET"))
    started = datetime.fromisoformat(body.pop("started_at"))
    if "ended_at" in body:
        body["ended_at"] = (datetime.fromisoformat(body["ended_at"]) - started).total_seconds()
    assert status == 200
    left = [{"target": "jetson-xavier", "status": "failed", "fault": "service"}]
    assert [{**each, "error": None} for each in body.pop("packaged_components")] == [{**left[0], "error": None}]
    assert body == {"training_id": job, **expected}


@pytest.mark.parametrize("note", [None, "text", {"arn": 7}, {"arn": "arn:aws:states:us-east-1:1:execution:other:1"}])
def test_without_an_execution_of_the_machine_nothing_goes_on(world, note):
    job = world.job(package_execution=note, packaged_components=[{"target": "x", "size": 7}, "text"])
    assert ask(outside(world, job, method="GET"))[:2] == (
        200,
        {"training_id": job, "state": "idle", "packaged_components": [{"target": "x"}]},
    )


def test_an_execution_that_aws_has_forgotten_is_none(world):
    job = world.job()
    ask(outside(world, job))
    world.executions.clear()
    assert ask(outside(world, job, method="GET"))[1]["state"] == "idle"


def test_who_has_no_role_sees_no_state_and_is_audited(world):
    job = world.job()
    event = outside(world, job, method="GET", user="nobody-here")
    assert ask(event)[:2] == (403, {"error": "Insufficient permissions"})
    assert [(each["action"], each["result"]) for each in world.audits(job)] == [("view_package_state", "denied")]
    assert ask(outside(world, job, role="Viewer"))[0] == 403


def test_the_same_request_again_starts_nothing_while_the_first_is_running(world):
    job = world.job()
    assert ask(outside(world, job))[0] == 202
    status, body, _ = ask(outside(world, job))
    assert (status, body["state"], len(world.executions)) == (202, "running", 1)
    assert ask(outside(world, job, {"targets": ["jetson-xavier"]}))[0] == 202
    assert len(world.executions) == 2


def test_a_request_that_ends_in_time_and_one_of_the_portal_itself_are_answered_at_once(world, monkeypatch):
    job = world.job()
    assert ask(request(job))[0] == 200
    monkeypatch.setenv("INTEGRATION_S", "29")
    forget()
    try:
        assert ask(outside(world, job))[0] == 200
    finally:
        monkeypatch.undo()
        forget()
    assert world.executions == {}


def test_by_setting_the_reply_says_what_is_left_and_there_is_no_state(world, monkeypatch):
    job = world.job()
    monkeypatch.delenv("REQUEST_MACHINE_ARN")
    forget()
    try:
        reply = function.handler(outside(world, job), Context(left_s=11))
        assert (reply["statusCode"], json.loads(reply["body"])["left"]) == (200, ["jetson-xavier"])
        assert ask(outside(world, job, method="GET"))[:2] == (404, {"error": "Not found"})
    finally:
        monkeypatch.undo()
        forget()


def test_where_the_machine_cannot_be_started_the_reply_says_what_is_left(world, capfd):
    job = world.job()

    def refuse(exchange, _):
        body = b'{"__type": "AccessDeniedException", "message": "no"}'
        exchange.reply(local.Answer(400, {"Content-Type": "application/x-amz-json-1.0"}, body))

    world.proxy.forget()
    world.proxy.break_next("PostBucket", refuse, times=9, where=local.is_of_step_functions)
    local.listen(world)
    status, body, _ = ask(outside(world, job))
    assert (status, body["left"]) == (200, ["jetson-xavier"])
    assert "request not handed over" in capfd.readouterr().out


@pytest.mark.parametrize(
    "execution",
    [{}, {"id": 7, "done": []}, {"id": "x"}, {"id": "x", "done": [7]}, {"id": "x", "done": [{"target": 7}]}],
)
def test_a_wrong_field_of_the_machines_request_is_named(world, execution):
    status, body, _ = ask({**request(world.job()), "execution": execution})
    assert (status, body["field"].split(".")[0]) == (400, "execution")


def test_a_time_of_the_api_that_leaves_none_to_work_is_named(monkeypatch):
    with pytest.raises(portal_settings.SettingsError, match="INTEGRATION_S"):
        portal_settings.PortalSettings(request_machine_arn=MACHINE_ARN, integration_s=10)
