"""Events as EventBridge, SQS and Step Functions deliver them, a fifth of them through faults: none is lost."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from packager import handler as function
from packager.portal import aws, tables
from packager.portal import settings as portal_settings
from packager.stores import s3_calls, s3_client
from telemetry import aws_lambda
from tests import portal as local
from tests.faulty_proxy import refuse
from tests.portal import Context, compilation_event

FAULTY, TWICE = 0.2, 0.1
"""Shares of the deliveries that meet a fault, and of the events that are delivered twice."""

ATTEMPTS = 11
"""How often EventBridge and SQS deliver an event, and the machine calls the function, before it is a dead letter."""


@dataclass
class Services:
    """What stands before the function: each event is delivered until it is served, or a dead letter."""

    world: local.Portal
    draw: random.Random
    dead_letters: list[dict] = field(default_factory=list)
    met: Counter = field(default_factory=Counter)

    def event_bridge(self, event):
        self._deliver(event, lambda context: function.handler(event, context))

    def sqs(self, *requests):
        """One batch; the messages that the function reports come again without the others."""
        left = {f"message-{number}": request for number, request in enumerate(requests)}
        for _ in range(ATTEMPTS):
            batch = [
                {"eventSource": "aws:sqs", "messageId": key, "body": json.dumps(each)} for key, each in left.items()
            ]
            reply = function.handler({"Records": batch}, self._context())
            left = {each["itemIdentifier"]: left[each["itemIdentifier"]] for each in reply["batchItemFailures"]}
            if not left:
                return
        self.dead_letters += left.values()

    def step_functions(self, request):
        """Call until nothing is left and nothing can be tried again, as the machine does."""
        event = {**request, "manifest": "prepared"}

        def call(context):
            answer = function.handler(event, context)
            if answer["statusCode"] >= 500 or answer.get("left") or answer.get("again"):
                if answer.get("components"):
                    event["options"] = {"previous": {"components": answer["components"], "left": answer["left"]}}
                raise RuntimeError(answer)

        self._deliver(event, call)

    def _deliver(self, event, deliver):
        for _ in range(ATTEMPTS):
            with suppress(Exception):  # whatever is raised, AWS delivers again
                deliver(self._context())
                return
        self.dead_letters.append(event)

    def _context(self):
        """The context of the next invocation, which meets a fault now and then."""
        local.breaking(self.world, "GetItem", local.refused(), times=0)
        if self.draw.random() >= FAULTY:
            return Context()
        kind, fault = self.draw.choice(FAULTS)
        self.met[kind] += 1
        return fault(self.world) or Context()


def broken(operation, fault, times=9, where=lambda _: True):
    return lambda world: local.breaking(world, operation, fault(), times=times, where=where)


FAULTS = [
    ("time", lambda _: Context(left_s=11.0)),
    ("S3 read", broken("GetObject", lambda: refuse(503, "SlowDown"))),
    ("S3 write", broken("PutObject", lambda: refuse(500, "InternalError"))),
    ("DynamoDB read", broken("GetItem", local.refused)),
    ("DynamoDB write", broken("UpdateItem", local.refused)),
    ("DynamoDB scan", broken("Scan", local.refused)),
    ("STS", broken("PostBucket", local.refused, where=lambda asked: b"Action=AssumeRole" in asked.body)),
]


@pytest.fixture
def world(s3_server, monkeypatch):
    with local.portal(s3_server.endpoint_url) as world:
        # Faults shall leave the function instead of being healed in it.
        for name, value in {**world.environment, "AWS_MAX_ATTEMPTS": "2", "MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3_calls, "FIRST_PAUSE_S", 0.001)
        monkeypatch.setattr(tables, "_LONGEST_PAUSE_S", 0.0)
        _forget()
        yield world
        _forget()
        aws_lambda.RUNTIME.close()


def _forget():
    portal_settings.from_process_environment.cache_clear()
    aws._client.cache_clear()
    aws._session.cache_clear()
    s3_client._clients.clear()


def machine_event(world, output):
    targets = {"jetson-xavier": "neo", "x86_64-cpu": "neo2"}
    return {
        "trained": world.uris["trained"],
        "compiled": [{"target": target, "uri": world.uris[name]} for target, name in targets.items()],
        "output": f"s3://{world.bucket}/{output}",
        "execution": {"id": output},
    }


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.reliability)])
def test_of_events_with_faults_in_every_fifth_delivery_none_is_lost_and_none_publishes_twice(world, count):
    draw = random.Random(count)
    services = Services(world, draw)
    lending = {"cross_account_role_arn": "arn:aws:iam::123456789012:role/Lent"}
    usecase = world.usecase(**lending)
    jobs, outputs = [], []
    for number in range(count // 3):
        mine = world.compiled("jetson-xavier", "", status="INPROGRESS")
        job = world.job(mine, usecase=usecase)
        jobs.append(job)
        news = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
        outputs += [f"queued-{number}", f"stepped-{number}"]
        ways = [
            lambda news=news: services.event_bridge(news),
            lambda number=number: services.sqs(machine_event(world, f"queued-{number}")),
            lambda number=number: services.step_functions(machine_event(world, f"stepped-{number}")),
        ]
        for way in ways:
            way()
            if draw.random() < TWICE:
                way()
    assert services.dead_letters == []
    for job in jobs:
        assert [each["status"] for each in world.components(job).values()] == ["packaged"], job
    published = Counter(each["pathParameters"]["id"] for _, _, each in world.published)
    assert published == dict.fromkeys(jobs, 1)
    for output in outputs:
        found = world.s3.list_objects_v2(Bucket=world.bucket, Prefix=f"{output}/").get("Contents", [])
        assert sum(each["Key"].endswith("_component.zip") for each in found) == 2, output
    assert count < 1000 or services.met.keys() == dict(FAULTS).keys()
    assert sum(services.met.values()) > count * FAULTY / 2
