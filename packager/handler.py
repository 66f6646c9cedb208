"""The AWS Lambda function: requests of the portal, events of machines, and compilations that ended.

What only some events need is imported where they need it, so that a preflight is answered without it.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from packager.deadline import ABORT_RESERVE_S, time_left_s, time_limit
from packager.errors import PackagerError, RequestError
from packager.portal.api import is_api_event, is_load_balancer_event, package_call, route, sender
from packager.portal.clock import left_s, telemetry_before_timeout
from packager.portal.events import PREPARE, compilation_ended, is_delivery, is_event_bridge_event, machine_call
from packager.portal.replies import (
    BAD_REQUEST,
    NOT_FOUND,
    OK,
    SERVER_ERROR,
    document,
    http_failure,
    http_reply,
    load_balancer_reply,
    shared_failure,
    state_document,
    status_of,
)
from packager.portal.settings import from_process_environment
from telemetry import context, log
from telemetry.aws_lambda import invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from packager.portal.events import PackageArguments
    from packager.portal.service import Portal
    from packager.results import PackageResult
    from telemetry.aws_lambda import LambdaContext

REPLY_RESERVE_S = 1.5
"""Time before the function's end at which calls of AWS are given up, so that the function can still reply."""

_VERBOSE_LIBRARIES = ("boto3", "botocore", "s3transfer", "urllib3")
"""Libraries that log requests, responses and signatures at level DEBUG."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The reply, its HTTP status, and the targets that are left for another call."""

    reply: dict[str, Any]
    status: int
    left: Sequence[str] = ()


