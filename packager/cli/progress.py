"""The live progress bars that people see on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from types import TracebackType

    from packager.results import ProcessingState


class ProgressBars:
    """One bar a target on standard error, with bytes, speed and time left.

    Pass it as `on_progress`.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, state: ProcessingState) -> None:
        name = state.target or state.phase.replace("_", " ")
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=state.bytes_total)
        self._progress.update(self._tasks[name], completed=state.bytes_done)
