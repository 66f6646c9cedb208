"""The one way out: whole lines, one at a time, whoever writes."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

from telemetry.engine.health import HEALTH

if TYPE_CHECKING:
    from pathlib import Path

STUCK_S = 1.0
"""How long a full non-blocking pipe is waited for before its line is given up."""


class LineWriter:
    """Writes lines to a file descriptor under one lock.

    `print` and buffered streams hand the system pieces of 8 KiB, and pieces of two threads end up in one line; a lock
    and `os.write` until all is gone do not. Nothing is buffered, so what was written survives the process.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()
        self._torn = False

    @classmethod
    def to_file(cls, path: Path) -> LineWriter:
        """Return a writer that appends to a file; `close` it."""
        return cls(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))

    def write(self, *lines: str) -> bool:
        """Write lines, which hold no newline of their own, together. A failure is told and counted, never raised."""
        if not lines:
            return True
        data = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            if self._torn:
                data = b"\n" + data  # what is left of a broken line must not swallow this one
            try:
                self._write(data)
            except OSError as error:
                HEALTH.count("lines_lost", len(lines))
                HEALTH.fault("a line could not be written", error)
                return False
            self._torn = False
            HEALTH.count("lines_written", len(lines))
            return True

    def _write(self, data: bytes) -> None:
        # Most lines go in one call; the rest copes with a full pipe, which takes a part or nothing.
        written = 0
        while written < len(data):
            try:
                written += os.write(self.descriptor, data[written:] if written else data)
            except BlockingIOError:
                if not select.select([], [self.descriptor], [], STUCK_S)[1]:
                    raise
            self._torn = written > 0

    def close(self) -> None:
        """Close the descriptor. A line that comes later is lost and counted: its number may belong to another file."""
        with self._lock:
            os.close(self.descriptor)
            self.descriptor = -1