def handler(event: Any, lambda_context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    """Answer one event.

    - A proxy event of API Gateway gets a proxy reply, as the portal expects it.
    - An event of EventBridge about a SageMaker compilation gets its outcome. What failed for a cause that can pass, or
      was left, is raised, so that the event is delivered again.
    - Messages of SQS and SNS that hold such an event, or a request of machines, are served likewise; SQS gets a report
      by message. What can never succeed goes to the dead letters.
    - Anything else has to be `{"trained", "compiled": [{"target", "uri"}], "output", "options", "manifest"}` and gets
      the document of `packager package --json` with `statusCode`.
    """
    with (
        invocation(event, lambda_context) as step,
        telemetry_before_timeout(lambda_context),
        time_limit(lambda: left_s(lambda_context) - REPLY_RESERVE_S),
    ):
        _silence_libraries()
        trigger, answer_to = _route(event)
        step.add(trigger=trigger)
        answer = answer_to(event, lambda_context)
        step.add(
            status_4xx=int(BAD_REQUEST <= answer.status < SERVER_ERROR),
            status_5xx=int(answer.status >= SERVER_ERROR),
            aborted_for_time=int(bool(answer.left) or time_left_s() <= 0),
        )
        return answer.reply


def _route(event: object) -> tuple[str, Callable[[Any, LambdaContext], _Answer]]:
    """The kind of an event, and the function that answers it."""
    if is_api_event(event):
        return "api", _api
    if is_event_bridge_event(event):
        return "event", _event_bridge
    return ("event", _messages) if is_delivery(event) else ("direct", _machine)


def _api(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    origin = "*"
    body: dict[str, Any] | None
    portal = None
    try:
        origin = from_process_environment().cors_origin
        portal = _portal(lambda_context)
        status, body = _api_answer(event, portal, lambda_context)
    except Exception as error:  # noqa: BLE001  every request is answered
        status, body = http_failure(error, str(getattr(lambda_context, "aws_request_id", "")))
        _note_failure(event, portal, status, error)
    reply = http_reply(status, body, origin)
    if is_load_balancer_event(event):
        reply = load_balancer_reply(reply, event)
    return _Answer(reply, status, (body or {}).get("left", ()))


def _note_failure(event: dict[str, Any], portal: Portal | None, status: int, error: Exception) -> None:
    """Write the log line of a failed request, and its audit entry, with who asked."""
    from packager.portal.audit import PACKAGE, UNKNOWN  # noqa: PLC0415  only failures need it

    user_id, training_id = sender(event, UNKNOWN)
    _log_failure(status, error, user_id=user_id, training_id=training_id)
    if portal is not None:
        portal.audit.write_failure(user_id, training_id, status, error, PACKAGE)


def _api_answer(
    event: dict[str, Any], portal: Portal, lambda_context: LambdaContext
) -> tuple[int, dict[str, Any] | None]:
    """Status and body; None for a preflight."""
    asked = route(event)
    if asked.method == "OPTIONS":
        return OK, None
    if not asked.is_package:
        return NOT_FOUND, {"error": "Not found"}
    call = package_call(event, asked, str(getattr(lambda_context, "aws_request_id", "") or ""))
    with context(training_id=call.training_id):
        return portal.answer(call)


def _event_bridge(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    """The outcome of a compilation that ended; what can be delivered again is raised."""
    try:
        outcome = _compilation(event, lambda_context)
    except Exception as error:
        status = status_of(error)
        _log_failure(status, error)
        if not _is_settled(error, event):
            raise
        reason = error.as_dict() if isinstance(error, PackagerError) else None
        return _Answer(document(status, {"error": reason}), status)
    return _Answer(document(OK, outcome), OK)


def _compilation(event: dict[str, Any], lambda_context: LambdaContext) -> dict[str, Any]:
    from packager.portal.compilations import on_compilation_ended  # noqa: PLC0415  only these events need it

    ended = compilation_ended(event)
    with context(job_name=ended.job_name):
        return on_compilation_ended(_portal(lambda_context), ended)


def _is_settled(error: Exception, event: object) -> bool:
    """Whether a failed event is done with: it is not ours, or it can never succeed and lies with the dead letters."""
    from packager.portal.compilations import UnknownCompilationError  # noqa: PLC0415  only these events need it
    from packager.portal.deliveries import keep_dead_letter  # noqa: PLC0415  same

    if isinstance(error, UnknownCompilationError):
        return True
    if not isinstance(error, PackagerError) or error.fault == "service":
        return False
    return keep_dead_letter(from_process_environment().dead_letter_queue_url, event, error)


def _messages(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    """Serve messages of queues and topics. Failures are reported to SQS, raised for all others."""
    from packager.portal.deliveries import consume, is_queue_event  # noqa: PLC0415  only these events need it

    def is_settled(error: Exception, record: object) -> bool:
        _log_failure(status_of(error), error)
        return _is_settled(error, record)

    try:
        reply, failures = consume(event, lambda request: _serve(request, lambda_context), is_settled)
    except PackagerError as error:  # not one message could be read
        if not is_settled(error, event):
            raise
        return _Answer({"batchItemFailures": []}, BAD_REQUEST)
    if failures and not is_queue_event(event):
        raise failures[0]
    return _Answer(reply, max((status_of(each) for each in failures), default=OK))


def _serve(request: dict[str, Any], lambda_context: LambdaContext) -> None:
    """Serve the request in a message; raises what keeps any of its targets from being packaged."""
    from packager.portal.deliveries import NotDoneError, refuse_failures  # noqa: PLC0415  only these events need it

    if _work_left_s(lambda_context)() <= ABORT_RESERVE_S:
        raise NotDoneError("There was no time left to begin.", next_step="The message is delivered again.")
    if is_event_bridge_event(request):
        _compilation(request, lambda_context)
        return
    call = machine_call(request, in_lambda=bool(from_process_environment().function_name))
    with context(training_id=call.training_id):
        if call.manifest == PREPARE:
            _prepare(call.arguments, lambda_context)
        else:
            refuse_failures(_package(call.arguments, lambda_context))


def _machine(event: object, lambda_context: LambdaContext) -> _Answer:
    from packager.results import PackageResult  # noqa: PLC0415  only these events need it this early

    try:
        call = machine_call(event, in_lambda=bool(from_process_environment().function_name))
        with context(training_id=call.training_id):
            if call.manifest == PREPARE:
                uri = _prepare(call.arguments, lambda_context)
                return _Answer(document(OK, {"manifest_uri": uri, "error": None}), OK)
            result = _package(call.arguments, lambda_context)
        result = replace(result, error=shared_failure(result))
        body = result.as_dict() if call.manifest is None else state_document(result)
    except PackagerError as error:
        result = PackageResult(error=error)
        body = result.as_dict()
    status = status_of(result.error)
    if result.error is not None:
        _log_failure(status, result.error)
    return _Answer(document(status, body), status, result.left)


def _prepare(arguments: PackageArguments, lambda_context: LambdaContext) -> str | None:
    from packager.packaging import prepare_manifest  # noqa: PLC0415  a refusal needs none of it

    time_left_s = _work_left_s(lambda_context)
    return prepare_manifest(arguments.trained, arguments.output, time_left_s=time_left_s, exclude=arguments.exclude)


def _portal(lambda_context: LambdaContext) -> Portal:
    from packager.portal.service import Portal  # noqa: PLC0415  a refusal needs none of it

    return Portal(from_process_environment(), partial(_package, lambda_context=lambda_context))


def _package(arguments: PackageArguments, lambda_context: LambdaContext) -> PackageResult:
    """Package within the function's time, less what records, reply and telemetry need."""
    from packager.packaging import package  # noqa: PLC0415  a refusal needs none of it

    return package(
        arguments.trained,
        arguments.compiled,
        arguments.output,
        imported_targets=arguments.imported_targets,
        strategy=arguments.strategy,
        force=arguments.force,
        strict=arguments.strict,
        stores=arguments.stores,
        time_left_s=_work_left_s(lambda_context),
        previous=arguments.previous,
        prepared=arguments.prepared,
        exclude=arguments.exclude,
        model_file=arguments.model_file,
    )


def _work_left_s(lambda_context: LambdaContext) -> Callable[[], float]:
    """Gives the seconds until the work must have ended: the rest is for records, reply and telemetry."""
    reserve_s = from_process_environment().time_reserve_s
    return lambda: left_s(lambda_context) - reserve_s


@cache
def _silence_libraries() -> None:
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_failure(status: int, error: Exception, **who: str) -> None:
    """Write one line about a request that failed, with the ids of user and training job; never what else it held."""
    about = {**who, "status": status, "error_type": type(error).__name__}
    if isinstance(error, RequestError):
        log("info", "request refused", **about, field=error.figures.get("field"))
    elif isinstance(error, PackagerError):
        log(
            "info" if status < SERVER_ERROR else "error",
            "request refused" if status < SERVER_ERROR else "request failed",
            **about,
            error=error.message,
            figures=error.figures,
            next_step=error.next_step,
        )
    else:
        # Only where it happened: the text of an unexpected error can hold anything that was being processed.
        log(
            "error",
            "request failed",
            **about,
            next_step="Report it, with this line.",
            stack="".join(traceback.format_tb(error.__traceback__)[-20:]),
        )
