"""Progress as lines of text, for logs: one every ten seconds, and one for each new phase where that was asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from packager.errors import in_units, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from packager.results import ProcessingState

EVERY_S = 10.0
_LONGEST_NAME = 60


class ProgressLines:
    """A line on standard error for each ten seconds of the work. Pass it as `on_progress`.

    With `phases` there is also one as soon as a target comes to a new phase.
    """

    def __init__(self, *, phases: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._phases = phases
        self._clock = clock
        self._last_s = clock()
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, state: ProcessingState) -> None:
        now_s = self._clock()
        is_new = self._phases and (state.target, state.phase) not in self._seen
        if not is_new and now_s - self._last_s < EVERY_S:
            return
        self._last_s = now_s
        self._seen.add((state.target, state.phase))
        click.echo(_line(state), err=True)


def _line(state: ProcessingState) -> str:
    target = f"{printable(state.target, _LONGEST_NAME)}: " if state.target else ""
    phase = state.phase.replace("_", " ")
    if state.phase == "done" or not (state.bytes_total or state.bytes_done):
        return f"{target}{phase}"
    if not state.bytes_total:  # what is piped in has no end that is known
        return f"{target}{phase} {in_units(state.bytes_done)}"
    share = 100 * state.bytes_done // state.bytes_total
    return f"{target}{phase} {in_units(state.bytes_done)} of {in_units(state.bytes_total)} ({share} %)"
