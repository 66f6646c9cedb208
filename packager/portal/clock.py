"""Lambda's clock: the time that an invocation has left, and telemetry of work that it cuts off."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from telemetry import log
from telemetry.aws_lambda import last_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry.aws_lambda import LambdaContext

TELEMETRY_RESERVE_S = 1.0
"""Time before the function's end at which the telemetry of whatever still runs is written."""


def left_s(lambda_context: object) -> float:
    """Seconds until Lambda ends the function; infinity when it is called by hand."""
    clock = getattr(lambda_context, "get_remaining_time_in_millis", None)
    left_ms = clock() if callable(clock) else None
    return left_ms / 1000 if isinstance(left_ms, int | float) else math.inf


class ApiClock:
    """Lambda's context of a request whose caller waits no longer than `seconds` from here on."""

    def __init__(self, lambda_context: LambdaContext, seconds: float) -> None:
        self._lambda_context = lambda_context
        self._latest_s = time.monotonic() + seconds
        self.aws_request_id = str(getattr(lambda_context, "aws_request_id", "") or "")

    def get_remaining_time_in_millis(self) -> float:
        here_s = self._latest_s - time.monotonic()
        return 1000 * max(0.0, min(here_s, left_s(self._lambda_context)))


@contextmanager
def telemetry_before_timeout(lambda_context: LambdaContext) -> Iterator[None]:
    """Write the telemetry of work that does not stop in time, before Lambda kills the process.

    Calls of AWS have time limits; a disk that hangs, or a computation, has none.
    """
    given_s = left_s(lambda_context)
    reserve_s = min(TELEMETRY_RESERVE_S, given_s / 2)
    ended = threading.Event()

    def watch() -> None:
        # Lambda's clock decides: ours also counts the time that the process is frozen. Should it stand still, ours
        # decides all the same, much later.
        latest_s = time.monotonic() + 2 * given_s
        while (wait_s := min(left_s(lambda_context) - reserve_s, latest_s - time.monotonic())) > 0:
            if ended.wait(min(wait_s, threading.TIMEOUT_MAX)):
                return
        _log_timeout(given_s, lambda_context)

    watcher = threading.Thread(target=watch, name="timeout-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _log_timeout(given_s: float, lambda_context: LambdaContext) -> None:
    log(
        "error",
        "time is up",
        time_given_s=round(given_s, 3),
        time_left_s=round(left_s(lambda_context), 3),
        next_step="Look at what ran longest; give the function more time or a larger TIME_RESERVE_S.",
    )
    last_words()
