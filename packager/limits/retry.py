"""Doing a piece of work again after a fault that can pass, each time on clean ground."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from packager.errors import ArtifactChangedError, InsufficientStorageError, StoreError, printable
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import stamina
    from stamina.instrumentation import RetryDetails, RetryHook

T = TypeVar("T")

WAIT_INITIAL_S, WAIT_MAX_S, WAIT_JITTER_S = 0.5, 20.0, 0.5
"""The n-th pause is the first one times 2 to the power of n - 1, plus up to the jitter, and never above the longest."""

RECOVERABLE_CODES = frozenset(
    (
        # S3 is busy or failed for a moment: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
        *("429", "500", "502", "503", "504", "InternalError", "RequestTimeout", "RequestTimeoutException"),
        *("ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException"),
        # an upload that somebody removed, or whose bytes changed on their way, begins anew
        *("NoSuchUpload", "BadDigest"),
        # the connection broke: the types of botocore, urllib3 and the standard library
        *("ConnectTimeoutError", "ConnectionClosedError", "EndpointConnectionError", "IncompleteReadError"),
        *("ReadTimeoutError", "ResponseStreamingError", "ProtocolError", "SSLError", "TimeoutError"),
        *("BrokenTransferError", "ConnectionError", "ConnectionResetError", "ConnectionAbortedError"),
        *("BrokenPipeError", "ConnectionRefusedError"),
        # a file system, often one on a network, that could not answer this time
        *("EAGAIN", "EINTR", "ETIMEDOUT", "ESTALE", "ECONNRESET"),
    )
)
"""Codes of StoreError after which the same work can succeed; besides them, only scratch that ran out is recoverable."""


def is_recoverable(error: BaseException) -> bool:
    """Whether the same work can succeed a moment later.

    Not an artifact that was replaced meanwhile: the component's key was made from the old one. Not a damaged archive:
    reading it again takes the same time and ends the same way. Scratch that ran out is, though `retrying` tries it only
    once more: after the clean-up either there is room, or the figures of the error are the answer.
    """
    if isinstance(error, InsufficientStorageError):
        return True
    return (
        isinstance(error, StoreError)
        and not isinstance(error, ArtifactChangedError)
        and error.figures.get("code") in RECOVERABLE_CODES
    )


def retrying(
    work: Callable[[], T],
    *,
    clean: Callable[[], object],
    attempts: int,
    time_left_s: Callable[[], float] | None = None,
    on: Callable[[BaseException], bool] = is_recoverable,
) -> T:
    """What `work` returns, begun again after recoverable faults until `attempts` or the time are used up.

    `clean` is called after every failed attempt, the last one too, before anything else happens; when it fails, there
    is no further attempt. The pauses grow exponentially, with jitter. What `work` raised last comes out unchanged, with
    notes on the attempts.
    """
    first_failure: list[Exception] = []
    try:
        return work()
    except Exception as error:  # noqa: BLE001  it is the outcome of the first of the attempts below
        first_failure.append(error)
    import stamina  # noqa: PLC0415  takes 50 ms, and nearly all work succeeds at once

    _silence_hooks()
    run = _Run(clean, attempts, time_left_s, on)
    for attempt in stamina.retry_context(
        on=run.goes_on,
        attempts=attempts,
        timeout=None,
        wait_initial=WAIT_INITIAL_S,
        wait_max=WAIT_MAX_S,
        wait_jitter=WAIT_JITTER_S,
    ):
        _OURS.set(False)
        run.attempt = attempt
        with attempt:
            if first_failure:
                raise first_failure.pop()
            return work()
    raise AssertionError("an attempt returns or raises")


class _Run:
    """One call of `retrying`: what happened so far, and whether it goes on."""

    def __init__(
        self,
        clean: Callable[[], object],
        attempts: int,
        time_left_s: Callable[[], float] | None,
        on: Callable[[BaseException], bool],
    ) -> None:
        self.attempt: stamina.Attempt
        self._clean = clean
        self._attempts = attempts
        self._time_left_s = time_left_s
        self._on = on
        self._cleaned_for_space = False
        self._earlier: list[str] = []

    def goes_on(self, error: BaseException) -> bool:
        """Clean up after a failed attempt, and decide whether there is another one."""
        if not isinstance(error, Exception):
            return False  # told to end: what is on the stack cleans up
        if not self._on(error) or (isinstance(error, InsufficientStorageError) and self._cleaned_for_space):
            self._clean_up(error)
            return False
        number = self.attempt.num
        wait_s = self.attempt.next_wait
        cause = f"{type(error).__name__}: {printable(error)}"
        with observe(catalog.RETRY_TARGET, attempt=number, cause=cause) as step:
            cleaned = self._clean_up(error)
            why_not = self._why_not(number, wait_s) if cleaned else "what it left could not be removed"
            step.add(exhausted=int(bool(why_not)), wait_s=0.0 if why_not else wait_s)
        self._cleaned_for_space |= isinstance(error, InsufficientStorageError)
        if why_not:
            error.add_note(f"Given up after attempt {number} of {self._attempts}: {why_not}.")
            for earlier in self._earlier:
                error.add_note(earlier)
            return False
        self._earlier.append(f"Attempt {number} failed with {cause}")
        _OURS.set(True)
        return True

    def _clean_up(self, error: Exception) -> bool:
        try:
            self._clean()
        except Exception as failure:  # noqa: BLE001  the error of the work is the one to tell
            error.add_note(f"Cleaning up after it failed with {type(failure).__name__}: {printable(failure, 1000)}")
            return False
        return True

    def _why_not(self, number: int, wait_s: float) -> str:
        if number >= self._attempts:
            return "no attempt is left"
        left_s = self._time_left_s() if self._time_left_s else None
        if left_s is not None and left_s <= wait_s + WAIT_JITTER_S:
            return f"{left_s:.1f} s are left, and the pause takes up to {wait_s + WAIT_JITTER_S:.1f} s"
        return ""


_OURS: ContextVar[bool] = ContextVar("packager_retrying", default=False)
"""Whether the retry that stamina tells its hooks about is ours."""


@cache
def _silence_hooks() -> None:
    """Keep stamina's hooks, which are the whole process's, from telling of our retries a second time."""
    from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks  # noqa: PLC0415  see above

    set_on_retry_hooks([_but_for_ours(hook) for hook in get_on_retry_hooks()])


def _but_for_ours(hook: RetryHook) -> RetryHook:
    def told(details: RetryDetails) -> AbstractContextManager[None] | None:
        return None if _OURS.get() else hook(details)

    return told
