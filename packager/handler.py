"""What AWS Lambda runs: requests of the portal, of machines, and news of compilations.

Whatever a path does not need is imported by those that do: an answer to a preflight waits for nothing.
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
    PREPARED,
    compilation_ended,
    is_api_event,
    is_event_bridge_event,
    is_package_route,
    machine_call,
    package_call,
)
from packager.portal.fields import LONGEST_TEXT, Fields
from packager.portal.replies import (
    NOT_FOUND,
    OK,
    OURS,
    brief,
    document,
    http_failure,
    http_reply,
    shared_failure,
    status_of,
)
from packager.portal.settings import from_process_environment
from telemetry import context, log
from telemetry.aws_lambda import invocation, last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from packager.portal.events import MachineCall
    from packager.portal.service import Portal
    from packager.results import PackageResult
    from telemetry.aws_lambda import LambdaContext

LAST_CALL_S = 1.5
"""How long before the clock kills the function whatever it still waits for is given up, so that it can answer."""

LAST_WORDS_S = 1.0
"""How long before the clock kills the function the telemetry of whatever still runs is written."""

_CHATTY = ("boto3", "botocore", "s3transfer", "urllib3")
"""Libraries that write requests, answers and signatures to their logs at level DEBUG."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is returned, the status it amounts to, and the targets that are left for another call."""

    reply: dict[str, Any]
    status: int
    left: Sequence[str] = ()


