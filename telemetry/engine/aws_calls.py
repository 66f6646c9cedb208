"""Calls of AWS: one CLIENT span each, below the step that makes it, and retries and throttles counted in the step.

https://opentelemetry.io/docs/specs/semconv/cloud-providers/aws-sdk/
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from telemetry.engine import conventions
from telemetry.engine.failures import error_type
from telemetry.engine.health import HEALTH, text_of
from telemetry.engine.observing import current
from telemetry.engine.steps import Call
from telemetry.engine.values import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.engine.steps import Step

THROTTLED = frozenset(
    (
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "BandwidthLimitExceeded",
        "ServiceUnavailable",
        "503",
        "429",
    )
)
"""Error codes by which AWS services say that they were asked too often."""

_PARAMETERS = {
    "S3": {
        "Bucket": conventions.S3_BUCKET,
        "Key": conventions.S3_KEY,
        "UploadId": conventions.S3_UPLOAD_ID,
        "PartNumber": conventions.S3_PART_NUMBER,
    },
    "DynamoDB": {"TableName": conventions.DB_COLLECTION_NAME},
    "Lambda": {"FunctionName": conventions.FAAS_INVOKED_NAME},
}
"""Parameters that are attributes, by service. No other is written: `Key` is a name in S3 and a record in DynamoDB."""

_KEY = "telemetry"
"""Under which a call's state stands in the context that botocore hands to every handler of one call."""


def observe_calls(client: Any) -> None:  # noqa: ANN401  any boto3 client; their types are made at run time
    """Make a CLIENT span of every call of a boto3 client, and count its retries and throttles in the step around it.

    The step has to declare `retries` and `throttles` to have them counted. A call outside of any step has no span. The
    span of a call whose answer is a stream ends with the answer's headers. An invocation of a function continues the
    trace of the step.
    """
    region = client.meta.region_name or ""
    for event, handler in (
        ("before-parameter-build.*.*", _parameters),
        ("before-call.*.*", _Beginning(region)),
        ("after-call.*.*", _answered),
        ("after-call-error.*.*", _failed),
        ("needs-retry.*.*", _tried),
    ):
        client.meta.events.register(event, handler, unique_id=f"telemetry-{event}")


@dataclass(slots=True)
class _CallState:
    """What is known of a call before its answer."""

    attributes: dict[str, Any]
    step: Step | None = None
    name: str = ""
    start_wall_ns: int = 0
    attempts: int = field(default=1)


def _parameters(params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:  # noqa: ANN401  botocore's own shapes
    step = current()
    if step is not None and step.recorders.calls:
        names = _PARAMETERS.get(model.service_model.service_id, {})
        given = ((attribute, params.get(name)) for name, attribute in names.items())
        context[_KEY] = _CallState({name: plain(value) for name, value in given if isinstance(value, str | int)}, step)


class _Beginning:
    """Begins the span of a call, and hands the trace on to a function."""

    def __init__(self, region: str) -> None:
        self._region = region

    def __call__(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: object) -> None:  # noqa: ANN401  botocore's own shapes
        state = context.get(_KEY)
        if not isinstance(state, _CallState) or state.step is None:
            return
        try:
            self._begin(state, model, params)
        except Exception as error:  # noqa: BLE001  a strange client must not stop the call
            HEALTH.fault("a call could not be observed", error)
            del context[_KEY]

    def _begin(self, state: _CallState, model: Any, params: dict[str, Any]) -> None:  # noqa: ANN401  as above
        service, operation, found = str(model.service_model.service_id), str(model.name), state.attributes
        state.name = f"{service}.{operation}"
        server = urlsplit(params["url"])
        found[conventions.RPC_SYSTEM_NAME] = "aws-api"
        found[conventions.RPC_METHOD] = f"{service}/{operation}"
        found[conventions.CLOUD_REGION] = self._region
        found[conventions.SERVER_ADDRESS] = server.hostname or ""
        found[conventions.SERVER_PORT] = server.port or (80 if server.scheme == "http" else 443)
        if service == "DynamoDB":
            found[conventions.DB_SYSTEM_NAME] = "aws.dynamodb"
            found[conventions.DB_OPERATION_NAME] = operation
            if conventions.DB_COLLECTION_NAME in found:
                found[conventions.DYNAMODB_TABLE_NAMES] = [found[conventions.DB_COLLECTION_NAME]]
        elif service == "Lambda" and state.step is not None:
            found[conventions.FAAS_INVOKED_PROVIDER] = "aws"
            found[conventions.FAAS_INVOKED_REGION] = self._region
            for inject in state.step.recorders.injects:
                inject(state.step, params["headers"])
        state.start_wall_ns = time.time_ns()


def _answered(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    state = context.pop(_KEY, None)
    if not isinstance(state, _CallState) or not state.start_wall_ns:
        return
    about, error = parsed.get("ResponseMetadata", {}), parsed.get("Error", {})
    for name, attribute in (
        ("RequestId", conventions.AWS_REQUEST_ID),
        ("HostId", conventions.AWS_EXTENDED_REQUEST_ID),
        ("HTTPStatusCode", conventions.HTTP_STATUS),
    ):
        if about.get(name):
            state.attributes[attribute] = plain(about[name])
    failed = about.get("HTTPStatusCode", 200) >= 300  # noqa: PLR2004  as botocore decides what to raise
    _record(state, str(plain(error.get("Code", ""))) or str(about["HTTPStatusCode"]) if failed else "", error)


def _failed(exception: BaseException, context: dict[str, Any], **_: object) -> None:
    state = context.pop(_KEY, None)
    if isinstance(state, _CallState) and state.start_wall_ns:
        _record(state, error_type(exception), {"Message": text_of(exception)})


def _record(state: _CallState, kind: str, error: Mapping[str, Any]) -> None:
    if state.attempts > 1:
        state.attributes[conventions.HTTP_RESEND_COUNT] = state.attempts - 1
    message = str(plain(error.get("Message", ""))) if kind else ""
    step = state.step
    if step is not None:
        call = Call(state.name, state.start_wall_ns, time.time_ns(), state.attributes, kind, message)
        for record in step.recorders.calls:
            record(step, call)


def _tried(attempts: int = 1, response: Any = None, request_dict: Any = None, **_: object) -> None:  # noqa: ANN401  botocore's own shapes
    state = request_dict["context"].get(_KEY) if request_dict else None
    if isinstance(state, _CallState):
        state.attempts = attempts
    step = current()
    if step is None:
        return
    error = response[1].get("Error") if response else None
    code = error.get("Code") if isinstance(error, dict) else None
    declared = step.row.fields
    if attempts > 1 and "retries" in declared:
        step.add(retries=1)
    if code in THROTTLED and "throttles" in declared:
        step.add(throttles=1)
