"""How long S3 may be silent: one patience for all calls of a target."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Clock:
    """Counts the time since S3's last good answer, as far as anybody waited for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited_s = 0.0
        self._waiting = 0
        self._since = 0.0
        self.failure = ""

    def begin(self) -> None:
        with self._lock:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting += 1

    def end(self) -> None:
        with self._lock:
            self._waiting -= 1
            if not self._waiting:
                self._waited_s += time.monotonic() - self._since

    def reset(self) -> None:
        with self._lock:
            self._waited_s, self._since = 0.0, time.monotonic()
            self.failure = ""

    def read_s(self) -> float:
        with self._lock:
            return self._waited_s + (time.monotonic() - self._since if self._waiting else 0.0)


class Patience:
    """How long S3 has been silent.

    One is shared by all calls of a target, and counts with that of the whole run: so the next target does not wait as
    long again, and one that gets no answer is not kept waiting by those that do.
    """

    def __init__(self, outer: Patience | None = None) -> None:
        self._clocks: tuple[_Clock, ...] = (_Clock(), *(outer.clocks if outer else ()))

    @property
    def clocks(self) -> tuple[_Clock, ...]:
        return self._clocks

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waited for S3."""
        for clock in self._clocks:
            clock.begin()
        try:
            yield
        finally:
            for clock in self._clocks:
                clock.end()

    def heard(self) -> None:
        """S3 has answered, or sent some bytes."""
        for clock in self._clocks:
            clock.reset()

    def failed(self, what: str) -> None:
        """S3 has answered with an error, or the connection broke: that ends no silence."""
        for clock in self._clocks:
            clock.failure = what

    def last_failure(self) -> str:
        """What came last since S3's last good answer; empty when that was nothing."""
        return max(self._clocks, key=_Clock.read_s).failure

    def silent_s(self) -> float:
        return max(clock.read_s() for clock in self._clocks)


_patience: ContextVar[Patience | None] = ContextVar("packager_patience", default=None)


@contextmanager
def shared_patience() -> Iterator[None]:
    """Let all calls of the block, in threads that carry this context too, share one patience."""
    token = _patience.set(Patience(_patience.get()))
    try:
        yield
    finally:
        _patience.reset(token)


@contextmanager
def patience() -> Iterator[Patience]:
    """The patience of this context, or one for the block alone."""
    known = _patience.get() or Patience()
    token = _patience.set(known)
    try:
        yield known
    finally:
        _patience.reset(token)


def heard() -> None:
    """Tell the patience of this context that S3 has sent something."""
    patience = _patience.get()
    if patience is not None:
        patience.heard()


def failed_with(what: str) -> None:
    """Tell the patience of this context that S3 has sent an error in place of an answer, or broken the connection."""
    patience = _patience.get()
    if patience is not None:
        patience.failed(what)
