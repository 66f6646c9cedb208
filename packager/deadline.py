"""A time limit for calls of AWS that may hang: whoever waits for one is let go when the time is up.

A thread that waits for a socket, or for a name to be resolved, cannot be interrupted. So a call that may outlast the
time is made in a thread of its own, and is left to itself when it does: it ends with its socket, sends nothing more,
and nobody looks at what it brings.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from packager.errors import OutOfTimeError
from telemetry import carrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

ABORT_RESERVE_S = 2.0
"""Work stops when no more than this is left of the caller's time: enough to abort an upload and to clean up."""

COMMIT_RESERVE_S = 1.0
"""What makes a component visible goes on until then: it may be done already, with only the answer still missing."""

LONGEST_CALL_S = 300.0
"""By then a call has ended by its own time-outs (25 s for S3, three times, and pauses): it needs no thread before."""

_LOOKS_EVERY_S = 0.1
"""The caller's clock need not go as ours does: a function can be frozen while it waits."""

_LEFT_S: ContextVar[Callable[[], float]] = ContextVar("packager_time_left", default=lambda: math.inf)


@contextmanager
def time_limit(left_s: Callable[[], float]) -> Iterator[None]:
    """Give the calls inside, in threads that carry this context too, no longer than `left_s` says (seconds)."""
    token = _LEFT_S.set(left_s)
    try:
        yield
    finally:
        _LEFT_S.reset(token)


def time_left_s() -> float:
    """Seconds until the time limit of this context; infinity without one."""
    return _LEFT_S.get()()


def call_with_deadline(call: Callable[[], T], reserve_s: float = ABORT_RESERVE_S) -> T:
    """What `call` returns or raises; OutOfTimeError as soon as no more than `reserve_s` is left of the time limit."""
    if time_left_s() > LONGEST_CALL_S:
        return call()
    answer: Future[T] = Future()
    if time_left_s() > reserve_s:
        threading.Thread(target=_answer, args=(answer, carrying(call)), name="call-in-time", daemon=True).start()
    while (left_s := time_left_s() - reserve_s) > 0 and not answer.done():
        wait((answer,), timeout=min(left_s, _LOOKS_EVERY_S))
    if not answer.done():
        raise _late("no answer came")
    return answer.result()


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


def _late(what: str) -> OutOfTimeError:
    return OutOfTimeError(
        f"The time is nearly up; {what}.",
        next_step="Call again, or give one call more time.",
        time_left_s=round(time_left_s(), 3),
    )
