"""The AWS Lambda function: requests of the portal, events of machines, and compilations that ended.

What only some events need is imported where they need it, so that a preflight is answered without it.
"""

from __future__ import annotations

import logging
import math
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from packager.deadline import time_left_s, time_limit
from packager.errors import PackagerError, RequestError
from packager.portal.events import (
    PREPARE,
    compilation_ended,
    is_api_event,
    is_event_bridge_event,
    is_execution_event,
    is_package_route,
    machine_call,
    package_call,
)
from packager.portal.fields import LONGEST_TEXT, Fields
from packager.portal.replies import (
    BAD_REQUEST,
    NOT_FOUND,
    OK,
    SERVER_ERROR,
    document,
    http_failure,
    http_reply,
    shared_failure,
    state_document,
    status_of,
)
from packager.portal.settings import from_process_environment
from packager.portal.tally import NOTHING, UNANSWERED, NothingPackagedError, Tally, of_error, of_execution, of_request
from telemetry import context, log
from telemetry.aws_lambda import invocation, last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from packager.errors import Fault
    from packager.portal.events import PackageArguments
    from packager.portal.service import Portal
    from packager.results import PackageResult
    from telemetry.aws_lambda import LambdaContext

REPLY_RESERVE_S = 1.5
"""Time before the function's end at which calls of AWS are given up, so that the function can still reply."""

TELEMETRY_RESERVE_S = 1.0
"""Time before the function's end at which the telemetry of whatever still runs is written."""

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
    - An event of EventBridge about a SageMaker compilation gets its outcome. Failures of AWS are raised, so that Lambda
      delivers the event again.
    - Anything else has to be `{"trained", "compiled": [{"target", "uri"}], "output", "options", "manifest"}` and gets
      the document of `packager package --json` with `statusCode`.
    """
    with (
        invocation(event, lambda_context) as step,
        _telemetry_before_timeout(lambda_context),
        time_limit(lambda: _left_s(lambda_context) - REPLY_RESERVE_S),
    ):
        _silence_libraries()
        trigger, answer_to = _route(event)
        step.add(trigger=trigger, **(UNANSWERED if trigger in _WAITING else NOTHING).as_fields())
        answer = answer_to(event, lambda_context)
        if answer.error is not None:
            step.fail(answer.error)
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
        return "api", _api
    if is_event_bridge_event(event):
        return "event", _event_bridge
    return "machine" if is_execution_event(event) else "direct", _machine


def _api(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    origin = "*"
    try:
        origin = from_process_environment().cors_origin
        fields = Fields(event)
        method, path = fields.text("httpMethod"), fields.text("path", LONGEST_TEXT)
        if method == "OPTIONS":
            return _Answer(http_reply(OK, None, origin), OK)
        if not is_package_route(method, path):
            return _Answer(http_reply(NOT_FOUND, {"error": "Not found"}, origin), NOT_FOUND)
        call = package_call(event)
        with context(training_id=call.training_id):
            outcome, body = _portal(lambda_context).answer(call)
        failed = NothingPackagedError(outcome.faults) if outcome.status != OK else None
        return _Answer(http_reply(outcome.status, body, origin), outcome.status, outcome.tally, failed, outcome.left)
    except Exception as error:  # noqa: BLE001  every request is answered
        status, body = http_failure(error, str(getattr(lambda_context, "aws_request_id", "")))
        _log_failure(status, error)
        return _Answer(http_reply(status, body, origin), status, of_error(error), error)


def _event_bridge(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    from packager.portal.compilations import on_compilation_ended  # noqa: PLC0415  only these events need it

    try:
        ended = compilation_ended(event)
        with context(job_name=ended.job_name):
            outcome = on_compilation_ended(_portal(lambda_context), ended)
    except PackagerError as error:
        status = status_of(error)
        _log_failure(status, error)
        if status >= SERVER_ERROR:
            raise
        return _Answer(document(status, {"error": error.as_dict()}), status, of_error(error).unrequested, error)
    entries, left = outcome["packaged_components"], outcome["left"]
    faults = [entry["fault"] for entry in entries if "fault" in entry and entry["target"] not in left]
    tally = of_request(faults, len(entries) - len(faults) - len(left), len(left)).unrequested
    return _Answer(document(OK, outcome), OK, tally if entries else NOTHING, left=left)


def _machine(event: object, lambda_context: LambdaContext) -> _Answer:
    from packager.results import FAILED, PackageResult  # noqa: PLC0415  only these events need it this early

    try:
        call = machine_call(event)
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


def _prepare(arguments: PackageArguments, lambda_context: LambdaContext) -> str | None:
    from packager.packaging import prepare_manifest  # noqa: PLC0415  a refusal needs none of it

    return prepare_manifest(arguments.trained, arguments.output, time_left_s=_work_left_s(lambda_context))


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
    )


def _work_left_s(lambda_context: LambdaContext) -> Callable[[], float]:
    """Gives the seconds until the work must have ended: the rest is for records, reply and telemetry."""
    reserve_s = from_process_environment().time_reserve_s
    return lambda: _left_s(lambda_context) - reserve_s


def _left_s(lambda_context: object) -> float:
    """Seconds until Lambda ends the function; infinity when it is called by hand."""
    clock = getattr(lambda_context, "get_remaining_time_in_millis", None)
    left_ms = clock() if callable(clock) else None
    return left_ms / 1000 if isinstance(left_ms, int | float) else math.inf


@cache
def _silence_libraries() -> None:
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_failure(status: int, error: Exception) -> None:
    """Write one line about a request that failed; never what the request held."""
    if isinstance(error, RequestError):
        log("info", "request refused", status=status, error_type=type(error).__name__, field=error.figures.get("field"))
    elif isinstance(error, PackagerError):
        log(
            "info" if status < SERVER_ERROR else "error",
            "request refused" if status < SERVER_ERROR else "request failed",
            status=status,
            error_type=type(error).__name__,
            error=error.message,
            figures=error.figures,
            next_step=error.next_step,
        )
    else:
        # Only where it happened: the text of an unexpected error can hold anything that was being processed.
        log(
            "error",
            "request failed",
            status=status,
            error_type=type(error).__name__,
            next_step="Report it, with this line.",
            stack="".join(traceback.format_tb(error.__traceback__)[-20:]),
        )


@contextmanager
def _telemetry_before_timeout(lambda_context: LambdaContext) -> Iterator[None]:
    """Write the telemetry of work that does not stop in time, before Lambda kills the process.

    Calls of AWS have time limits; a disk that hangs, or a computation, has none.
    """
    given_s = _left_s(lambda_context)
    wait_s = min(max(given_s - TELEMETRY_RESERVE_S, given_s / 2), threading.TIMEOUT_MAX)
    timer = threading.Timer(wait_s, _log_timeout, (given_s, lambda_context))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _log_timeout(given_s: float, lambda_context: LambdaContext) -> None:
    log(
        "error",
        "time is up",
        time_given_s=round(given_s, 3),
        time_left_s=round(_left_s(lambda_context), 3),
        next_step="Look at what ran longest; give the function more time or a larger TIME_RESERVE_S.",
    )
    last_words()
