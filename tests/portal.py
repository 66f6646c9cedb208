"""The portal around the function, on a local server: tables, models, requests; needs no pytest.

with portal(server.endpoint_url) as world:
    job = world.job()
    handler(world.request(job), None)
"""

from __future__ import annotations

import json
import tempfile
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import boto3
from boto3.dynamodb.conditions import Attr

from tests import models
from tests.faulty_proxy import Answer, Exchange, faulty_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faulty_proxy import FaultyProxy, Request

# Head and body of an answer leave in two pieces; the second would wait 40 ms for the client to acknowledge the first.
Exchange.disable_nagle_algorithm = True

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAOWNKEYOFTHEFUNCT",
    "AWS_SECRET_ACCESS_KEY": "own-secret-key-that-nobody-may-see",
    "AWS_SESSION_TOKEN": "own-session-token-that-nobody-may-see",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
EXTERNAL_ID = "external-id-that-nobody-may-see"
BODY_SECRET = "text-of-a-body-that-nobody-may-see"
PUBLISHER = "publish-greengrass"
MACHINE_ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:packager"
_KEYS_OF_TABLES = {
    "TRAINING_JOBS_TABLE": ("training_id",),
    "USECASES_TABLE": ("usecase_id",),
    "USER_ROLES_TABLE": ("user_id", "usecase_id"),
    "AUDIT_LOG_TABLE": ("event_id", "timestamp"),
}


@dataclass
class Context:
    """What Lambda hands over beside the event."""

    left_s: float = 900
    aws_request_id: str = "request-1"
    function_version: str = "1"
    log_stream_name: str = "stream"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s * 1000)


@dataclass
class Portal:
    """Tables and models, and what was asked of AWS on the way there."""

    proxy: FaultyProxy
    tables: dict[str, Any]
    bucket: str
    s3: Any
    uris: dict[str, str]
    assumed: list[tuple[dict[str, str], str]] = field(default_factory=list)
    """Parameters of each AssumeRole, and the answer."""
    published: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Function, kind and payload of each Invoke."""
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The executions that were started, by ARN, as Step Functions describes them; tests say what becomes of them."""

    @property
    def environment(self) -> dict[str, str]:
        """What the function has to have in its environment."""
        return {
            **KEYS,
            "AWS_ENDPOINT_URL": self.proxy.endpoint_url,
            **{name: table.name for name, table in self.tables.items()},
            "GREENGRASS_PUBLISH_FUNCTION_NAME": PUBLISHER,
        }

    @property
    def secrets(self) -> list[str]:
        """What must never be written anywhere."""
        lent = [
            element.text or ""
            for _, answer in self.assumed
            for element in ET.fromstring(answer).iter()  # noqa: S314  our own server's
            if element.tag.rpartition("}")[2] in {"SecretAccessKey", "SessionToken"}
        ]
        own = [KEYS["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_SESSION_TOKEN"]]
        return [*own, EXTERNAL_ID, BODY_SECRET, "X-Amz-Signature=", *lent]

    def usecase(self, **fields: Any) -> str:
        usecase_id = f"uc-{uuid.uuid4().hex[:8]}"
        self.tables["USECASES_TABLE"].put_item(
            Item={"usecase_id": usecase_id, "account_id": "123456789012", "s3_bucket": self.bucket, **fields}
        )
        return usecase_id

    def job(self, *compiled: dict[str, Any], usecase: str | None = None, **fields: Any) -> str:
        """The id of a new training job; with a completed compilation for jetson-xavier unless others are given."""
        training_id = f"tj-{uuid.uuid4().hex[:12]}"
        self.tables["TRAINING_JOBS_TABLE"].put_item(
            Item={
                "training_id": training_id,
                "usecase_id": usecase or self.usecase(),
                "model_name": "Mochi Detector_2",
                "model_type": "classification",
                "source": "trained",
                "artifact_s3": self.uris["trained"],
                "compilation_jobs": list(compiled) or [self.compiled("jetson-xavier")],
                **fields,
            }
        )
        return training_id

    def compiled(self, target: str, uri: str = "neo", status: str = "COMPLETED", **fields: Any) -> dict[str, Any]:
        """An entry of `compilation_jobs`; `uri` is the name of a model or a URI."""
        return {
            "target": target,
            "status": status,
            "compilation_job_name": f"{target}-{uuid.uuid4().hex[:8]}",
            "compiled_model_s3": self.uris.get(uri, uri),
            **fields,
        }

    def user(self, role: str, usecase: str, user_id: str | None = None) -> str:
        """The id of a new user with a role."""
        user_id = user_id or f"user-{uuid.uuid4().hex}"
        self.tables["USER_ROLES_TABLE"].put_item(Item={"user_id": user_id, "usecase_id": usecase, "role": role})
        return user_id

    def record(self, training_id: str) -> dict[str, Any]:
        item: dict[str, Any] = self.tables["TRAINING_JOBS_TABLE"].get_item(Key={"training_id": training_id})["Item"]
        return item

    def components(self, training_id: str) -> dict[str, dict[str, Any]]:
        """The record's packaged_components by target."""
        return {entry["target"]: entry for entry in self.record(training_id).get("packaged_components", [])}

    def audits(self, training_id: str) -> list[dict[str, Any]]:
        found = self.tables["AUDIT_LOG_TABLE"].scan(FilterExpression=Attr("resource_id").eq(training_id))["Items"]
        return sorted(found, key=lambda entry: entry["timestamp"])

    def keys(self) -> list[str]:
        """What lies in the bucket below model_artifacts/, but for the records of SHA-256."""
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="model_artifacts/").get("Contents", [])
        return [each["Key"] for each in found if "/sha256/" not in each["Key"]]

    def uploads(self) -> list[str]:
        return [each["Key"] for each in self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]


