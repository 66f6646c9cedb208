"""The live progress bars that people see on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

if TYPE_CHECKING:
    from types import TracebackType

    from packager.results import ProcessingState


_WIDE = 80
"""Columns of a terminal on which everything fits."""


class ProgressBars:
    """One bar a target on standard error, with bytes, speed and time left; on a narrow terminal, its share in percent.

    Pass it as `on_progress`.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        wide = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
        columns = (
            wide
            if console.width >= _WIDE
            else (TaskProgressColumn(table_column=Column(min_width=len("100%"), no_wrap=True)),)
        )
        # A name that does not fit is cut: wrapped, a bar would be drawn again and again below itself.
        longest = None if console.width >= _WIDE else max(1, console.width - len("  100%"))
        name = Column(max_width=longest, no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=name), *columns, console=console
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
