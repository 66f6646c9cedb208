"""The checkpoint of a run: after every block of work, whether it goes on, and the caller's report of its progress."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from packager.deadline import ABORT_RESERVE_S, time_left_s
from packager.errors import OperationAbortedError, OutOfTimeError
from telemetry import log

if TYPE_CHECKING:
    from packager.limits.memory import MemoryMonitor
    from packager.results import OnProgress, ProcessingState


class Checkpoint:
    """What every thread of the work calls after each block: it relieves memory, ends the work or tells the caller.

    `on_progress` is the caller's, or None.
    """

    def __init__(self, memory: MemoryMonitor, on_progress: OnProgress | None) -> None:
        self._memory = memory
        self._on_progress = on_progress
        self._one_at_a_time = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have the next report in every thread end the work there."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until `stop`."""
        self._stopped.wait(seconds)

    def report(self, state: ProcessingState) -> None:
        """Tell the caller how far the work is. OperationAbortedError or OutOfTimeError when it has to stop."""
        self._memory.relieve_if_needed()
        if self._stopped.is_set():
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
        self._tell(state)

    def report_done(self, state: ProcessingState) -> None:
        """Tell the caller that a component is there. It is too late to stop: what this raises is logged."""
        try:
            self._tell(state)
        except Exception as error:  # noqa: BLE001  the component is visible, and must not be called a failure
            log("warning", "on_progress failed", target=state.target, error_type=type(error).__name__)

    def _tell(self, state: ProcessingState) -> None:
        if self._on_progress:
            with self._one_at_a_time:
                self._on_progress(state)