def request(training_id: str, body: Any = None, *, user: str = "system", claims: bool = True) -> dict[str, Any]:
    """An event as the portal itself sends it; `through_gateway` makes it one from outside."""
    who = {"sub": user, "email": f"{user[:20]}@example.com", "cognito:username": user} if claims else None
    return {
        "httpMethod": "POST",
        "path": f"/api/v1/training/{training_id}/package",
        "pathParameters": {"id": training_id},
        "body": json.dumps(body or {}),
        "requestContext": {"authorizer": {"claims": who} if who else {"userId": user}},
    }


def through_gateway(event: dict[str, Any]) -> dict[str, Any]:
    """The event as API Gateway passes it on."""
    gateway = {"accountId": "123456789012", "apiId": "a1b2c3", "stage": "prod", "requestId": str(uuid.uuid4())}
    return {
        **event,
        "resource": "/api/v1/training/{id}/package",
        "headers": {"Content-Type": "application/json", "Authorization": f"Bearer {BODY_SECRET}"},
        "requestContext": {**event["requestContext"], **gateway},
    }


def compilation_event(job_name: str, status: str = "Completed", artifact: str | None = None) -> dict[str, Any]:
    """The news as EventBridge brings it."""
    detail: dict[str, Any] = {"CompilationJobName": job_name, "CompilationJobStatus": status}
    if artifact is not None:
        detail["ModelArtifacts"] = {"S3ModelArtifacts": artifact}
    if status == "Failed":
        detail["FailureReason"] = "ClientError: the operator is not supported"
    return {"source": "aws.sagemaker", "detail-type": "SageMaker Compilation Job State Change", "detail": detail}


def refused(code: str = "AccessDeniedException") -> Any:
    """A fault for the proxy: DynamoDB refuses."""

    def act(exchange: Exchange, _: Request) -> None:
        body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "not authorized to do that"})
        exchange.reply(Answer(400, {"Content-Type": "application/x-amz-json-1.0"}, body.encode()))

    return act


@contextmanager
def portal(endpoint_url: str) -> Iterator[Portal]:
    """Tables, a bucket and models of a few hundred KiB on the server, behind a proxy that listens."""
    session = boto3.session.Session("local", "local", region_name="us-east-1")
    dynamodb = session.resource("dynamodb", endpoint_url=endpoint_url)
    s3 = session.client("s3", endpoint_url=endpoint_url)
    run = uuid.uuid4().hex[:8]
    bucket = f"usecase-{run}"
    s3.create_bucket(Bucket=bucket)
    tables = {name: _table(dynamodb, f"{name.lower()}-{run}", keys) for name, keys in _KEYS_OF_TABLES.items()}
    with tempfile.TemporaryDirectory() as folder, faulty_proxy(endpoint_url) as proxy:
        world = Portal(proxy, tables, bucket, s3, _uploaded(s3, bucket, Path(folder)))
        listen(world)
        yield world


