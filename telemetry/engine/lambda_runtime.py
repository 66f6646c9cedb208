"""What only Lambda has: invocations, a trace header for each, freezing between them, and a clock that kills.

runtime = LambdaRuntime(vocabulary)

def handler(event, context):
    with runtime.invocation(event, context) as here:
        ...
        here.add(status_5xx=1)
"""

from __future__ import annotations

import atexit
import logging
import resource
import sys
import threading
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from telemetry.engine import conventions
from telemetry.engine.configure import import_early, library_logs, to_stdout
from telemetry.engine.health import HEALTH
from telemetry.engine.observing import context, observe
from telemetry.engine.operation import Kind
from telemetry.engine.settings import Settings, trace_header
from telemetry.engine.steps import Step, close_open_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from telemetry.engine.configure import Pipeline
    from telemetry.engine.operation import Operation
    from telemetry.engine.vocabulary import Vocabulary

TRACE_HEADER = "X-Amzn-Trace-Id"
_ARN_PARTS = 7
REQUEST_HEADER = "trace_header"
"""The key of an event under which another invocation hands over the header of its request."""


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    aws_request_id: str
    function_version: str
    invoked_function_arn: str
    log_stream_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left before the function is killed."""


class LambdaRuntime:
    """What lasts from one invocation to the next: the pipeline, made at the first, and the count.

    Raises ValueError when the vocabulary has no row for an invocation.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.invocation is None:
            raise ValueError("the vocabulary has no row for an invocation; give it one")
        self._vocabulary = vocabulary
        self._row: Operation = vocabulary.invocation
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._pipeline: Pipeline | None = None
        self._invocations = 0
        self._context = copy_context()
        """Of the present invocation: its request and its trace."""
        self._measure: Callable[[], None] = lambda: None
        """Adds to the present invocation what is only known at its end."""

    def initialize(self) -> None:
        """In Lambda, do in the init phase what outlives SnapStart's snapshot: imports, and a hook after the restore.

        Settings, ids, clients and clocks are made at the first invocation: an environment that was restored has
        another log stream, other credentials and another time than the one that the snapshot is of.
        """
        settings = Settings.from_environ()
        if settings.in_lambda:
            import_early(settings)
            from telemetry.engine.ids import reseed_after_restore  # noqa: PLC0415  imports OpenTelemetry

            reseed_after_restore()

    @contextmanager
    def invocation(
        self, event: Mapping[str, Any] | object, lambda_context: LambdaContext, settings: Settings | None = None
    ) -> Iterator[Step]:
        """Observe one invocation as a row of its own, in the trace that Lambda began for it.

        The step inside takes what the handler knows, by the row's fields; cold start, count, time left, peak memory
        and version come by themselves. At the end the health line is written and waiting spans are flushed, in 300 ms
        at most. Exceptions pass through unchanged.
        """
        pipeline = self._recording(settings, lambda_context)
        with ExitStack() as stack:
            self._enter_context(stack, pipeline.settings, event, lambda_context)
            self._context = copy_context()
            stack.callback(pipeline.close)
            step = stack.enter_context(_observed(self._row, event))
            self._begin(step, lambda_context)
            self._measure = partial(_finish, step, lambda_context)
            stack.callback(self._measure)
            yield step

    def last_words(self) -> int:
        """End all open steps as incomplete, write their lines, flush, and return how many there were.

        For the guard that runs shortly before the clock kills the function; takes at most the flush limit.
        """
        self._measure()
        closed = close_open_spans()
        if self._pipeline is not None:
            self._context.copy().run(self._pipeline.close)  # the guard's thread knows nothing of the request
        return closed

    def close(self) -> None:
        """Stop recording; the next invocation is a cold start again."""
        atexit.unregister(self.close)
        with self._lock:
            self._stack.close()
            self._pipeline, self._invocations = None, 0

    def _recording(self, settings: Settings | None, lambda_context: LambdaContext) -> Pipeline:
        with self._lock:
            if self._pipeline is None:
                settings = settings or Settings.from_environ()
                settings = replace(settings, resource=(*settings.resource, *_resource(lambda_context)))
                self._pipeline = self._stack.enter_context(to_stdout(self._vocabulary, settings))
                atexit.register(self.close)  # later, when the interpreter is taken apart, no thread can be started
                if settings.in_lambda:
                    # The runtime's own handler writes to standard output through another buffer, without our lock.
                    logging.getLogger().handlers[:] = [library_logs(settings)]
            return self._pipeline

    def _enter_context(
        self, stack: ExitStack, settings: Settings, event: object, lambda_context: LambdaContext
    ) -> None:
        """Bind the request, continue the trace of this invocation, and link it to a request that was handed over."""
        try:
            stack.enter_context(context(self._vocabulary, request_id=getattr(lambda_context, "aws_request_id", None)))
            from telemetry.engine.propagation import continued, linked  # noqa: PLC0415  imports OpenTelemetry

            stack.enter_context(continued(_headers(event), settings.propagators))
            handed = event.get(REQUEST_HEADER) if isinstance(event, dict) else None
            if isinstance(handed, str):
                stack.enter_context(linked({TRACE_HEADER: handed}))
        except Exception as error:  # noqa: BLE001  a strange event must not stop the work
            HEALTH.fault("the trace could not be continued", error)

    def _begin(self, step: Step, lambda_context: LambdaContext) -> None:
        with self._lock:
            self._invocations += 1
            number = self._invocations
        step.add(cold_start=int(number == 1), invocations=number)
        forget_peak()
        try:
            step.add(
                function_version=getattr(lambda_context, "function_version", ""),
                log_stream=getattr(lambda_context, "log_stream_name", ""),
                invoked_arn=_arn(lambda_context),
            )
        except Exception as error:  # noqa: BLE001  a broken context must not stop the work
            HEALTH.fault("the context could not be read", error)


