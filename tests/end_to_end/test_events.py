"""Every shape of event, with every fault and too little time, under AWS's own runtime client: nothing is lost."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from pathlib import Path

import boto3
import pytest

from tests import events
from tests import portal as local
from tests.events import DOCUMENT, LETTER, RAISED, REPLY, REPORTED, SHAPES
from tests.faulty_proxy import refuse
from tests.runtime_api import FunctionFailedError, function

FAULTS = {
    "S3 read": ("GetObject", lambda: refuse(503, "SlowDown"), lambda _: True),
    "S3 write": ("PutObject", lambda: refuse(500, "InternalError"), lambda _: True),
    "DynamoDB read": ("GetItem", lambda: local.refused("ThrottlingException"), lambda _: True),
    "DynamoDB write": ("UpdateItem", lambda: local.refused("InternalServerError"), lambda _: True),
    "STS": ("PostBucket", lambda: local.refused("Throttling"), lambda asked: b"Action=AssumeRole" in asked.body),
}
OF_THE_PORTAL = {"DynamoDB read", "DynamoDB write", "STS"}


@pytest.fixture(scope="module")
def world(s3_server):
    with local.portal(s3_server.endpoint_url) as world:
        yield world


@pytest.fixture(scope="module")
def letters(world):
    """The address of a queue of dead letters, and what takes out all that lies there."""
    queue = boto3.client("sqs", endpoint_url=world.proxy.endpoint_url, region_name="us-east-1")
    url = queue.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]

    def take():
        found = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for each in found.get("Messages", []):
            queue.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return [each["MessageAttributes"]["ErrorType"]["StringValue"] for each in found.get("Messages", [])]

    return url, take


@pytest.fixture(scope="module")
def deployed(world, letters):
    """One warm environment for all events, that leaves trying again to those who deliver."""
    more = {"AWS_MAX_ATTEMPTS": "1", "MAX_ATTEMPTS": "1", "DEAD_LETTER_QUEUE_URL": letters[0]}
    with function({**world.environment, **more}) as deployed:
        yield deployed
        assert sum(line["Faults"] for line in deployed.operations("TelemetryHealth")) == 0
        for secret in world.secrets:
            assert secret not in deployed.text()


@pytest.fixture(autouse=True)
def _unbroken(world):
    yield
    local.breaking(world, "GetItem", local.refused(), times=0)


def outcome(deployed, event, **how):
    """What AWS, or the caller, learns: done, one of AGAIN, or refused."""
    try:
        answer = deployed.invoke(event, **how)
    except FunctionFailedError:
        return RAISED
    if "batchItemFailures" in answer:
        failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
        assert failed in ([], [each.get("messageId") for each in event["Records"]])
        return REPORTED if failed else "done"
    kind, body = DOCUMENT, answer
    if "body" in answer:
        kind, body = REPLY, json.loads(answer["body"])
    if answer["statusCode"] >= 500 or body.get("left") or body.get("again"):
        return kind
    if any(each.get("error") for each in body.get("components", ())):  # what cannot pass, or a caller's own to tell
        return kind
    return "refused" if answer["statusCode"] >= 400 else "done"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_shape_is_served_and_what_can_pass_comes_again_and_what_cannot_is_kept(world, deployed, letters, shape):
    asked = shape.asks(world)
    event = shape.wrap(asked.event)
    if shape.is_refused:
        assert outcome(deployed, event) in ("refused", "done")
        assert not asked.is_done()
        assert letters[1]() == (["RequestError"] if shape.never == LETTER else [])
        return
    # The portal's own invocation has no other identity than Lambda's: that of a second try is the same.
    same = {"request_id": str(uuid.uuid4())} if shape.wrap is events.as_it_is else {}
    for time in ("first", "second"):
        assert outcome(deployed, event, **same) == "done", time
        assert asked.is_done(), time
    for name, (operation, fault, where) in FAULTS.items():
        if name in OF_THE_PORTAL and shape.asks is events.machine_request:
            continue
        asked = shape.asks(world, lends=name == "STS")
        event = shape.wrap(asked.event)
        local.breaking(world, operation, fault(), times=99, where=where)
        assert outcome(deployed, event) == shape.again, name
        local.breaking(world, "GetItem", local.refused(), times=0)
        assert outcome(deployed, event) == "done", name
        assert asked.is_done(), name
    asked = shape.asks(world)
    event = shape.wrap(asked.event)
    for left_s in (11.0, 3.0):
        assert outcome(deployed, event, left_s=left_s) == shape.again, left_s
        assert not asked.is_done()
    assert outcome(deployed, event) == "done"
    assert asked.is_done()
    assert letters[1]() == []


@pytest.mark.parametrize("shape", [each for each in SHAPES if not each.is_refused], ids=lambda shape: shape.name)
def test_what_can_never_succeed_is_kept_once_or_told(deployed, letters, world, shape):
    asked = shape.asks(world).event
    spoiled = {**asked, "body": '{"targets": 5}'} if "body" in asked else dict.fromkeys(asked)
    if shape.asks is events.news:
        spoiled = {**asked, "detail": {"CompilationJobName": 5}}
    assert outcome(deployed, shape.wrap(spoiled)) in ("refused", "done")
    assert letters[1]() == (["RequestError"] if shape.never == LETTER else [])


def test_of_a_batch_only_the_poison_is_a_dead_letter_and_only_what_can_pass_comes_again(world, deployed, letters):
    good, slow = events.machine_request(world), events.machine_request(world)
    poison = {**good.event, "compiled": None}
    batch = [events.sqs(each)["Records"][0] for each in (poison, good.event, slow.event)]
    missing = {**slow.event, "trained": f"s3://{world.bucket}/slow/model.tar.gz"}
    batch.append(events.sqs(missing)["Records"][0])
    local.breaking(world, "HeadObject", refuse(503, "SlowDown"), times=99, where=lambda asked: "/slow/" in asked.target)
    answer = deployed.invoke({"Records": batch})
    assert answer == {"batchItemFailures": [{"itemIdentifier": batch[-1]["messageId"]}]}
    assert good.is_done()
    assert slow.is_done()
    assert letters[1]() == ["RequestError"]


def test_of_a_huge_batch_near_the_end_of_the_time_what_was_not_begun_comes_again(world, deployed, letters):
    asked = [events.machine_request(world) for _ in range(60)]
    left = [events.sqs(each.event)["Records"][0] for each in asked]
    answers = 0
    while left and answers < 20:
        answer = deployed.invoke({"Records": left}, left_s=14.0 if answers < 3 else 900.0)
        again = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        left = [each for each in left if each["messageId"] in again]
        answers += 1
    assert left == []
    assert all(each.is_done() for each in asked)
    assert letters[1]() == []


def test_the_table_of_events_in_the_docs_is_that_of_these_tests():
    docs = (Path(__file__).parents[2] / "docs" / "function.md").read_text("utf-8")
    _, _, after = docs.partition("<!-- python -m tests.events -->\n\n")
    with suppress(ValueError):
        after = after[: after.index("\n\n") + 1]
    assert after == events.table()