def listen(world: Portal) -> None:
    """Keep what STS and Lambda are asked; Lambda itself is played. Writes to DynamoDB are atomic, as DynamoDB's are."""
    # The local server checks a condition and writes in two steps, between which another of its threads may write.
    writing = threading.Lock()

    def write(exchange: Exchange, request: Request) -> None:
        with writing:
            answer = exchange.pass_on(request)
        exchange.reply(answer)

    def post(exchange: Exchange, request: Request) -> None:
        answer = exchange.pass_on(request)
        if b"Action=AssumeRole" in request.body:
            parameters = dict(_form(request.body))
            world.assumed.append((parameters, answer.body.decode()))
        exchange.reply(answer)

    def invoke(exchange: Exchange, request: Request) -> None:
        if "/invocations" not in request.target:
            exchange.reply(exchange.pass_on(request))
            return
        name = request.target.split("/")[3]
        world.published.append((name, request.headers["x-amz-invocation-type"], json.loads(request.body)))
        exchange.reply(Answer(202, {}, b""))

    def step_functions(exchange: Exchange, request: Request) -> None:
        asked, operation = json.loads(request.body), request.headers["x-amz-target"].rpartition(".")[2]
        status, answer = 200, {}
        if operation == "StartExecution":
            arn = asked["stateMachineArn"].replace("stateMachine", "execution") + f":{asked['name']}"
            answer = {"executionArn": arn, "startDate": 1.8e9}
            world.executions[arn] = {**answer, "status": "RUNNING", "input": asked["input"]}
        elif (answer := world.executions.get(asked["executionArn"])) is None:
            status, answer = 400, {"__type": "ExecutionDoesNotExist", "message": "it does not"}
        exchange.reply(Answer(status, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(answer).encode()))

    world.proxy.break_next("PostBucket", step_functions, times=10**9, where=is_of_step_functions)
    world.proxy.break_next("PostBucket", post, times=10**9, where=lambda request: b"AssumeRole" in request.body)
    world.proxy.break_next("PostObject", invoke, times=10**9)
    world.proxy.break_next("PostBucket", write, times=10**9, where=is_write)


def is_write(request: Request) -> bool:
    return request.headers.get("x-amz-target", "").endswith(("UpdateItem", "PutItem"))


def is_of_step_functions(request: Request) -> bool:
    return request.headers.get("x-amz-target", "").startswith("AWSStepFunctions.")


def breaking(world: Portal, operation: str, fault: Any, *, times: int = 1, where: Any = lambda _: True) -> None:
    """From here on the proxy breaks what `FaultyProxy.break_next` says, or what so many calls of DynamoDB ask."""
    world.proxy.forget()
    if operation in {"GetItem", "UpdateItem", "PutItem", "Scan", "Query"}:
        world.proxy.break_next(
            "PostBucket",
            fault,
            times=times,
            where=lambda asked: asked.headers.get("x-amz-target", "").endswith(f".{operation}"),
        )
    else:
        world.proxy.break_next(operation, fault, times=times, where=where)
    listen(world)


def _form(body: bytes) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl  # noqa: PLC0415  only here

    return parse_qsl(body.decode())


def _table(dynamodb: Any, name: str, keys: tuple[str, ...]) -> Any:
    kinds = {"timestamp": "N"}
    return dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kinds.get(key, "S")} for key in keys],
    )


def _uploaded(s3: Any, bucket: str, folder: Path) -> dict[str, str]:
    made = {
        "trained": models.trained(folder / "trained.tar.gz"),
        "neo": models.neo(folder / "neo.tar.gz"),
        "neo2": models.neo(folder / "neo2.tar.gz", seed="second"),
        "onnx": models.onnx_export(folder / "onnx.tar.gz"),
        "imported": models.imported_onnx(folder / "imported.tar.gz"),
    }
    damaged = folder / "damaged.tar.gz"
    damaged.write_bytes(made["neo"].read_bytes()[:-5000])
    made["damaged"] = damaged
    for name, path in made.items():
        s3.upload_file(str(path), bucket, f"models/{name}/model.tar.gz")
    return {name: f"s3://{bucket}/models/{name}/model.tar.gz" for name in made}
