"""Events of the function, read into frozen requests; RequestError names a field that is missing or wrong."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from packager.errors import RequestError, printable
from packager.portal.fields import LONGEST_TEXT, Fields, wrong
from packager.portal.users import User, caller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packager.stores import Stores

COMPILATION_CHANGED = "SageMaker Compilation Job State Change"
ENDED = {"Completed": "COMPLETED", "Failed": "FAILED", "Stopped": "STOPPED"}
"""SageMaker's states of a compilation that has ended, and their spelling in the portal's records."""

_PACKAGE_PATH = re.compile(r"/api/v1/training/[^/]*/package/?")
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class PackageCall:
    """A request of the portal to package a training job; without targets, all that are compiled."""

    training_id: str
    targets: tuple[str, ...]
    auto_triggered: bool
    user: User


@dataclass(frozen=True, slots=True)
class PackageArguments:
    """Arguments of `packager.packaging.package`, which says what they mean."""

    trained: str
    compiled: Mapping[str, str]
    output: str
    imported_targets: tuple[str, ...] = ()
    strategy: str = "auto"
    force: bool = False
    strict: bool | None = None
    previous: Mapping[str, Any] | None = None
    prepared: bool = False
    stores: Stores | None = None


PREPARE, PREPARED = "prepare", "prepared"
"""What a machine event can request of the manifest: to keep it below the output, or to take it from there."""


@dataclass(frozen=True, slots=True)
class MachineCall:
    """A machine's request. `manifest` is PREPARE, when nothing else is to be done, PREPARED, or None."""

    arguments: PackageArguments
    training_id: str | None
    manifest: str | None


@dataclass(frozen=True, slots=True)
class CompilationEnded:
    """A compilation that ended: `status` as in records, `compiled_model_s3` when COMPLETED, else a reason."""

    job_name: str
    status: str
    compiled_model_s3: str | None
    failure_reason: str | None


def is_api_event(event: object) -> bool:
    return isinstance(event, dict) and ("httpMethod" in event or "requestContext" in event)


def is_event_bridge_event(event: object) -> bool:
    return isinstance(event, dict) and "detail-type" in event


def is_execution_event(event: object) -> bool:
    """Whether a state machine sends the event, which tries again by itself and fails by itself."""
    return isinstance(event, dict) and isinstance(event.get("execution"), dict)


def is_package_route(method: str, path: str) -> bool:
    return method == "POST" and _PACKAGE_PATH.fullmatch(path) is not None


def package_call(event: dict[str, Any]) -> PackageCall:
    """The request in a proxy event of `POST /api/v1/training/{id}/package`."""
    training_id = _training_id(event)
    user = caller(event)
    body = Fields(_json(_body(Fields(event))), "body")
    return PackageCall(training_id, body.texts("targets"), body.optional_flag("auto_triggered") or False, user)


def machine_call(event: object) -> MachineCall:
    """The request in a machine's event: trained, compiled and output; optionally options, manifest, training_id."""
    fields = Fields(event)
    manifest = fields.optional_text("manifest")
    if manifest not in {None, PREPARE, PREPARED}:
        raise wrong("manifest", manifest, f"{PREPARE} or {PREPARED}")
    options = _options(fields.object("options")) if "options" in fields else {}
    arguments = PackageArguments(
        trained=_uri(fields, "trained"),
        compiled=_compiled(fields) if manifest != PREPARE else {},
        output=_uri(fields, "output"),
        prepared=manifest == PREPARED,
        **options,
    )
    return MachineCall(arguments, fields.optional_text("training_id"), manifest)


def compilation_ended(event: dict[str, Any]) -> CompilationEnded:
    """The end of a compilation in EventBridge's event."""
    fields = Fields(event)
    if (fields["source"], fields["detail-type"]) != ("aws.sagemaker", COMPILATION_CHANGED):
        raise RequestError(
            "The function does not handle this event of EventBridge.",
            next_step=f"Send events of source aws.sagemaker and detail-type {COMPILATION_CHANGED}.",
            field="detail-type" if fields["source"] == "aws.sagemaker" else "source",
        )
    detail = fields.object("detail")
    job_name = detail.text("CompilationJobName")
    state = detail.text("CompilationJobStatus")
    status = ENDED.get(state.capitalize())
    if status is None:
        raise wrong("detail.CompilationJobStatus", state, " or ".join(ENDED))
    if status == "COMPLETED":
        return CompilationEnded(
            job_name, status, detail.object("ModelArtifacts").text("S3ModelArtifacts", LONGEST_TEXT), None
        )
    reason = detail["FailureReason"]
    text = reason if isinstance(reason, str) and reason else f"The compilation job ended as {status}."
    return CompilationEnded(job_name, status, None, printable(text, _LONGEST_REASON))


def _training_id(event: dict[str, Any]) -> str:
    parameters = event.get("pathParameters")
    training_id = Fields(parameters, "pathParameters")["id"] if parameters is not None else None
    if training_id in (None, ""):
        raise RequestError("training_id is required", next_step="Name it in the path.", field="pathParameters.id")
    return Fields(parameters, "pathParameters").text("id")


def _body(fields: Fields) -> str:
    """The text of the body, which API Gateway can encode as base64 (`isBase64Encoded`)."""
    body = fields.unrestricted_text("body")
    if not fields.optional_flag("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode()
    except ValueError:
        raise wrong("body", body, "base64 of UTF-8, as isBase64Encoded says") from None


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


def _uri(fields: Fields, name: str) -> str:
    """An s3:// or file:/// URI, or an absolute path: a function has no meaningful working folder."""
    uri = fields.text(name, LONGEST_TEXT)
    if not uri.startswith(("s3://", "file:///", "/")):
        raise wrong(fields.named(name), uri, "s3://bucket/key, file:///path or an absolute path")
    return uri


def _compiled(fields: Fields) -> dict[str, str]:
    compiled: dict[str, str] = {}
    for number, each in enumerate(fields.list("compiled")):
        entry = Fields(each, f"compiled[{number}]")
        target = entry.text("target")
        if target in compiled:
            raise RequestError(
                f"{entry.named('target')} names a target a second time.",
                next_step="Name each target once.",
                field=entry.named("target"),
            )
        compiled[target] = _uri(entry, "uri")
    return compiled


_OPTIONS = ("strategy", "force", "strict", "imported_targets", "previous")


def _options(fields: Fields) -> dict[str, Any]:
    from packager.limits.strategy import AUTO, STRATEGIES  # noqa: PLC0415  only machine events need it

    unknown = fields.names() - set(_OPTIONS)
    if unknown:
        raise RequestError(
            f"options has {len(unknown)} fields that are not known.",
            next_step=f"Known are {', '.join(_OPTIONS)}.",
            field="options",
        )
    strategy = fields.optional_text("strategy")
    if strategy not in {None, AUTO, *STRATEGIES}:
        raise wrong(fields.named("strategy"), strategy, f"one of {', '.join((AUTO, *STRATEGIES))}")
    given = {
        "strategy": strategy,
        "force": fields.optional_flag("force"),
        "strict": fields.optional_flag("strict"),
        "imported_targets": fields.texts("imported_targets") or None,
        "previous": _previous(fields) if "previous" in fields else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _previous(fields: Fields) -> dict[str, Any]:
    previous = fields.object("previous")
    for number, each in enumerate(previous.list("components")):
        component = Fields(each, f"{fields.named('previous')}.components[{number}]")
        component.text("target")
        component.text("status")
    return previous.whole()