def _observed(row: Operation, event: object) -> Step:
    step = observe(row)
    if step.kind is Kind.SERVER and is_message(event):
        step.kind = Kind.CONSUMER
    return step


def is_message(event: object) -> bool:
    """Tell whether an event comes from a queue, a topic, a bus, a store or a clock, and nobody waits for the answer.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html
    """
    if not isinstance(event, dict):
        return False
    records = event.get("Records")
    return (isinstance(records, list) and bool(records)) or {"detail-type", "source", "detail"} <= event.keys()


def _headers(event: object) -> dict[str, str]:
    """Return the headers of an API request, with Lambda's own of this invocation before the caller's."""
    headers = event.get("headers") if isinstance(event, dict) else None
    found = {str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
    lambdas = trace_header()
    if lambdas:
        found = {name: value for name, value in found.items() if name.lower() != TRACE_HEADER.lower()}
        found[TRACE_HEADER] = lambdas
    return found


def _arn(lambda_context: object) -> str:
    return str(getattr(lambda_context, "invoked_function_arn", ""))


def _resource(lambda_context: object) -> Iterator[tuple[str, str]]:
    """Yield what only the context of an invocation says of the function.

    The resource is the version that runs, whichever alias of it was invoked.
    """
    try:
        parts = _arn(lambda_context).split(":")  # arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]
        version = getattr(lambda_context, "function_version", "")
    except Exception as error:  # noqa: BLE001  a broken context must not stop the work
        HEALTH.fault("the context could not be read", error)
        return
    if len(parts) >= _ARN_PARTS:
        yield conventions.CLOUD_ACCOUNT_ID, parts[4]
        qualified = [*parts[:_ARN_PARTS], str(version)] if len(parts) > _ARN_PARTS and version else parts
        yield conventions.CLOUD_RESOURCE_ID, ":".join(qualified)


def _finish(step: Step, lambda_context: LambdaContext | None) -> None:
    try:
        step.add(peak_memory_bytes=peak_memory_bytes())
        if lambda_context is not None:  # a call by hand has no clock
            step.add(time_left_ms=lambda_context.get_remaining_time_in_millis())
    except Exception as error:  # noqa: BLE001  a broken context must not hide how the work ended
        HEALTH.fault("the end of the invocation could not be measured", error)


_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def forget_peak() -> None:
    """Begin a new peak, where the system lets a process do that (Linux: proc_pid_clear_refs(5))."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return  # the peak is then that of the whole process: higher, never lower


def peak_memory_bytes() -> int:
    """Return the most resident memory since `forget_peak`, or of the whole process where that is not known."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
