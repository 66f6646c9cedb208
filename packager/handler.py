"""The AWS Lambda function: requests of the portal, events of machines, and compilations that ended.

What only some events need is imported where they need it; what packaging needs, in Lambda's init phase, which
provisioned concurrency and SnapStart spare a request.
"""

from __future__ import annotations

import logging
import math
import os
import traceback
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from packager.deadline import ABORT_RESERVE_S, time_left_s, time_limit
from packager.errors import PackagerError, RequestError
from packager.portal.api import is_api_event, is_load_balancer_event, package_call, route, sender, status_call
from packager.portal.clock import ApiClock, left_s, telemetry_before_timeout
from packager.portal.events import (
    PREPARE,
    compilation_ended,
    is_asynchronous_event,
    is_delivery,
    is_event_bridge_event,
    is_execution_event,
    is_probe_event,
    machine_call,
)
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
from packager.portal.tally import (
    NOTHING,
    UNANSWERED,
    NothingPackagedError,
    Tally,
    of_entries,
    of_error,
    of_execution,
    of_request,
    together,
    writable,
)
from packager.portal.users import came_through_gateway
from telemetry import context, log
from telemetry.aws_lambda import invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from packager.errors import Fault
    from packager.portal.events import PackageArguments
    from packager.portal.service import Portal
    from packager.results import PackageResult
    from telemetry.aws_lambda import LambdaContext

REPLY_RESERVE_S = 1.5
"""Time before the function's end at which calls of AWS are given up, so that the function can still reply."""

_VERBOSE_LIBRARIES = ("boto3", "botocore", "s3transfer", "urllib3")
"""Libraries that log requests, responses and signatures at level DEBUG."""


_WAITING = frozenset({"api", "direct"})
"""Triggers of which a caller waits for the outcome."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The reply, its HTTP status, what it counts for, why it is no success, and the targets left for another call."""

    reply: dict[str, Any]
    status: int
    tally: Tally = NOTHING
    error: Exception | None = None
    left: Sequence[str] = ()


