"""Ctrl-C, SIGTERM and SIGHUP: the first tells the work to stop, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

ENDS_WITHIN_S = 3.8
"""What the work has to abort its uploads and clean up; whatever still hangs then (a disk, a library) is left behind."""

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = "\x1b[?25h"


def end_at_once_on_signals() -> None:
    """Let a signal end the process with the status that shells give it, where nothing has to be cleaned up."""
    _handle(lambda number, _: _end(number))


@contextmanager
def stop_on_signals(last_words: Callable[[], None]) -> Iterator[None]:
    """Within the block, let the first signal stop the work and end the process when the block is through.

    A second signal ends it at once. When the work does not stop in `ENDS_WITHIN_S`, `last_words` are said and it is
    ended all the same. Uploads that are left open are named on standard error.
    """
    from packager.deadline import Stop, stopped_by  # noqa: PLC0415  kept off the path of --help

    stop = Stop()
    told: list[int] = []

    def tell(number: int, _frame: FrameType | None) -> None:
        if told:
            _end(number)
        told.append(number)
        stop.tell()
        threading.Thread(target=_end_later, args=(number, last_words), name="end-in-time", daemon=True).start()

    _handle(tell)
    try:
        with stopped_by(stop):
            yield
    finally:
        if told:
            _end(told[0])
        end_at_once_on_signals()


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell that runs this in the background
            signal.signal(number, handler)


def _end_later(number: int, last_words: Callable[[], None]) -> None:
    time.sleep(ENDS_WITHIN_S)
    with suppress(Exception):
        last_words()
    _end(number)


def _end(number: int) -> None:
    """End without waiting for threads, which may wait for S3: what they had to do is done, or said to be left."""
    multipart = sys.modules.get("packager.stores.s3_multipart")
    for name in multipart.left_open() if multipart else ():
        with suppress(OSError, ValueError, RuntimeError):
            sys.stderr.write(f"Not removed: {name}; a run after ABANDONED_UPLOAD_AGE or a lifecycle rule removes it.\n")
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is gone takes nothing; RuntimeError: the signal came in the middle of a write.
        with suppress(OSError, ValueError, RuntimeError):
            if stream is sys.stderr and stream.isatty():
                stream.write(_SHOW_CURSOR)
            stream.flush()
    os._exit(128 + number)
