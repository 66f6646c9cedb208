"""SIGTERM as an exception: everything on the stack unwinds, and what is removing something finishes first."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class TerminatedError(SystemExit):
    """The process was told to end. Not an Exception, so that no handler for failures of the work swallows it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)  # what a shell reports of a process that ended by the signal


@dataclass
class Termination:
    """Whether the process was told to end; other threads look at it between two pieces of work."""

    requested: bool = False


class _Shield:
    depth = 0
    """How many clean-ups the main thread is inside of."""
    told = False
    """Whether a signal waits for them to finish."""


_shield = _Shield()
unfinished: dict[int, Callable[[], object]] = {}
"""Clean-ups of contexts that were entered and not left; the signal can strike in the very moment before one begins."""


@contextmanager
def terminate_cleanly() -> Iterator[Termination]:
    """While the block runs, the first SIGTERM raises TerminatedError in the main thread; later ones do nothing.

    The handler that was there before is back afterwards. Outside the main thread, which alone may set handlers,
    nothing is changed and `requested` stays false.
    """
    termination = Termination()
    if threading.current_thread() is not threading.main_thread():
        yield termination
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        if termination.requested:
            return
        termination.requested = True
        if _shield.depth:
            _shield.told = True
        else:
            raise TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield termination
    finally:
        if termination.requested:
            for clean in list(unfinished.values()):
                clean()
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def shielded() -> Iterator[None]:
    """Hold back TerminatedError until the block is through: half a clean-up would leave the other half."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _shield.depth += 1
    try:
        yield
    finally:
        _shield.depth -= 1
        if _shield.told and not _shield.depth:
            _shield.told = False
            raise TerminatedError
