"""What was made for a while is removed: as soon as it is not needed, or at the end of the work, whatever happens."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from packager.errors import CleanupFailedError, RequestError, printable
from packager.limits.removal import Removal, failed, logged, observed, remove
from packager.limits.termination import TerminatedError, shielded, unfinished
from packager.settings import Settings, from_process_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class CleanupContext:
    """Removes files and folders, and calls functions, when the block ends, in reverse order, whatever happens in it.

    A failure of one does not stop the others. When the block itself succeeded, the failures are raised as
    CleanupFailedError; otherwise each becomes a note on the block's own error. Every failure is logged. SIGTERM waits
    until a clean-up that has begun is through. Safe to use from several threads.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._scratch_dir = (settings or from_process_environment()).scratch_dir.absolute()
        self._items: dict[Path | Callable[[], object], None] = {}
        self._released = Removal()
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        unfinished[id(self)] = self.force_cleanup
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with shielded():
            failures = self._clean("signal" if isinstance(error, TerminatedError) else "normal").failures
            unfinished.pop(id(self), None)
        if not failures:
            return
        if error is None:
            raise CleanupFailedError(failures)
        for failure in failures:
            error.add_note(f"{printable(failure['path'], 1000)} could not be removed: {printable(failure['cause'])}")

    def register_cleanup(self, item: Path | str | Callable[[], object]) -> None:
        """Have a file, a folder with all that is in it, or a function cleaned up. The path may not exist yet.

        Raises RequestError for a path that holds the scratch folder itself.
        """
        item = Path(item).absolute() if isinstance(item, str | Path) else item
        if isinstance(item, Path) and (item == self._scratch_dir or item in self._scratch_dir.parents):
            raise _holds_scratch(item, self._scratch_dir)
        with self._lock:
            self._items.setdefault(item)

    def release(self, path: Path | str) -> None:
        """Remove a registered path, or one below it, now. What fails is logged and tried again at the end.

        Raises RequestError for a path that nobody registered.
        """
        path = Path(path).absolute()
        with self._lock:
            if self._items.keys().isdisjoint((path, *path.parents)):
                raise RequestError(
                    f"{printable(path, 1000)} was not registered.",
                    next_step="Register it, or the folder it lies in, when it is made.",
                    path=str(path),
                )
        done = logged(remove(path))
        with self._lock:
            self._released += Removal(done.freed_bytes, done.removed)
            if not done.failures:
                self._items.pop(path, None)

    def force_cleanup(self) -> Removal:
        """Clean up everything now; what fails stays registered. Again, it does no harm. Never raises a failure."""
        with shielded():
            return self._clean("forced")

    def _clean(self, reason: str) -> Removal:
        """Clean up item by item; without the lock, since a function may wait for threads that register something."""
        with self._lock:
            total, self._released = self._released, Removal()
            if not self._items and not total.removed:
                return total
        left: list[Path | Callable[[], object]] = []
        try:
            with observed(self._scratch_dir, reason) as report:
                while (item := self._last()) is not None:
                    left.append(item)
                    done = logged(remove(item) if isinstance(item, Path) else _called(item))
                    total += done
                    if not done.failures:
                        left.pop()
                report(total)
        finally:
            with self._lock:
                self._items = {**dict.fromkeys(reversed(left)), **self._items}
        return total

    def _last(self) -> Path | Callable[[], object] | None:
        with self._lock:
            return self._items.popitem()[0] if self._items else None


def _called(function: Callable[[], object]) -> Removal:
    try:
        function()
    except Exception as error:  # noqa: BLE001  the other clean-ups have to run; it is reported with theirs
        return failed(getattr(function, "__qualname__", repr(function)), error)
    return Removal()


def _holds_scratch(path: Path, scratch_dir: Path) -> RequestError:
    return RequestError(
        f"{printable(path, 1000)} cannot be cleaned up: the scratch folder {scratch_dir} lies there.",
        next_step="Name the file or folder below it that was made.",
        path=str(path),
    )
