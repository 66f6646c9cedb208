"""Time limits for calls that may hang: whoever waits for one is let go when the time is up or the work is stopped.

A thread that waits for a socket, or for a name to be resolved, cannot be interrupted. So a call that may outlast the
time is made in a thread of its own, and is left to itself when it does: it ends with its socket, sends nothing more,
and nobody looks at what it brings.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from packager.errors import OperationAbortedError, OutOfTimeError
from telemetry import carrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

ABORT_RESERVE_S = 2.0
"""Work stops when no more than this is left of the caller's time: enough to abort an upload and to clean up."""

COMMIT_RESERVE_S = 1.0
"""What makes a component visible goes on until then: it may be done already, with only the answer still missing."""

STOPS_WITHIN_S = 3.0
"""What work that is told to stop may take in all: at most 5 s later the process has ended."""

LONGEST_CALL_S = 300.0
"""By then a call has ended by its own time-outs (25 s for S3, three times, and pauses): it needs no thread before."""

LOOKS_EVERY_S = 0.1
"""How often whoever waits looks at the time. The caller's clock need not go as ours does: a function can be frozen."""


class Stop:
    """Tells the work to stop, from any thread: from then on it has `STOPS_WITHIN_S` to abort uploads and clean up."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    def tell(self) -> None:
        if self._told_at is None:
            self._told_at = time.monotonic()

    @property
    def told(self) -> bool:
        return self._told_at is not None

    def left_s(self) -> float:
        """Seconds that are left to clean up, at most the reserve, so that work ends; infinity until it is told."""
        told_at = self._told_at
        if told_at is None:
            return math.inf
        return min(ABORT_RESERVE_S, STOPS_WITHIN_S - (time.monotonic() - told_at))


class UnderWay:
    """Counts calls that are being made, those that nobody waits for any more too: `with` it where each is made."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0

    def __enter__(self) -> None:
        with self._changed:
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._calls -= 1
            self._changed.notify_all()

    def ends(self, longest_s: float) -> bool:
        """Whether all calls have ended by then, which is waited for."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, longest_s)


_LEFT_S: ContextVar[Callable[[], float]] = ContextVar("packager_time_left", default=lambda: math.inf)
_STOPS: ContextVar[tuple[Stop, ...]] = ContextVar("packager_stops", default=())


@contextmanager
def time_limit(left_s: Callable[[], float]) -> Iterator[None]:
    """Give the calls inside, in threads that carry this context too, no longer than `left_s` says (seconds)."""
    token = _LEFT_S.set(left_s)
    try:
        yield
    finally:
        _LEFT_S.reset(token)


@contextmanager
def stopped_by(stop: Stop) -> Iterator[None]:
    """Let the calls inside, in threads that carry this context too, end as soon as `stop` is told."""
    token = _STOPS.set((*_STOPS.get(), stop))
    try:
        yield
    finally:
        _STOPS.reset(token)


def time_left_s() -> float:
    """Seconds until this context's time limit, or until a stopped work must have ended; infinity without either."""
    return min(_LEFT_S.get()(), *(stop.left_s() for stop in _STOPS.get()), math.inf)


def is_stopped() -> bool:
    """Whether the work of this context was told to stop."""
    return any(stop.told for stop in _STOPS.get())


def raise_if_late(reserve_s: float = ABORT_RESERVE_S) -> None:
    """OutOfTimeError when no more than `reserve_s` is left, OperationAbortedError when the work was told to stop."""
    if time_left_s() <= reserve_s:
        raise _late("the work ends here")


def call_with_deadline(
    call: Callable[[], T], reserve_s: float = ABORT_RESERVE_S, *, give_up: Callable[[], None] | None = None
) -> T:
    """What `call` returns or raises; OutOfTimeError as soon as no more than `reserve_s` is left of the time limit.

    `give_up` is asked again and again while the answer is waited for; what it raises ends the waiting.
    OperationAbortedError when the work was told to stop.
    """
    if give_up is None and time_left_s() > LONGEST_CALL_S:
        return call()
    answer: Future[T] = Future()
    if time_left_s() > reserve_s:
        threading.Thread(target=_answer, args=(answer, carrying(call)), name="call-in-time", daemon=True).start()
    while (left_s := time_left_s() - reserve_s) > 0 and not answer.done():
        wait((answer,), timeout=min(left_s, LOOKS_EVERY_S))
        if give_up is not None and not answer.done():
            give_up()
    if not answer.done():
        raise _late("no answer came")
    return answer.result()


def pause(seconds: float, stop: threading.Event, reserve_s: float = ABORT_RESERVE_S) -> None:
    """Wait so long, or until `stop` is set or no more than `reserve_s` is left of the time limit."""
    until = time.monotonic() + seconds
    while (left_s := min(until - time.monotonic(), time_left_s() - reserve_s)) > 0:
        if stop.wait(min(left_s, LOOKS_EVERY_S)):
            return


def send_nothing_late(client: Any) -> None:  # noqa: ANN401  any boto3 client; their types are made at run time
    """Keep a client from sending a request, or sending it again, after the time limit of the one who called it."""
    client.meta.events.register("before-send", _refuse_when_late, unique_id="packager-deadline")


def _answer(answer: Future[T], call: Callable[[], T]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001  raised where the answer is waited for
        answer.set_exception(error)


def _refuse_when_late(**_: object) -> None:
    if time_left_s() <= 0:
        raise _late("no request is sent")


def _late(what: str) -> OperationAbortedError:
    if is_stopped():
        return OperationAbortedError(
            f"The work was told to stop; {what}.",
            next_step="Run it again; what is finished is not done again.",
        )
    return OutOfTimeError(
        f"The time is nearly up; {what}.",
        next_step="Call again, or give one call more time.",
        time_left_s=round(time_left_s(), 3),
    )
