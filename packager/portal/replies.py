"""Replies: the HTTP status and text of each failure, proxy replies for the portal, documents for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from packager.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    Fault,
    PackagerError,
    SettingsError,
    is_recoverable,
)
from packager.portal.settings import cors_headers

if TYPE_CHECKING:
    from packager.results import PackageResult

OK, ACCEPTED, BAD_REQUEST, FORBIDDEN, NOT_FOUND, SERVER_ERROR = 200, 202, 400, 403, 404, 500

LARGEST_BYTES = 5 << 20
"""Limit of a document: Lambda takes 6 MB, quotes included. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


class ForbiddenError(PackagerError, PermissionError):
    """The user's role does not allow the request."""

    fault: Fault = "request"


def http_reply(status: int, body: dict[str, Any] | None, origin: str) -> dict[str, Any]:
    """A proxy reply with its CORS headers; no body for a preflight."""
    headers = cors_headers(origin)
    if body is None:
        return {"statusCode": status, "headers": {**headers, "Access-Control-Max-Age": "86400"}, "body": ""}
    return {
        "statusCode": status,
        "headers": {
            **headers,
            "Content-Type": "application/json",
            **({"Location": body["status_url"]} if status == ACCEPTED else {}),
        },
        "body": json.dumps(body),
    }


def load_balancer_reply(reply: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """The reply in the form that a load balancer wants: with the kind of its body, and with its kind of headers."""
    if "multiValueHeaders" in event:
        reply = {**reply, "multiValueHeaders": {name: [value] for name, value in reply["headers"].items()}}
        del reply["headers"]
    return {**reply, "isBase64Encoded": False}


def http_failure(error: Exception, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body for a request of the portal that failed, with what was packaged before it failed."""
    if isinstance(error, ForbiddenError):
        return FORBIDDEN, {"error": error.message}
    if isinstance(error, PackagerError) and error.fault != "service":
        return BAD_REQUEST, {"error": error.message, **_details(error)}
    if isinstance(error, PackagerError) and not isinstance(error, SettingsError):
        words = f"Failed to package components: {error}"
        body: dict[str, Any] = {"error": words, "fault": error.fault, "request_id": request_id}
        done = error.figures.keys() & {"packaged_components", "left"}
        return SERVER_ERROR, {**body, **{name: error.figures[name] for name in done}}
    return SERVER_ERROR, {"error": "Internal server error", "request_id": request_id}


def status_of(error: Exception | None) -> int:
    """The HTTP status of an error: 4xx is the caller's to correct, 5xx ours or AWS's; 200 without an error."""
    if error is None:
        return OK
    if isinstance(error, ArtifactNotFoundError):
        return NOT_FOUND
    if isinstance(error, AccessDeniedError):
        return FORBIDDEN
    return BAD_REQUEST if isinstance(error, PackagerError) and error.fault != "service" else SERVER_ERROR


def shared_failure(result: PackageResult) -> PackagerError | None:
    """The error that kept every target from being tried, as a damaged artifact does, or that of the recipe; or None."""
    if result.left or any(each.uri for each in result.components):
        return result.error if result.recipe_failed else None
    return result.error


def state_document(result: PackageResult) -> dict[str, Any]:
    """A result for a state machine, whose states hold 256 KiB: without the manifest.

    `again` lists the targets whose failure is transient: the same event, sent a while later, can succeed.
    """
    from packager.results import FAILED  # noqa: PLC0415  only these answers need it

    whole = result.as_dict()
    del whole["manifest"]
    failed = (each for each in result.components if each.status == FAILED)
    return {**whole, "again": [each.target for each in failed if each.error and is_recoverable(each.error)]}


def document(status: int, result: dict[str, Any]) -> dict[str, Any]:
    """A result for a machine: with `statusCode`, as valid UTF-8, small enough for Lambda.

    A manifest that makes it too large is left out; its text that UTF-8 cannot hold (lone surrogates) is replaced.
    """
    text = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace")
    if len(text) > LARGEST_BYTES:
        text = json.dumps({**result, "manifest": None}, ensure_ascii=False).encode("utf-8", "replace")
    return {"statusCode": status, **json.loads(text)}


def _details(error: PackagerError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "fault": error.fault,
        "next_step": error.next_step,
        **({"field": error.figures["field"]} if "field" in error.figures else {}),
    }