def handler(event: Any, lambda_context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    """Answer one event.

    - A proxy event of API Gateway gets a proxy reply: the portal's contract.
    - An event of EventBridge about a SageMaker compilation gets what became of it. AWS's failures are raised, so that
      Lambda sends the event again.
    - Anything else has to be `{"trained", "compiled": [{"target", "uri"}], "output", "options", "manifest"}` and gets
      the document of `packager package --json` with `statusCode`.
    """
    with (
        invocation(event, lambda_context) as step,
        _last_words(lambda_context),
        time_limit(lambda: _left_s(lambda_context) - LAST_CALL_S),
    ):
        _keep_libraries_quiet()
        trigger, answer_to = _kind(event)
        step.add(trigger=trigger)
        answer = answer_to(event, lambda_context)
        step.add(
            status_4xx=int(400 <= answer.status < OURS),  # noqa: PLR2004  HTTP's
            status_5xx=int(answer.status >= OURS),
            aborted_for_time=int(bool(answer.left) or time_left_s() <= 0),
        )
        return answer.reply


def _kind(event: object) -> tuple[str, Callable[[Any, LambdaContext], _Answer]]:
    if is_api_event(event):
        return "api", _api
    return ("event", _event_bridge) if is_event_bridge_event(event) else ("direct", _machine)


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
            status, body = _portal(lambda_context).answer(call)
        return _Answer(http_reply(status, body, origin), status, body.get("left", ()))
    except Exception as error:  # noqa: BLE001  every request is answered
        status, body = http_failure(error, str(getattr(lambda_context, "aws_request_id", "")))
        _log_failure(status, error)
        return _Answer(http_reply(status, body, origin), status)


def _event_bridge(event: dict[str, Any], lambda_context: LambdaContext) -> _Answer:
    from packager.portal.compilations import on_compilation_ended  # noqa: PLC0415  only these events need it

    try:
        news = compilation_ended(event)
        with context(job_name=news.job_name):
            done = on_compilation_ended(_portal(lambda_context), news)
    except PackagerError as error:
        status = status_of(error)
        _log_failure(status, error)
        if status >= OURS:
            raise
        return _Answer(document(status, {"error": error.as_dict()}), status)
    return _Answer(document(OK, done), OK, done["left"])


def _machine(event: object, lambda_context: LambdaContext) -> _Answer:
    from packager.results import PackageResult  # noqa: PLC0415  the other paths need it later or never

    try:
        call = machine_call(event)
        with context(training_id=call.training_id):
            if call.manifest == PREPARE:
                return _Answer(document(OK, {"manifest_uri": _prepare(call, lambda_context), "error": None}), OK)
            result = _package(
                call.trained,
                call.compiled,
                call.output,
                lambda_context=lambda_context,
                prepared=call.manifest == PREPARED,
                **call.options,
            )
        result = replace(result, error=shared_failure(result))
        body = result.as_dict() if call.manifest is None else brief(result)
    except PackagerError as error:
        result = PackageResult(error=error)
        body = result.as_dict()
    status = status_of(result.error)
    if result.error is not None:
        _log_failure(status, result.error)
    return _Answer(document(status, body), status, result.left)


def _prepare(call: MachineCall, lambda_context: LambdaContext) -> str | None:
    from packager.packaging import prepare_manifest  # noqa: PLC0415  refusals come without it

    return prepare_manifest(call.trained, call.output, time_left_s=_time_left_s(lambda_context))


def _portal(lambda_context: LambdaContext) -> Portal:
    from packager.portal.service import Portal  # noqa: PLC0415  refusals come without it

    return Portal(from_process_environment(), partial(_package, lambda_context=lambda_context))


def _package(
    trained: str,
    compiled: dict[str, str],
    output: str,
    *,
    lambda_context: LambdaContext,
    **options: Any,  # noqa: ANN401  as package() takes them
) -> PackageResult:
    """As `packager.packaging.package`, which stops in time for records, reply and telemetry."""
    from packager.packaging import package  # noqa: PLC0415  refusals come without it

    return package(trained, compiled, output, time_left_s=_time_left_s(lambda_context), **options)


def _time_left_s(lambda_context: LambdaContext) -> Callable[[], float]:
    """Give the seconds until the work must have ended: the rest is for records, reply and telemetry."""
    reserve_s = from_process_environment().time_reserve_s
    return lambda: _left_s(lambda_context) - reserve_s


def _left_s(lambda_context: object) -> float:
    """Seconds until the clock kills the function; infinity for whoever calls it by hand, with a context or without."""
    clock = getattr(lambda_context, "get_remaining_time_in_millis", None)
    left_ms = clock() if callable(clock) else None
    return left_ms / 1000 if isinstance(left_ms, int | float) else math.inf


@cache
def _keep_libraries_quiet() -> None:
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_failure(status: int, error: Exception) -> None:
    """One line about a request that failed; never what stood in it."""
    if isinstance(error, RequestError):
        log("info", "request refused", status=status, error_type=type(error).__name__, field=error.figures.get("field"))
    elif isinstance(error, PackagerError):
        log(
            "info" if status < OURS else "error",
            "request refused" if status < OURS else "request failed",
            status=status,
            error_type=type(error).__name__,
            error=error.message,
            figures=error.figures,
            next_step=error.next_step,
        )
    else:
        # Only where it happened: the text of an unexpected error can hold anything that was being worked on.
        log(
            "error",
            "request failed",
            status=status,
            error_type=type(error).__name__,
            next_step="Report it, with this line.",
            stack="".join(traceback.format_tb(error.__traceback__)[-20:]),
        )


@contextmanager
def _last_words(lambda_context: LambdaContext) -> Iterator[None]:
    """Should the work not stop in time after all, say so and write what is known before the clock kills the process.

    Calls of AWS end in time by themselves; what cannot be made to is a disk that hangs, or a computation.
    """
    given_s = _left_s(lambda_context)
    wait_s = min(max(given_s - LAST_WORDS_S, given_s / 2), threading.TIMEOUT_MAX)
    timer = threading.Timer(wait_s, _say_last_words, (given_s, lambda_context))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _say_last_words(given_s: float, lambda_context: LambdaContext) -> None:
    log(
        "error",
        "time is up",
        time_given_s=round(given_s, 3),
        time_left_s=round(_left_s(lambda_context), 3),
        next_step="Look at what ran longest; give the function more time or a larger TIME_RESERVE_S.",
    )
    last_words()
