"""The shapes of events that the function is sent, and what becomes of each: the table of docs/function.md.

`python -m tests.events` prints the table. The end-to-end tests send every shape to the function, with every fault.
"""

from __future__ import annotations

import base64
import json
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.portal import compilation_event, request, through_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.portal import Portal

REPLY, RAISED, REPORTED, DOCUMENT = "reply", "raised", "reported", "document"
AGAIN = {
    REPLY: "the reply says so (500, or `left`); the caller sends it again",
    RAISED: "raised, so that it is delivered again",
    REPORTED: "reported for that message alone, in a FIFO group for those behind it too",
    DOCUMENT: "the document names it (`error`, `left`, `again`); the caller sends it again",
}
"""What becomes of an event that failed for a cause that can pass, or was left for want of time."""

LETTER = "dead letter"
NEVER = {
    REPLY: "the reply says why (400)",
    LETTER: "dead letter",
    DOCUMENT: "the document says why (400)",
}
"""What becomes of an event that can never succeed."""


@dataclass(frozen=True)
class Shape:
    """One shape of event. `wrap` makes it of what is asked for: a request of the API, of machines, or news.

    `again` and `never` are keys of AGAIN and NEVER. `is_refused` says that the shape is never served.
    """

    name: str
    served: str
    again: str
    never: str
    asks: Callable[..., Asked]
    wrap: Callable[[Any], Any]
    is_refused: bool = False


@dataclass(frozen=True)
class Asked:
    """What an event asks for; `is_done` tells whether it is done, and done once."""

    event: Any
    is_done: Callable[[], bool]


def api_request(world: Portal, *, lends: bool = False) -> Asked:
    usecase = _usecase(world, lends=lends)
    job = world.job(usecase=usecase)
    event = request(job, {"auto_triggered": True}, user=world.user("DataScientist", usecase))
    return Asked(event, lambda: _is_packaged(world, job))


def own_request(world: Portal, *, lends: bool = False) -> Asked:
    job = world.job(usecase=_usecase(world, lends=lends))
    return Asked(request(job, {"auto_triggered": True}), lambda: _is_packaged(world, job))


def news(world: Portal, *, lends: bool = False) -> Asked:
    mine = world.compiled("jetson-xavier", "", status="INPROGRESS")
    job = world.job(mine, usecase=_usecase(world, lends=lends))
    event = compilation_event(mine["compilation_job_name"], artifact=world.uris["neo"])
    return Asked(event, lambda: _is_packaged(world, job))


def machine_request(world: Portal, *, lends: bool = False) -> Asked:
    prefix = f"machines-{uuid.uuid4().hex[:8]}"
    event = {
        "trained": world.uris["trained"],
        "compiled": [{"target": "jetson-xavier", "uri": world.uris["neo"]}],
        "output": f"s3://{world.bucket}/{prefix}",
    }

    def is_done() -> bool:
        found = world.s3.list_objects_v2(Bucket=world.bucket, Prefix=f"{prefix}/").get("Contents", [])
        return sum(each["Key"].endswith("_component.zip") for each in found) == 1

    return Asked(event, is_done)


def _usecase(world: Portal, *, lends: bool) -> str:
    """A use case that has a bucket of its own, in which nothing is found that is not made anew, and may lend a role."""
    bucket = f"usecase-{uuid.uuid4().hex}"
    world.s3.create_bucket(Bucket=bucket)
    role = {"cross_account_role_arn": "arn:aws:iam::123456789012:role/Lent"} if lends else {}
    return world.usecase(s3_bucket=bucket, **role)


def _is_packaged(world: Portal, job: str) -> bool:
    published = sum(each["pathParameters"]["id"] == job for _, _, each in world.published)
    return [each["status"] for each in world.components(job).values()] == ["packaged"] and published == 1


def http_api(event: dict[str, Any]) -> dict[str, Any]:
    """As an HTTP API passes it on: payload 2.0, a JWT authorizer, stage and base path in front of the path."""
    context = {
        "http": {"method": "POST", "path": f"/prod/models{event['path']}", "protocol": "HTTP/1.1"},
        "stage": "prod",
        "requestId": str(uuid.uuid4()),
        "authorizer": {"jwt": {"claims": event["requestContext"]["authorizer"]["claims"], "scopes": None}},
    }
    return {
        "version": "2.0",
        "routeKey": "POST /api/v1/training/{id}/package",
        "rawPath": f"/prod/models{event['path']}",
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "pathParameters": event["pathParameters"],
        "requestContext": context,
        "body": event["body"],
        "isBase64Encoded": False,
    }


def function_url(event: dict[str, Any]) -> dict[str, Any]:
    """As a function URL passes it on: signed by IAM, the body in base64."""
    user = event["requestContext"]["authorizer"]["claims"]["sub"]
    return {
        **http_api(event),
        "routeKey": "$default",
        "rawPath": event["path"],
        "pathParameters": None,
        "requestContext": {
            "http": {"method": "POST", "path": event["path"]},
            "stage": "$default",
            "requestId": str(uuid.uuid4()),
            "authorizer": {"iam": {"userId": user, "accountId": "123456789012"}},
        },
        "body": base64.b64encode(event["body"].encode()).decode(),
        "isBase64Encoded": True,
    }


