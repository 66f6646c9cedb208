"""Retries of a whole piece of work after faults that can pass, each attempt after a clean-up."""

from __future__ import annotations

import time
from random import SystemRandom
from typing import TYPE_CHECKING, TypeVar

from packager.deadline import time_left_s
from packager.errors import InsufficientStorageError, is_recoverable, printable
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

WAIT_INITIAL_S, WAIT_MAX_S, WAIT_JITTER_S = 0.5, 20.0, 0.5
"""The n-th pause is the first one times 2 to the power of n - 1, plus up to the jitter, and never above the longest."""

_MOST_DOUBLINGS = 10  # far beyond the longest pause, and small enough for a float after any number of attempts


def retrying(
    work: Callable[[], T],
    *,
    clean: Callable[[], object],
    attempts: int,
    pause: Callable[[float], object] = time.sleep,
    on: Callable[[Exception], bool] = is_recoverable,
) -> T:
    """What `work` returns, begun again after recoverable faults until `attempts` or the time limit are used up.

    `clean` is called after every failed attempt, the last one too, before anything else happens; when it fails, there
    is no further attempt. The pauses grow exponentially, with jitter; `pause` waits for so many seconds. Scratch that
    ran out is tried again only once: after the clean-up either there is room, or the figures of the error are the
    answer. What `work` raised last comes out unchanged, with notes on the attempts.
    """
    failures = _Failures(clean, attempts, on)
    while True:
        try:
            return work()
        except Exception as error:
            pause_s = failures.pause_after(error)
            if pause_s is None:
                raise
        pause(pause_s)


class _Failures:
    """The failed attempts of one call of `retrying`."""

    def __init__(self, clean: Callable[[], object], attempts: int, on: Callable[[Exception], bool]) -> None:
        self._clean = clean
        self._attempts = attempts
        self._on = on
        self._cleaned_for_space = False
        self._earlier: list[str] = []

    def pause_after(self, error: Exception) -> float | None:
        """Clean up after a failed attempt; the seconds to wait before the next one, None when there is none."""
        short_of_space = isinstance(error, InsufficientStorageError)
        if not self._on(error) or (short_of_space and self._cleaned_for_space):
            self._clean_up(error)
            return None
        number = len(self._earlier) + 1
        wait_s = min(WAIT_MAX_S, WAIT_INITIAL_S * 2.0 ** min(number - 1, _MOST_DOUBLINGS))
        cause = f"{type(error).__name__}: {printable(error)}"
        with observe(catalog.RETRY_TARGET, attempt=number, cause=cause) as step:
            cleaned = self._clean_up(error)
            why_not = self._why_not(number, wait_s) if cleaned else "what it left could not be removed"
            step.add(exhausted=int(bool(why_not)), wait_s=0.0 if why_not else wait_s)
        if why_not:
            for note in (f"Given up after attempt {number} of {self._attempts}: {why_not}.", *self._earlier):
                error.add_note(note)
            return None
        self._cleaned_for_space |= short_of_space
        self._earlier.append(f"Attempt {number} failed with {cause}")
        return min(WAIT_MAX_S, wait_s + SystemRandom().uniform(0, WAIT_JITTER_S))

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
        left_s = time_left_s()
        if left_s <= wait_s + WAIT_JITTER_S:
            return f"{left_s:.1f} s are left, and the pause takes up to {wait_s + WAIT_JITTER_S:.1f} s"
        return ""
