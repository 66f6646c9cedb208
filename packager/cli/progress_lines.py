"""Progress as lines of text, for logs: one every ten seconds, and one for each new phase where that was asked for."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import click

from packager.errors import in_units, printable

if TYPE_CHECKING:
    from packager.results import ProcessingState

EVERY_S = 10.0
_LONGEST_NAME = 60


class ProgressLines:
    """A line on standard error for each ten seconds, also while nothing comes. Pass it as `on_progress`.

    With `phases` there is also one as soon as a target comes to a new phase.
    """

    def __init__(self, *, phases: bool = False, every_s: float = EVERY_S) -> None:
        self._phases = phases
        self._every_s = every_s
        self._state: ProcessingState | None = None
        self._seen: set[tuple[str, str]] = set()
        self._last_s = time.monotonic()
        self._ended = Event()
        self._thread = Thread(target=self._repeat, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, state: ProcessingState) -> None:
        self._state = state
        if self._phases and (state.target, state.phase) not in self._seen:
            self._seen.add((state.target, state.phase))
            self._say(_line(state))

    def _repeat(self) -> None:
        while not self._ended.wait(max(0.0, self._last_s + self._every_s - time.monotonic())):
            if time.monotonic() - self._last_s >= self._every_s:
                self._say(_line(self._state) if self._state else "nothing has come yet")

    def _say(self, line: str) -> None:
        self._last_s = time.monotonic()
        with suppress(OSError):  # a log that is full or closed must not end the work
            click.echo(line, err=True)


def _line(state: ProcessingState) -> str:
    target = f"{printable(state.target, _LONGEST_NAME)}: " if state.target else ""
    phase = state.phase.replace("_", " ")
    if state.phase == "done" or not (state.bytes_total or state.bytes_done):
        return f"{target}{phase}"
    if not state.bytes_total:  # what is piped in has no end that is known
        return f"{target}{phase} {in_units(state.bytes_done)}"
    share = 100 * state.bytes_done // state.bytes_total
    return f"{target}{phase} {in_units(state.bytes_done)} of {in_units(state.bytes_total)} ({share} %)"