def handler(event: Any, lambda_context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    """Answer one event.

    - A proxy event of API Gateway gets a proxy reply, as the portal expects it.
    - An event of EventBridge about a SageMaker compilation gets its outcome. What failed for a cause that can pass, or
      was left, is raised, so that the event is delivered again.
    - A machine's request with `"asynchronous": true` is served likewise: nobody reads its document.
    - Messages of SQS and SNS that hold such an event, or a request of machines, are served likewise; SQS gets a report
      by message. What can never succeed goes to the dead letters.
    - `{"probe": true}`, which the schedule sends, packages a tiny model of its own through everything, and removes it.
    - Anything else has to be `{"trained", "compiled": [{"target", "uri"}], "output", "options", "manifest"}`, or
      `{"layout": "files", "model", "name", "version", "prefix", "recipe", "output", "options"}`, and gets the document
      of `packager package --json` with `statusCode`.
    """
    with (
        invocation(event, lambda_context) as step,
        telemetry_before_timeout(lambda_context),
        time_limit(lambda: left_s(lambda_context) - REPLY_RESERVE_S),
    ):
        _silence_libraries()
        trigger, answer_to = _route(event)
        step.add(trigger=trigger, **(UNANSWERED if trigger in _WAITING else NOTHING).as_fields())
        answer = answer_to(event, lambda_context)
        if answer.error is not None:
            step.fail(writable(answer.error))
        step.add(
            **answer.tally.as_fields(),
            status_4xx=int(BAD_REQUEST <= answer.status < SERVER_ERROR),
            status_5xx=int(answer.status >= SERVER_ERROR),
            aborted_for_time=int(bool(answer.left) or time_left_s() <= 0),
        )
        return answer.reply


def _route(event: object) -> tuple[str, Callable[[Any, LambdaContext], _Answer]]:
    """The kind of an event, and the function that answers it."""
    if is_api_event(event):
        return "machine" if is_execution_event(event) else "api", _api
    if is_event_bridge_event(event):
        return "event", _event_bridge
    if is_delivery(event):
        return "event", _messages
    if is_asynchronous_event(event):
        return "event", _asynchronous
    if is_probe_event(event):
        return "probe", _probe
    return "machine" if is_execution_event(event) else "direct", _machine


def _api(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    origin = "*"
    portal = None
    try:
        settings = from_process_environment()
        origin = settings.cors_origin
        # Only what comes from outside goes through a gateway that does not wait for long.
        outside = settings.request_machine_arn and came_through_gateway(event)
        clock = ApiClock(lambda_context, settings.integration_s if outside else math.inf)
        portal = _portal(clock)
        with time_limit(lambda: left_s(clock) - REPLY_RESERVE_S):
            answer = _api_answer(event, portal, clock.aws_request_id)
    except Exception as error:  # noqa: BLE001  every request is answered
        status, body = http_failure(error, str(getattr(lambda_context, "aws_request_id", "")))
        _note_failure(event, portal, status, error)
        answer = _Answer(body, status, of_error(error), error)
    reply = http_reply(answer.status, answer.reply or None, origin)
    if is_load_balancer_event(event):
        reply = load_balancer_reply(reply, event)
    if is_execution_event(event):  # the call before it counted for the model
        answer = replace(answer, tally=replace(answer.tally.unrequested, models=0))
    return replace(answer, reply=reply)


def _note_failure(event: dict[str, Any], portal: Portal | None, status: int, error: Exception) -> None:
    """Write the log line of a failed request, and its audit entry, with who asked."""
    from packager.portal.audit import LOOK, PACKAGE, UNKNOWN  # noqa: PLC0415  only failures need it

    user_id, training_id, method = sender(event, UNKNOWN)
    _log_failure(status, error, user_id=user_id, training_id=training_id)
    if portal is not None:
        action = LOOK if method == "GET" else PACKAGE
        portal.audit.write_failure(user_id, training_id, status, error, action)


def _api_answer(event: dict[str, Any], portal: Portal, request_id: str) -> _Answer:
    """The answer, with its body in place of a reply; an empty one for a preflight."""
    asked = route(event)
    if asked.method == "OPTIONS":
        return _Answer({}, OK)
    if asked.method == "GET" and asked.is_of_package and portal.settings.request_machine_arn:
        call = status_call(event, asked)
        with context(training_id=call.training_id):
            return _Answer(portal.state(call), OK)
    if not asked.is_package:
        return _Answer({"error": "Not found"}, NOT_FOUND)
    call = package_call(event, asked, request_id)
    with context(training_id=call.training_id):
        outcome, body = portal.answer(call)
    failed = NothingPackagedError(outcome.faults) if outcome.status >= BAD_REQUEST else None
    return _Answer(body, outcome.status, outcome.tally, failed, outcome.left)


def _event_bridge(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    """The outcome of a compilation that ended; what can be delivered again is raised."""
    try:
        outcome = _compilation(event, lambda_context)
    except Exception as error:
        if answer := _settled(error, event):
            return answer
        raise
    return _Answer(document(OK, outcome), OK, of_entries(outcome["packaged_components"]).unrequested)


def _asynchronous(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    """A machine's request of which nobody reads the document; what can be delivered again is raised."""
    try:
        tally = _serve(event, lambda_context)
    except Exception as error:
        if answer := _settled(error, event):
            return answer
        raise
    return _Answer(document(OK, {"error": None}), OK, tally.unrequested)


def _settled(error: Exception, event: object) -> _Answer | None:
    """The answer to an event that failed and is done with; None where it has to come again."""
    status = status_of(error)
    _log_failure(status, error)
    if not _is_settled(error, event):
        return None
    reason = error.as_dict() if isinstance(error, PackagerError) else None
    return _Answer(document(status, {"error": reason}), status, of_error(error).unrequested, error)


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

    counted: list[Tally] = []

    def serve(request: dict[str, Any]) -> None:
        counted.append(_serve(request, lambda_context))

    def is_settled(error: Exception, record: object) -> bool:
        _log_failure(status_of(error), error)
        counted.append(of_error(error))
        return _is_settled(error, record)

    try:
        reply, failures = consume(event, serve, is_settled)
    except PackagerError as error:  # not one message could be read
        if not is_settled(error, event):
            raise
        return _Answer({"batchItemFailures": []}, BAD_REQUEST, error=error)
    if failures and not is_queue_event(event):
        raise failures[0]
    failed = failures[0] if len(failures) == len(counted) and failures else None
    return _Answer(reply, max(map(status_of, failures), default=OK), together(counted).unrequested, failed)


def _serve(request: dict[str, Any], lambda_context: LambdaContext) -> Tally:
    """Serve the request in a message and count it; raises what keeps any of its targets from being packaged."""
    from packager.portal.deliveries import NotDoneError, refuse_failures  # noqa: PLC0415  only these events need it

    if _work_left_s(lambda_context)() <= ABORT_RESERVE_S:
        raise NotDoneError("There was no time left to begin.", next_step="The message is delivered again.")
    if is_event_bridge_event(request):
        return of_entries(_compilation(request, lambda_context)["packaged_components"])
    call = machine_call(request, in_lambda=bool(from_process_environment().function_name))
    with context(training_id=call.training_id):
        if call.manifest == PREPARE:
            _prepare(call.arguments, lambda_context)
        else:
            refuse_failures(_package(call.arguments, lambda_context))
    return Tally(models=1)


def _machine(event: object, lambda_context: LambdaContext) -> _Answer:
    from packager.results import FAILED, PackageResult  # noqa: PLC0415  only these events need it this early

    try:
        call = machine_call(event, in_lambda=bool(from_process_environment().function_name))
        with context(training_id=call.training_id):
            if call.manifest == PREPARE:
                uri = _prepare(call.arguments, lambda_context)
                return _Answer(document(OK, {"manifest_uri": uri, "error": None}), OK, Tally(models=1))
            result = _package(call.arguments, lambda_context)
        result = replace(result, error=shared_failure(result))
        body = result.as_dict() if call.manifest is None else state_document(result)
    except PackagerError as error:
        result = PackageResult(error=error)
        body = result.as_dict()
    status = status_of(result.error)
    if result.error is not None:
        _log_failure(status, result.error)
    faults = [each.error.fault for each in result.components if each.status == FAILED and each.error is not None]
    failed = result.error
    if failed is None and faults and len(faults) == len(result.components):
        failed = NothingPackagedError(faults)
    return _Answer(document(status, body), status, _tally(result, faults, event), failed, result.left)


def _tally(result: PackageResult, faults: Sequence[Fault], event: object) -> Tally:
    left = len(result.left)
    if result.error is not None and not result.components:
        tally = of_error(result.error)
    else:
        tally = of_request(faults, len(result.components) - len(faults) - left, left)
    return of_execution(tally, event) if isinstance(event, dict) and is_execution_event(event) else tally


def _probe(_event: object, lambda_context: LambdaContext) -> _Answer:
    """Probe. A failure is answered, not raised: Lambda would try again, and keep the event as a dead letter."""
    from packager.portal.probe import probe  # noqa: PLC0415  only a probe needs it

    run_id = str(getattr(lambda_context, "aws_request_id", "") or "local")
    try:
        done = probe(from_process_environment(), partial(_package, clock=lambda_context), run_id)
    except PackagerError as error:
        _log_failure(SERVER_ERROR, error)
        return _Answer(document(SERVER_ERROR, {"error": error.as_dict()}), SERVER_ERROR, error=error)
    return _Answer(document(OK, done), OK)


def _prepare(arguments: PackageArguments, lambda_context: LambdaContext) -> str | None:
    from packager.packaging import prepare_manifest  # noqa: PLC0415  a refusal needs none of it

    time_left_s = _work_left_s(lambda_context)
    return prepare_manifest(
        arguments.trained, arguments.output, time_left_s=time_left_s, exclude=arguments.exclude, stores=arguments.stores
    )


def _portal(clock: object) -> Portal:
    from packager.portal.service import Portal  # noqa: PLC0415  a refusal needs none of it

    return Portal(from_process_environment(), partial(_package, clock=clock))


def _package(arguments: PackageArguments, clock: object) -> PackageResult:
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
        time_left_s=_work_left_s(clock),
        previous=arguments.previous,
        prepared=arguments.prepared,
        exclude=arguments.exclude,
        model_file=arguments.model_file,
        layout=arguments.layout,
        name=arguments.name,
        version=arguments.version,
        prefix=arguments.prefix,
        recipe=arguments.recipe,
    )


def _work_left_s(clock: object) -> Callable[[], float]:
    """Gives the seconds until the work must have ended: the rest is for records, reply and telemetry."""
    reserve_s = from_process_environment().time_reserve_s
    return lambda: left_s(clock) - reserve_s


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


_FOR_PACKAGING = (
    *("boto3", "boto3.dynamodb.types", "boto3.s3.inject", "packager.packaging", "packager.portal.service"),
    *(f"packager.stores.{name}" for name in ("s3", "s3_credentials", "s3_prefix", "s3_sink", "whole_file")),
)

if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    for _name in _FOR_PACKAGING:
        import_module(_name)  # no client yet: its credentials and sockets would be part of SnapStart's snapshot
