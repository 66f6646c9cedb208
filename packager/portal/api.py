"""Requests of the portal's API, in the forms of REST APIs, HTTP APIs, function URLs and load balancers.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote

from packager.errors import RequestError
from packager.portal.fields import LONGEST_TEXT, Fields, wrong
from packager.portal.users import User, caller, came_through_gateway

_API = "/api/v1/"
_LONGEST_ID = 128
_PACKAGE_PATH = re.compile(r"/api/v1/training/([^/]*)/package/?")
_PATH_PARAMETER = re.compile(r"\{([^{}+]*)\+?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """Method and path of a request, the path without stage and base path.

    `names_parameters`: whether the id has to be in `pathParameters`; else it is taken from the path.
    """

    method: str
    path: str
    names_parameters: bool

    @property
    def is_package(self) -> bool:
        return self.method == "POST" and self.is_of_package

    @property
    def is_of_package(self) -> bool:
        """Whether the path is that of packaging, whatever the method."""
        return _PACKAGE_PATH.fullmatch(self.path) is not None


@dataclass(frozen=True, slots=True)
class PackageCall:
    """A request of the portal to package a training job; without targets, all that are compiled.

    `request_id` is the same when the request is delivered again; empty when nothing is known of it.
    `through_gateway`: whether it came from outside. `done` are the entries of targets that an earlier call of the state
    machine for this request has done; None when it is no call of the machine. `status_url` is where its state is seen.
    """

    training_id: str
    targets: tuple[str, ...]
    auto_triggered: bool
    user: User
    request_id: str = ""
    through_gateway: bool = False
    done: tuple[dict[str, Any], ...] | None = None
    status_url: str = ""


def is_api_event(event: object) -> bool:
    return isinstance(event, dict) and ("httpMethod" in event or "requestContext" in event)


def is_load_balancer_event(event: dict[str, Any]) -> bool:
    context = event.get("requestContext")
    return isinstance(context, dict) and "elb" in context


def route(event: dict[str, Any]) -> Route:
    """The route of a proxy event. RequestError names a field that is missing or wrong."""
    fields = Fields(event)
    if "rawPath" in event:
        method = fields.object("requestContext").object("http").text("method")
        template = fields.text("routeKey").partition(" ")[2] if "routeKey" in event else ""
        raw = unquote(fields.text("rawPath", LONGEST_TEXT))
        # The catch-all route says nothing of the stage or the base path that precede the API's own paths.
        path = _filled(template, fields) if template else raw[max(raw.find(_API), 0) :]
        return Route(method, path, names_parameters=False)
    method, path = fields.text("httpMethod"), fields.text("path", LONGEST_TEXT)
    if event.get("resource") is None:
        return Route(method, path, names_parameters=not is_load_balancer_event(event))
    # Behind a custom domain the path begins with a base path; the resource does not.
    resource = fields.text("resource", LONGEST_TEXT)
    return Route(method, _filled(resource, fields), names_parameters="+}" not in resource)


def package_call(event: dict[str, Any], route: Route, request_id: str = "") -> PackageCall:
    """The request in a proxy event whose route `is_package`. RequestError names a field that is missing or wrong."""
    training_id = _training_id(event, route)
    user = caller(event)
    body = Fields(_json(_body(Fields(event))), "body")
    targets = body.texts("targets") if body["targets"] is not None else ()
    auto_triggered = body.optional_flag("auto_triggered") or False
    done, request_id = None, _request_id(event, request_id)
    if isinstance(event.get("execution"), dict):
        execution = Fields(event).object("execution")
        request_id, done = execution.text("id"), _done(execution)
    outside = came_through_gateway(event)
    return PackageCall(training_id, targets, auto_triggered, user, request_id, outside, done, _public_path(event))


def _request_id(event: dict[str, Any], invocation_id: str) -> str:
    """The id of a request, which is the same when the event is delivered again: the gateway's own, or Lambda's."""
    context = event.get("requestContext")
    own = context.get("requestId") if isinstance(context, dict) else None
    return own if isinstance(own, str) and 0 < len(own) <= _LONGEST_ID and own.isprintable() else invocation_id


def status_call(event: dict[str, Any], route: Route) -> PackageCall:
    """The request for the state of packaging in a proxy event. RequestError names a field that is missing or wrong."""
    return PackageCall(_training_id(event, route), (), auto_triggered=False, user=caller(event))


def _done(execution: Fields) -> tuple[dict[str, Any], ...]:
    entries = [Fields(each, execution.named(f"done[{number}]")) for number, each in enumerate(execution.list("done"))]
    known = ("target", "status", "component_package_s3", "error", "fault")
    return tuple(
        {name: each.text(name, LONGEST_TEXT) for name in known if name in each or name in ("target", "status")}
        for each in entries
    )


def _public_path(event: dict[str, Any]) -> str:
    """The path as the caller has it, with stage and base path."""
    context = event.get("requestContext")
    own = context.get("path") if isinstance(context, dict) else None
    found = next((each for each in (own, event.get("rawPath"), event.get("path")) if isinstance(each, str)), "")
    return found if found.isprintable() and len(found) <= LONGEST_TEXT else ""


def sender(event: dict[str, Any], nobody: str) -> tuple[str, str, str]:
    """The ids of the user and the training job in a proxy event, and its method; `nobody` for what it does not name."""
    user_id = training_id = method = nobody
    with suppress(RequestError):
        user_id = caller(event).id
    with suppress(RequestError):
        asked = route(event)
        method = asked.method
        training_id = _training_id(event, asked)
    return user_id, training_id, method


def _filled(template: str, fields: Fields) -> str:
    """The path that a template stands for, such as `/training/{id}/package` or `/{proxy+}`."""
    parameters = fields["pathParameters"]
    values = parameters if isinstance(parameters, dict) else {}
    return _PATH_PARAMETER.sub(lambda name: str(values.get(name[1]) or ""), template)


def _training_id(event: dict[str, Any], route: Route) -> str:
    match = _PACKAGE_PATH.fullmatch(route.path)
    parameters: object = {"id": match[1] if match else None}
    if route.names_parameters:
        parameters = event.get("pathParameters")
    fields = Fields({} if parameters is None else parameters, "pathParameters")
    if fields["id"] in (None, ""):
        raise RequestError("training_id is required", next_step="Name it in the path.", field="pathParameters.id")
    return fields.text("id")


def _body(fields: Fields) -> str:
    """The text of the body, `{}` without one. It can be encoded as base64, as `isBase64Encoded` says."""
    body = fields.unrestricted_text("body") if fields["body"] is not None else ""
    if fields.optional_flag("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True).decode()
        except ValueError:
            raise wrong("body", body, "base64 of UTF-8, as isBase64Encoded says") from None
    return body.strip() or "{}"


def _json(text: str) -> Any:  # noqa: ANN401  any JSON value
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise _bad_body("it is nested too deeply") from None
    except ValueError as error:
        # The decoder's message holds a position, never the text.
        raise _bad_body(error.msg if isinstance(error, json.JSONDecodeError) else "a number is out of range") from None


def _no_constant(_: str) -> NoReturn:
    raise json.JSONDecodeError("NaN and Infinity are no JSON", "", 0)


def _bad_body(why: str) -> RequestError:
    return RequestError(
        f"body is not valid JSON: {why}.", next_step='Send an object, {} or {"targets": [...]}.', field="body"
    )
