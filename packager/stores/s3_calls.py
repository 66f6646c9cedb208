"""Calls of S3: tried again while that can help, given up when S3 is silent or the work has to end."""

from __future__ import annotations

import math
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from packager.aws_errors import cause_of, code_of
from packager.deadline import ABORT_RESERVE_S, call_with_deadline, pause
from packager.deadline import time_left_s as time_left_s_of_context
from packager.errors import OperationAbortedError, PackagerError, StoreError, printable
from packager.stores.s3_errors import DAMAGED, can_be_sent_again, convert_s3_error
from packager.stores.s3_options import S3Options
from packager.stores.s3_patience import Patience, failed_with, heard, patience
from telemetry import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

ATTEMPTS = 12
"""How often any call is tried: at one failure in two, one call in 4,096 fails for good."""

_WHEN_DAMAGED = 3

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

SILENT = "Silent"
"""The code of what was given up because S3 answered nothing."""

CLEAN_UP_S = 3.0
"""What aborting an upload may take when S3 has been silent until then."""

_FOR_CLEAN_UP = 0.1
"""Share of the patience that is kept for it."""


_in_flight: Counter[int] = Counter()
_counting = threading.Lock()


def in_flight(client: S3Client) -> int:
    """How many calls wait for this client."""
    return _in_flight[id(client)]


@contextmanager
def _used(client: S3Client) -> Iterator[None]:
    with _counting:
        _in_flight[id(client)] += 1
    try:
        yield
    finally:
        with _counting:
            _in_flight.subtract((id(client),))
            if not _in_flight[id(client)]:
                del _in_flight[id(client)]


@dataclass(frozen=True, slots=True)
class Calls:
    """A client, and how it is used. `attempts` counts what the client itself tries again, too."""

    client: S3Client
    options: S3Options = field(default_factory=S3Options)
    attempts: int = ATTEMPTS

    def make(  # noqa: PLR0913  how one call is made, by name
        self,
        operation: str,
        uri: str,
        call: Callable[[], T],
        *,
        stop: threading.Event | None = None,
        counted_as: str = "retries",
        reserve_s: float = ABORT_RESERVE_S,
        cleans_up: bool = False,
        longest_s: float = math.inf,
        leave_at_stop: bool = False,
        unchanged: Callable[[BaseException], bool] = lambda _: False,
    ) -> T:
        """What `call` returns. A recoverable failure is tried again after a capped, jittered pause.

        Each further try is added to the step's field `counted_as`. Errors are the packager's, but for those that
        `unchanged` says are wanted as they are. OperationAbortedError when `stop` is set, OutOfTimeError as soon as no
        more than `reserve_s` is left of the time limit, StoreError with the code `Silent` when S3 was silent for
        too long; what cleans up gets `CLEAN_UP_S` then.
        """
        stop = stop or threading.Event()
        with patience() as ours, ours.waiting(), _used(self.client):
            limit_s = min(longest_s, self._limit_s(ours, cleans_up=cleans_up))

            def give_up() -> None:
                if leave_at_stop and stop.is_set():
                    raise OperationAbortedError("The transfer was told to stop.")
                if ours.silent_s() > limit_s:
                    self._give_up(operation, uri, ours)

            try:
                return self._tried(call, stop, counted_as, reserve_s, give_up)
            except PackagerError:
                raise
            except Exception as error:
                if unchanged(error):
                    raise
                raise convert_s3_error(error, operation, uri, self.options) from error

    def _tried(
        self,
        call: Callable[[], T],
        stop: threading.Event,
        counted_as: str,
        reserve_s: float,
        give_up: Callable[[], None],
    ) -> T:
        for attempt in range(1, self.attempts + 1):
            if stop.is_set():
                break
            give_up()
            try:
                answer = call_with_deadline(call, reserve_s, give_up=give_up)
            except Exception as error:
                if stop.is_set() or not self._can_help(error, attempt):
                    raise
                failed_with(f"{code_of(error)}: {cause_of(error)}")
            else:
                heard()
                return answer
            count(**{counted_as: 1})
            pause(pause_s(attempt), stop, reserve_s)
        raise OperationAbortedError("The transfer was told to stop.")

    def _can_help(self, error: Exception, attempt: int) -> bool:
        """Whether the call is to be tried again. What damages bytes twice is no accident."""
        if code_of(error) in DAMAGED:
            return attempt < min(_WHEN_DAMAGED, self.attempts)
        return attempt < self.attempts and can_be_sent_again(error)

    def _limit_s(self, patience: Patience, *, cleans_up: bool) -> float:
        if cleans_up:
            return max(float(self.options.give_up_s), patience.silent_s() + CLEAN_UP_S)
        return self.options.give_up_s * (1 - _FOR_CLEAN_UP)

    def _give_up(self, operation: str, uri: str, patience: Patience) -> NoReturn:
        where, silent_s = printable(uri, 1100), patience.silent_s()
        but = f" but {patience.last_failure()}" if patience.last_failure() else ""
        raise StoreError(
            f"S3 {operation} of {where} was given up: no answer for {silent_s:.0f} s{but}.",
            next_step="Check the endpoint, and what lies between (routes, security groups, proxies); "
            "S3_GIVE_UP_S says how long to wait.",
            operation=operation,
            uri=where,
            code=SILENT,
            silent_s=round(silent_s, 3),
            give_up_s=self.options.give_up_s,
        )


def required(answer: Mapping[str, Any], name: str, operation: str, uri: str) -> Any:  # noqa: ANN401  as S3 says
    """A field that every S3 server answers with; StoreError when this one does not."""
    value = answer.get(name)
    if value is None or value == "":
        raise malformed(f"it has no {name}", operation, uri)
    return value


def malformed(why: str, operation: str, uri: str) -> StoreError:
    """The error for an answer that S3 does not give."""
    where = printable(uri, 1100)
    return StoreError(
        f"The server's answer to {operation} of {where} is not S3's: {why}.",
        next_step="Check the endpoint: a proxy may have answered in the server's place, or the server speaks only half "
        "of S3 and cannot be used.",
        operation=operation,
        uri=where,
        code="MalformedAnswer",
    )


def count(**fields: int) -> None:
    """Add to the step that this happens in, if its row counts such things; looking something up has no such row."""
    step = current()
    if step is not None and step.row.fields >= fields.keys():
        step.add(**fields)


def pause_s(attempt: int) -> float:
    """Seconds to wait after failure number `attempt`: anything up to a bound that doubles each time and is capped.

    Never beyond the time limit.
    """
    longest = max(0.0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1), time_left_s_of_context()))
    return SystemRandom().uniform(0, longest)
