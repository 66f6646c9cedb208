"""What callers are told: each failure's status and words, and the form of a reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from packager.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    ComponentRefusedError,
    ExtractionError,
    ManifestError,
    PackagerError,
    RequestError,
    SettingsError,
    StoreError,
)

if TYPE_CHECKING:
    from packager.results import PackageResult

OK, BAD, FORBIDDEN, NOT_FOUND, OURS = 200, 400, 403, 404, 500

LARGEST_BYTES = 5 << 20
"""Of a document: Lambda takes 6 MB, quotes included. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

_CALLERS_FAULTS = (RequestError, ManifestError, ExtractionError, ComponentRefusedError)
_NO_FILES = {"EISDIR", "EINVAL", "ELOOP", "ENAMETOOLONG"}
"""Codes of StoreError for paths that name a folder, a device or nothing that could be."""


class ForbiddenError(PackagerError, PermissionError):
    """The user's role does not allow it."""


def http_reply(status: int, body: dict[str, Any] | None, origin: str) -> dict[str, Any]:
    """A proxy reply with its CORS headers; no body for a preflight."""
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": "Content-Type,Authorization,X-Amz-Date,X-Api-Key,X-Amz-Security-Token",
        "Access-Control-Allow-Methods": "POST,OPTIONS",
    }
    if body is None:
        return {"statusCode": status, "headers": {**headers, "Access-Control-Max-Age": "86400"}, "body": ""}
    return {
        "statusCode": status,
        "headers": {**headers, "Content-Type": "application/json"},
        "body": json.dumps(body),
    }


def http_failure(error: Exception, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body for a request of the portal that failed, in the portal's own words, with what was done before."""
    if isinstance(error, ForbiddenError):
        return FORBIDDEN, {"error": error.message}
    if isinstance(error, _CALLERS_FAULTS):
        return BAD, {"error": error.message, **_more(error)}
    if isinstance(error, PackagerError) and not isinstance(error, SettingsError):
        body: dict[str, Any] = {"error": f"Failed to package components: {error}", "request_id": request_id}
        done = error.figures.keys() & {"packaged_components", "left"}
        return OURS, {**body, **{name: error.figures[name] for name in done}}
    return OURS, {"error": "Internal server error", "request_id": request_id}


def status_of(error: Exception | None) -> int:
    """The HTTP status that says whose fault it was; 200 without an error."""
    if error is None:
        return OK
    if isinstance(error, _CALLERS_FAULTS) or (isinstance(error, StoreError) and error.figures.get("code") in _NO_FILES):
        return BAD
    if isinstance(error, ArtifactNotFoundError):
        return NOT_FOUND
    return FORBIDDEN if isinstance(error, AccessDeniedError) else OURS


def shared_failure(result: PackageResult) -> PackagerError | None:
    """Why no target could begin: a trained artifact that is damaged or cannot be read fails each in the same words."""
    return None if result.left or any(each.uri for each in result.components) else result.error


def brief(result: PackageResult) -> dict[str, Any]:
    """A result for a state machine, whose states hold 256 KiB: without the manifest, which is where it was prepared.

    `again` names the targets whose failure can pass: the same event, sent a while later, can succeed.
    """
    from packager.limits.retry import is_recoverable  # noqa: PLC0415  same
    from packager.results import FAILED  # noqa: PLC0415  only these answers need it

    whole = result.as_dict()
    del whole["manifest"]
    failed = (each for each in result.components if each.status == FAILED)
    return {**whole, "again": [each.target for each in failed if each.error and is_recoverable(each.error)]}


def document(status: int, result: dict[str, Any]) -> dict[str, Any]:
    """A result as a machine gets it: with `statusCode`, as valid UTF-8, small enough to be sent.

    A manifest may hold what JSON can spell and UTF-8 cannot, and may be larger than an answer; it is then left out.
    """
    text = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace")
    if len(text) > LARGEST_BYTES:
        text = json.dumps({**result, "manifest": None}, ensure_ascii=False).encode("utf-8", "replace")
    return {"statusCode": status, **json.loads(text)}


def _more(error: PackagerError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "next_step": error.next_step,
        **({"field": error.figures["field"]} if "field" in error.figures else {}),
    }
