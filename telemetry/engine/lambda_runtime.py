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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from telemetry.engine.configure import library_logs, to_stdout
from telemetry.engine.health import HEALTH
from telemetry.engine.observing import context, observe
from telemetry.engine.settings import Settings, trace_header
from telemetry.engine.steps import Step, close_open_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from telemetry.engine.configure import Pipeline
    from telemetry.engine.operation import Operation
    from telemetry.engine.vocabulary import Vocabulary

REQUEST_HEADER = "trace_header"
"""The key of an event under which another invocation hands over the header of its request."""


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    aws_request_id: str
    function_version: str
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
        self._measure: Callable[[], None] = lambda: None
        """Adds to the present invocation what is only known at its end."""

    @contextmanager
    def invocation(
        self, event: Mapping[str, Any] | object, lambda_context: LambdaContext, settings: Settings | None = None
    ) -> Iterator[Step]:
        """Observe one invocation as a row of its own, in the trace that Lambda began for it.

        The step inside takes what the handler knows, by the row's fields; cold start, count, time left, peak memory
        and version come by themselves. At the end the health line is written and waiting spans are flushed, in 300 ms
        at most. Exceptions pass through unchanged.
        """
        pipeline = self._recording(settings)
        try:
            with ExitStack() as stack:
                self._enter_context(stack, event, lambda_context)
                with observe(self._row) as step:
                    self._begin(step, lambda_context)
                    self._measure = partial(_finish, step, lambda_context)
                    try:
                        yield step
                    finally:
                        self._measure()
        finally:
            pipeline.close()

    def last_words(self) -> int:
        """End all open steps as incomplete, write their lines, flush, and return how many there were.

        For the guard that runs shortly before the clock kills the function; takes at most the flush limit.
        """
        self._measure()
        closed = close_open_spans()
        self._recording(None).close()
        return closed

    def close(self) -> None:
        """Stop recording; the next invocation is a cold start again."""
        atexit.unregister(self.close)
        with self._lock:
            self._stack.close()
            self._pipeline, self._invocations = None, 0

    def _recording(self, settings: Settings | None) -> Pipeline:
        with self._lock:
            if self._pipeline is None:
                settings = settings or Settings.from_environ()
                self._pipeline = self._stack.enter_context(to_stdout(self._vocabulary, settings))
                atexit.register(self.close)  # later, when the interpreter is taken apart, no thread can be started
                if settings.in_lambda:
                    # The runtime's own handler writes to standard output through another buffer, without our lock.
                    logging.getLogger().handlers[:] = [library_logs(settings)]
            return self._pipeline

    def _enter_context(self, stack: ExitStack, event: object, lambda_context: LambdaContext) -> None:
        """Bind the request, continue the trace of this invocation, and link it to a request that was handed over."""
        try:
            stack.enter_context(context(self._vocabulary, request_id=getattr(lambda_context, "aws_request_id", None)))
            from telemetry.engine.spans import continued, linked  # noqa: PLC0415  imports OpenTelemetry

            stack.enter_context(continued(trace_header() or _header(event)))
            handed = event.get(REQUEST_HEADER) if isinstance(event, dict) else None
            if isinstance(handed, str):
                stack.enter_context(linked(handed))
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
            )
        except Exception as error:  # noqa: BLE001  a broken context must not stop the work
            HEALTH.fault("the context could not be read", error)


def _header(event: object) -> str:
    """Return the trace header of an API request, for callers without Lambda's own tracing."""
    headers = event.get("headers") if isinstance(event, dict) else None
    if not isinstance(headers, dict):
        return ""
    return next((str(value) for key, value in headers.items() if str(key).lower() == "x-amzn-trace-id"), "")


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
