"""The lines of a step, its log line and its EMF line, written together and whole."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING

from telemetry.engine.health import HEALTH, say
from telemetry.engine.steps import Guard, Recorder, outermost

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from telemetry.engine.embedded import EmbeddedMetrics
    from telemetry.engine.logs import Logs
    from telemetry.engine.operation import Operation
    from telemetry.engine.steps import Step

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
        """Write lines, which hold no newline of their own, together. A failure is counted, never raised."""
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


KEPT_LINES, KEPT_CHARACTERS = 200, 64 * 1024


class _DebugLines:
    """The newest debug lines of a run, bounded in number and size; safe for threads."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._characters = 0
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            self._characters += len(line)
            while len(self._lines) > KEPT_LINES or self._characters > KEPT_CHARACTERS:
                self._characters -= len(self._lines.popleft())

    def take(self) -> list[str]:
        with self._lock:
            lines, self._lines = list(self._lines), deque()
            return lines


class Lines(Recorder):
    """Writes both lines of every step in one go, which costs half of two; each is guarded alone.

    With `console`, logs go to standard error for people, and only metrics are written. When the line of the row
    `health` cannot be written, what it counted is counted again. Debug lines below the level are kept by the outermost
    step, and written when it fails.
    """

    def __init__(
        self,
        writer: LineWriter,
        logs: Logs | None,
        metrics: EmbeddedMetrics | None,
        *,
        health: Operation,
        console: bool,
    ) -> None:
        self._writer = writer
        self._health = health
        self._console = console
        self._log = Guard(logs.render) if logs is not None else None
        self._metric = Guard(metrics.render) if metrics is not None else None
        self._event = Guard(logs.render_event) if logs is not None else None
        self._keep = Guard(logs.render_kept) if logs is not None and logs.level != "debug" else None
        self._me = id(self)

    def end(self, step: Step) -> None:
        log = self._log(step) if self._log is not None else None
        metric = self._metric(step) if self._metric is not None else None
        kept = step.states.get(self._me)
        if kept is not None and step.outcome != "success":
            self._put(*kept.take())
        if log is not None and self._console:
            say(log)
            log = None
        written = self._writer.write(*[line for line in (log, metric) if line is not None])
        if not written and step.row is self._health:
            HEALTH.give_back(step.fields)

    def event(self, level: str, name: str, keys: Mapping[str, object]) -> None:
        if level == "debug" and self._keep is not None:
            run = outermost()
            if run is not None and (line := self._keep(name, keys)) is not None:
                run.states.setdefault(self._me, _DebugLines()).add(line)
            return
        line = self._event(level, name, keys) if self._event is not None else None
        if line is not None:
            self._put(line)

    def _put(self, *lines: str) -> None:
        if self._console:
            for line in lines:
                say(line)
        else:
            self._writer.write(*lines)
