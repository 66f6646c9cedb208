"""What only Lambda has: invocations, a trace header for each, freezing between them, and a clock that kills.

def handler(event, context):
    with invocation(event, context) as here:
        ...
        here.add(status_5xx=1)
"""

from __future__ import annotations

import atexit
import logging
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from telemetry.catalog.function import INVOKE_FUNCTION
from telemetry.engine.configure import library_logs, to_stdout
from telemetry.engine.health import HEALTH
from telemetry.engine.memory import forget_peak, peak_memory_bytes
from telemetry.engine.observing import context, observe
from telemetry.engine.settings import Settings, trace_header
from telemetry.engine.steps import Step, close_open_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from telemetry.engine.configure import Pipeline

REQUEST_HEADER = "trace_header"
"""The key of an event under which another invocation hands over the header of its request."""


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    aws_request_id: str
    function_version: str
    log_stream_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left before the function is killed."""


class _Environment:
    """What lasts from one invocation to the next: the pipeline, made once, and the count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._pipeline: Pipeline | None = None
        self.invocations = 0
        self.measure: Callable[[], None] = lambda: None
        """Adds to the present invocation what is only known at its end."""

    def pipeline(self, settings: Settings | None) -> Pipeline:
        with self._lock:
            if self._pipeline is None:
                settings = settings or Settings.from_environ()
                self._pipeline = self._stack.enter_context(to_stdout(settings))
                atexit.register(self.close)  # later, when the interpreter is taken apart, no thread can be started
                if settings.in_lambda:
                    # The runtime's own handler writes to standard output through another buffer, without our lock.
                    logging.getLogger().handlers[:] = [library_logs(settings)]
            return self._pipeline

    def close(self) -> None:
        """Stop recording; the next invocation is a cold start again."""
        atexit.unregister(self.close)
        with self._lock:
            self._stack.close()
            self._pipeline, self.invocations = None, 0

    def count(self) -> int:
        with self._lock:
            self.invocations += 1
            return self.invocations


_environment = _Environment()


@contextmanager
def invocation(
    event: Mapping[str, Any] | object, lambda_context: LambdaContext, settings: Settings | None = None
) -> Iterator[Step]:
    """Observe one invocation as a row of its own, in the trace that Lambda began for it.

    The step inside takes what the handler knows (`trigger`, `status_4xx`, `status_5xx`, ...); cold start, count, time
    left, peak memory, retries and throttles come by themselves. At the end the health line is written and waiting spans
    are flushed, in 300 ms at most. Exceptions pass through unchanged.
    """
    pipeline = _environment.pipeline(settings)
    try:
        with ExitStack() as stack:
            _enter_context(stack, event, lambda_context)
            with observe(INVOKE_FUNCTION) as step:
                _begin(step, lambda_context)
                _environment.measure = partial(_finish, step, lambda_context)
                try:
                    yield step
                finally:
                    _environment.measure()
    finally:
        pipeline.close()


def last_words() -> int:
    """End all open steps as incomplete, write their lines, flush, and return how many there were.

    For the guard that runs shortly before the clock kills the function; takes at most the flush limit.
    """
    _environment.measure()
    closed = close_open_spans()
    _environment.pipeline(None).close()
    return closed


def _enter_context(stack: ExitStack, event: object, lambda_context: LambdaContext) -> None:
    """Bind the request, continue the trace of this invocation, and link its targets to a request handed over."""
    try:
        stack.enter_context(context(request_id=getattr(lambda_context, "aws_request_id", None)))
        from telemetry.engine.spans import continued, linked  # noqa: PLC0415  imports OpenTelemetry

        stack.enter_context(continued(trace_header() or _header(event)))
        handed = event.get(REQUEST_HEADER) if isinstance(event, dict) else None
        if isinstance(handed, str):
            stack.enter_context(linked(handed))
    except Exception as error:  # noqa: BLE001  a strange event must not stop the work
        HEALTH.fault("the trace could not be continued", error)


def _header(event: object) -> str:
    """Return the trace header of an API request, for callers without Lambda's own tracing."""
    headers = event.get("headers") if isinstance(event, dict) else None
    if not isinstance(headers, dict):
        return ""
    return next((str(value) for key, value in headers.items() if str(key).lower() == "x-amzn-trace-id"), "")


def _begin(step: Step, lambda_context: LambdaContext) -> None:
    number = _environment.count()
    step.add(cold_start=int(number == 1), invocations=number)
    forget_peak()
    try:
        step.add(
            function_version=getattr(lambda_context, "function_version", ""),
            log_stream=getattr(lambda_context, "log_stream_name", ""),
        )
    except Exception as error:  # noqa: BLE001  a broken context must not stop the work
        HEALTH.fault("the context could not be read", error)


def _finish(step: Step, lambda_context: LambdaContext | None) -> None:
    try:
        step.add(peak_memory_bytes=peak_memory_bytes())
        if lambda_context is not None:  # a call by hand has no clock
            step.add(time_left_ms=lambda_context.get_remaining_time_in_millis())
    except Exception as error:  # noqa: BLE001  a broken context must not hide how the work ended
        HEALTH.fault("the end of the invocation could not be measured", error)
