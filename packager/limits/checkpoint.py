"""The checkpoint of a run, passed after every block: memory is relieved, progress reported, and work ended in time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from packager.deadline import ABORT_RESERVE_S, Stop, is_stopped, pause, stopped_by, time_left_s
from packager.errors import OperationAbortedError, OutOfTimeError
from telemetry import log

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from packager.limits.memory import MemoryMonitor
    from packager.results import OnProgress, ProcessingState


class Checkpoint:
    """Called by every thread of a run after each block. `on_progress` is the caller's, if any."""

    def __init__(self, memory: MemoryMonitor, on_progress: OnProgress | None) -> None:
        self._memory = memory
        self._on_progress = on_progress
        self._report_lock = threading.Lock()
        self._stop = Stop()

    def stop(self) -> None:
        """Make the next report of each thread end its work, and have whatever is asked of S3 given up."""
        self._stop.tell()

    def watched(self) -> AbstractContextManager[None]:
        """A block whose work, in threads that carry its context too, ends after `stop`."""
        return stopped_by(self._stop)

    def pause(self, seconds: float) -> None:
        """Wait until the time is over, or `stop` is called, or the time limit is near."""
        pause(seconds, threading.Event())

    def report(self, state: ProcessingState) -> None:
        """Relieve memory and report progress. OperationAbortedError or OutOfTimeError when the work has to end."""
        self._memory.relieve_if_needed()
        if is_stopped():
            raise OperationAbortedError(
                "The work was stopped; nothing of this target was published.", next_step="Package it again."
            )
        left_s = time_left_s()
        if left_s <= ABORT_RESERVE_S:
            raise OutOfTimeError(
                f"No more than {ABORT_RESERVE_S:.0f} s are left; nothing of this target was published.",
                next_step="Call again with this result as `previous`, or give one call more time.",
                time_left_s=round(left_s, 3),
            )
        self._call_back(state)

    def report_done(self, state: ProcessingState) -> None:
        """Report a component that is visible. It is too late to stop: what the caller raises is logged."""
        try:
            self._call_back(state)
        except Exception as error:  # noqa: BLE001  the component is there, so that this is no failure
            log("warning", "on_progress failed", target=state.target, error_type=type(error).__name__)

    def _call_back(self, state: ProcessingState) -> None:
        if self._on_progress:
            with self._report_lock:
                self._on_progress(state)
