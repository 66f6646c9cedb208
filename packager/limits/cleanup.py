"""Clean-up at the end of a block, whatever happens in it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from packager.errors import CleanupFailedError, RequestError, printable
from packager.limits.removal import Removal, failed, logged, observed, remove
from packager.settings import Settings, from_process_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class CleanupContext:
    """Removes files and folders, and calls functions, when the block ends, in reverse order of their registration.

    A failure of one does not stop the others. When the block itself succeeded, the failures are raised as
    CleanupFailedError; otherwise each becomes a note on the block's own error. Every failure is logged. Safe
    to use from several threads.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._scratch_dir = (settings or from_process_environment()).scratch_dir.absolute()
        self._items: dict[Path | Callable[[], object], None] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = self._clean_up("normal").failures
        if not failures:
            return
        if error is None:
            raise CleanupFailedError(failures)
        for failure in failures:
            error.add_note(f"{printable(failure['path'], 1000)} could not be removed: {printable(failure['cause'])}")

    def register_cleanup(self, item: Path | str | Callable[[], object]) -> None:
        """Register a file, a folder with everything in it, or a function. The path need not exist yet.

        Raises RequestError for a path that holds the scratch folder itself.
        """
        item = Path(item).absolute() if isinstance(item, str | Path) else item
        if isinstance(item, Path) and (item == self._scratch_dir or item in self._scratch_dir.parents):
            raise RequestError(
                f"{printable(item, 1000)} cannot be cleaned up: the scratch folder {self._scratch_dir} lies there.",
                next_step="Name the file or folder below it that was made.",
                path=str(item),
            )
        with self._lock:
            self._items.setdefault(item)

    def force_cleanup(self) -> Removal:
        """Clean up everything now; what fails stays registered. May be called again. Never raises a failure."""
        return self._clean_up("forced")

    def _clean_up(self, reason: str) -> Removal:
        """Clean up item by item; without the lock, since a function may wait for threads that register something."""
        done = Removal()
        with self._lock:
            if not self._items:
                return done
        left: list[Path | Callable[[], object]] = []
        try:
            with observed(self._scratch_dir, reason) as record:
                while (item := self._last()) is not None:
                    left.append(item)
                    removal = logged(remove(item) if isinstance(item, Path) else _call(item))
                    done += removal
                    if not removal.failures:
                        left.pop()
                record(done)
        finally:
            with self._lock:
                self._items = {**dict.fromkeys(reversed(left)), **self._items}
        return done

    def _last(self) -> Path | Callable[[], object] | None:
        with self._lock:
            return self._items.popitem()[0] if self._items else None


def _call(function: Callable[[], object]) -> Removal:
    try:
        function()
    except Exception as error:  # noqa: BLE001  the other clean-ups have to run; it is reported with theirs
        return failed(getattr(function, "__qualname__", repr(function)), error)
    return Removal()
