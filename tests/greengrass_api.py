"""A stand-in of the Greengrass API over a socket, held to botocore's own model of it; needs no pytest.

with greengrass_api() as api:
    boto3.client("greengrassv2", endpoint_url=api.endpoint_url)

Requests are taken apart, and answers put together, as the model of the service says; what the model does not allow is
an error of the stand-in, listed in `faults`. As the service does, it looks for each artifact in S3 itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import botocore.session
import yaml
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from botocore.model import OperationModel

ACCOUNT = "123456789012"  # moto's, which answers sts:GetCallerIdentity
REGION = "us-east-1"


@dataclass
class Version:
    """A component version, and the states that it will still be in."""

    recipe: dict[str, Any]
    states: list[str]
    message: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    created_s: float = field(default_factory=time.time)


@dataclass
class GreengrassApi:
    """The stand-in.

    Attributes:
        states: that a new version goes through, one for each time it is asked for.
        digest_of: gives the SHA-256 (hexadecimal) of an s3:// URI; KeyError when it cannot be read.
        refusals: error codes by operation, each answered once, first come first served.
        calls: operations that were asked for.
        faults: what broke the model.
    """

    endpoint_url: str = ""
    states: list[str] = field(default_factory=lambda: ["REQUESTED", "INITIATED", "DEPLOYABLE"])
    digest_of: Callable[[str], str] | None = None
    refusals: dict[str, list[str]] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def create_component_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        recipe = yaml.safe_load(asked["inlineRecipe"])
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{name}:versions:{version}"
        if arn in self.versions:
            raise Refused("ConflictException", message="it exists", resourceId=arn, resourceType="COMPONENT")
        made = Version(_with_defaults(recipe), list(self.states))
        for entry in _artifacts(recipe):
            self._look_at(entry, made)
        self.versions[arn] = made
        about = {"arn": arn, "componentName": name, "componentVersion": version, "creationTimestamp": made.created_s}
        return {**about, "status": {"componentState": "REQUESTED", "message": "NONE", "errors": {}}}

    def _look_at(self, entry: dict[str, Any], made: Version) -> None:
        if self.digest_of is None:
            return
        try:
            found = base64.b64encode(bytes.fromhex(self.digest_of(entry["Uri"]))).decode()
        except KeyError:
            made.errors[entry["Uri"]] = "Specified artifact resource cannot be accessed"
        else:
            if found != entry["Digest"]:
                made.errors[entry["Uri"]] = "The digest is not that of the artifact"
        if made.errors:
            made.states, made.message = ["REQUESTED", "FAILED"], "Encountered following errors in Artifacts"

    def describe_component(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self._found(asked["arn"])
        state = found.states.pop(0) if len(found.states) > 1 else found.states[0]
        status: dict[str, Any] = {"componentState": state, "errors": found.errors}
        if found.message:
            status["message"] = found.message
        return {"arn": asked["arn"], "creationTimestamp": found.created_s, "status": status}

    def get_component(self, asked: dict[str, Any]) -> dict[str, Any]:
        recipe = self._found(asked["arn"]).recipe
        return {"recipeOutputFormat": asked["recipeOutputFormat"], "recipe": json.dumps(recipe).encode(), "tags": {}}

    def _found(self, arn: str) -> Version:
        if arn not in self.versions:
            raise Refused("ResourceNotFoundException", message="none", resourceId=arn, resourceType="COMPONENT")
        return self.versions[arn]


class Refused(Exception):  # noqa: N818  what the service does
    """An error of the model."""

    def __init__(self, code: str, **fields: str) -> None:
        self.code = code
        self.fields = fields


def _with_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    """As the service gives recipes back: empty and default values filled in."""
    for entry in _artifacts(recipe):
        entry.setdefault("Algorithm", "SHA-256")
    return {"ComponentType": "aws.greengrass.generic", "Lifecycle": {}, **recipe}


def _artifacts(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for manifest in recipe["Manifests"] for entry in manifest.get("Artifacts", [])]


@contextmanager
def greengrass_api(**options: Any) -> Iterator[GreengrassApi]:
    """Serve on a free port; AssertionError at the end for what broke the model."""
    api = GreengrassApi(**options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    server.daemon_threads = True
    api.endpoint_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert api.faults == []


def _handler(api: GreengrassApi) -> type[BaseHTTPRequestHandler]:
    service = botocore.session.get_session().get_service_model("greengrassv2")
    operations = [service.operation_model(name) for name in service.operation_names]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, fields, code = _outcome(api, operations, self.command, self.path, body)
            data = json.dumps(fields, default=lambda value: base64.b64encode(value).decode()).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if code:
                self.send_header("x-amzn-ErrorType", code)
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _outcome(
    api: GreengrassApi, operations: list[OperationModel], verb: str, path: str, body: bytes
) -> tuple[int, dict[str, Any], str]:
    for operation in operations:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(operation.http["requestUri"]))
        found = re.fullmatch(pattern, urlsplit(path).path)
        if found and verb == operation.http["method"]:
            asked = _asked(operation, found.groupdict(), dict(parse_qsl(urlsplit(path).query)), body)
            return _answered(api, operation, asked)
    api.faults.append(f"{verb} {path} is no operation of the service")
    return 404, {"message": "no such operation"}, "ResourceNotFoundException"


def _asked(operation: OperationModel, in_path: dict[str, str], query: dict[str, str], body: bytes) -> dict[str, Any]:
    asked: dict[str, Any] = {name: unquote(value) for name, value in in_path.items()}
    for name, member in operation.input_shape.members.items():
        if member.serialization.get("location") == "querystring" and member.serialization["name"] in query:
            asked[name] = query[member.serialization["name"]]
    for name, value in json.loads(body or b"{}").items():
        is_blob = operation.input_shape.members[name].type_name == "blob"
        asked[name] = base64.b64decode(value) if is_blob else value
    return asked


def _answered(api: GreengrassApi, operation: OperationModel, asked: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
    api.calls.append(operation.name)
    _hold(api, operation.input_shape, asked, f"the request {operation.name}")
    errors = {shape.name: shape for shape in operation.error_shapes}
    try:
        if api.refusals.get(operation.name):
            code = api.refusals[operation.name].pop(0)
            _refuse(code, errors[code].members if code in errors else ["message"])
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation.name).lower()
        answer = getattr(api, method)(asked)
    except Refused as refused:
        shape = errors.get(refused.code)
        if shape is None:
            api.faults.append(f"{operation.name} has no error {refused.code}")
            return 500, {"message": "fault of the stand-in"}, "InternalServerException"
        members = shape.members.keys()
        if not set(shape.required_members) <= refused.fields.keys() <= members:
            api.faults.append(f"{refused.code} has {sorted(members)}")
        return shape.metadata["error"]["httpStatusCode"], refused.fields, refused.code
    _hold(api, operation.output_shape, answer, f"the answer to {operation.name}")
    return operation.http.get("responseCode", 200), answer, ""


def _refuse(code: str, members: Iterable[str]) -> NoReturn:
    raise Refused(code, **dict.fromkeys(members, "said by the test"))


def _hold(api: GreengrassApi, shape: Any, value: dict[str, Any], what: str) -> None:
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        api.faults.append(f"{what}: {report.generate_report()}")
    api.faults += [f"{what} has {name}" for name in value.keys() - shape.members.keys()]
    api.faults += [f"{what}: {each}" for each in _off_pattern(shape, value)]


def _off_pattern(shape: Any, value: Any) -> Iterator[str]:
    """What botocore's validator does not hold: patterns and enumerations of texts."""
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from _off_pattern(shape.members[name], inner)
    elif shape.type_name == "string" and isinstance(value, str):
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(pattern, value):
            yield f"{value} is not of the pattern {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"{value} is none of {shape.enum}"


def sha256_in_s3(client: Any) -> Callable[[str], str]:
    """What `digest_of` asks: the object itself."""

    def digest(uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except client.exceptions.ClientError as error:
            raise KeyError(uri) from error
        return hashlib.sha256(body).hexdigest()

    return digest