def load_balancer(event: dict[str, Any]) -> dict[str, Any]:
    """As a load balancer passes it on, with several values a header: it vouches for nobody."""
    group = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1"
    return {
        **{name: event[name] for name in ("httpMethod", "path", "body")},
        "multiValueHeaders": {"x-amzn-oidc-identity": ["system"], "accept": ["*/*", "text/html"]},
        "requestContext": {"elb": {"targetGroupArn": group}},
        "isBase64Encoded": False,
    }


def event_bridge(event: Any) -> Any:
    """As EventBridge delivers it, and replays it from an archive."""
    if not isinstance(event, dict):
        event = {"source": "aws.sagemaker", "detail-type": "something else", "detail": event}
    about = {"version": "0", "id": str(uuid.uuid4()), "account": "123456789012", "time": "2026-01-01T00:00:00Z"}
    return {**about, "region": "us-east-1", "resources": [], "replay-name": "last-night", **event}


def sqs(event: Any, **attributes: str) -> dict[str, Any]:
    record = {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "handle",
        "body": json.dumps(event),
        "attributes": {"ApproximateReceiveCount": "1", **attributes},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:packages",
    }
    return {"Records": [record]}


def fifo(event: Any) -> dict[str, Any]:
    return sqs(event, MessageGroupId="model", SequenceNumber="1")


def _notification(event: Any) -> dict[str, Any]:
    topic = "arn:aws:sns:us-east-1:123456789012:packages"
    return {"Type": "Notification", "MessageId": str(uuid.uuid4()), "TopicArn": topic, "Message": json.dumps(event)}


def sns(event: Any) -> dict[str, Any]:
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": _notification(event)}]}


def sns_in_sqs(event: Any) -> dict[str, Any]:
    return sqs(_notification(event))


def s3_notification(_: Any) -> dict[str, Any]:
    about = {"bucket": {"name": "models"}, "object": {"key": "model.tar.gz", "size": 1}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": about}]}


def kinesis(event: Any) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(event).encode()).decode()
    return {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": data, "partitionKey": "1"}}]}


def dynamodb(_: Any) -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"NewImage": {}}}]}


def step_functions(event: Any) -> Any:
    return {**event, "manifest": "prepared", "execution": {"id": "one"}} if isinstance(event, dict) else event


def asynchronous(event: Any) -> dict[str, Any]:
    return {**event, "asynchronous": True} if isinstance(event, dict) else {"asynchronous": True, "trained": event}


def as_it_is(event: Any) -> Any:
    return event


_API, _MACHINES, _NEWS = "the portal's request", "a request of machines", "a compilation that ended"

SHAPES = (
    Shape("REST API (payload 1.0)", _API, REPLY, REPLY, api_request, through_gateway),
    Shape("HTTP API (payload 2.0)", _API, REPLY, REPLY, api_request, http_api),
    Shape("function URL", _API, REPLY, REPLY, api_request, function_url),
    Shape("load balancer", "nothing: it vouches for nobody", REPLY, REPLY, api_request, load_balancer, is_refused=True),
    Shape("the portal's own invocation", _API, REPLY, REPLY, own_request, as_it_is),
    Shape("EventBridge", _NEWS, RAISED, LETTER, news, event_bridge),
    Shape("SQS, EventBridge's event", _NEWS, REPORTED, LETTER, news, sqs),
    Shape("SQS", _MACHINES, REPORTED, LETTER, machine_request, sqs),
    Shape("SQS, FIFO", _MACHINES, REPORTED, LETTER, machine_request, fifo),
    Shape("SNS through SQS", _MACHINES, REPORTED, LETTER, machine_request, sns_in_sqs),
    Shape("SNS through SQS, raw", _MACHINES, REPORTED, LETTER, machine_request, sqs),
    Shape("SNS", _MACHINES, RAISED, LETTER, machine_request, sns),
    Shape("S3 notification", "S3's own test alone", RAISED, LETTER, machine_request, s3_notification, is_refused=True),
    Shape("Kinesis", "nothing", RAISED, LETTER, machine_request, kinesis, is_refused=True),
    Shape("DynamoDB stream", "nothing", RAISED, LETTER, machine_request, dynamodb, is_refused=True),
    Shape("Step Functions", _MACHINES, DOCUMENT, DOCUMENT, machine_request, step_functions),
    Shape("direct invocation", _MACHINES, DOCUMENT, DOCUMENT, machine_request, as_it_is),
    Shape('asynchronous invocation, `"asynchronous": true`', _MACHINES, RAISED, LETTER, machine_request, asynchronous),
)


def table() -> str:
    """The shapes as a table in Markdown."""
    heads = ("event", "what is served", "what failed for a cause that can pass, or was left", "what can never succeed")
    rows = [
        (each.name, each.served, "" if each.is_refused else AGAIN[each.again], NEVER[each.never]) for each in SHAPES
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
