"""Removal of files and folders, with a record of what was freed and of what could not be removed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packager.limits.usage import STAT_BLOCK_BYTES, disk_usage
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Removal:
    """The outcome of a removal.

    Attributes:
        freed_bytes: disk space given back; a file with another hard link gives none back.
        removed: number of files, links and folders removed.
        failures: one `{"path", "cause"}` for each that could not be removed.
    """

    freed_bytes: int = 0
    removed: int = 0
    failures: tuple[dict[str, str], ...] = ()

    def __add__(self, other: Removal) -> Removal:
        return Removal(
            self.freed_bytes + other.freed_bytes, self.removed + other.removed, self.failures + other.failures
        )


def failed(path: object, error: BaseException) -> Removal:
    """A removal that failed for `path`, and why."""
    number = error.errno if isinstance(error, OSError) else None
    code = errno.errorcode.get(number, "") if number else type(error).__name__
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Removal(failures=({"path": str(path), "cause": f"{code}: {text}"},))


def remove(path: Path) -> Removal:
    """Remove a file, a link, or a folder with everything in it; what does not exist is no failure. Raises no OSError.

    Links are removed, never followed: `os.fwalk` opens each folder and sees that it was not replaced by a link.
    """
    # shutil.rmtree is as safe, but tells neither how many files there were nor what they took up.
    done = Removal()
    errors: list[OSError] = []
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return _remove_entry(path, None)
        for parent, folders, files, descriptor in os.fwalk(path, topdown=False, onerror=errors.append):
            for name in (*files, *folders):
                done += _remove_entry(Path(parent, name), descriptor)
    except OSError as error:
        errors.append(error)
    for each in errors:
        if not isinstance(each, FileNotFoundError | NotADirectoryError):
            done += failed(each.filename or path, each)
    return done if done.failures else done + _remove_entry(path, None)


def _remove_entry(path: Path, folder: int | None) -> Removal:
    """Remove a file, a link or an empty folder; `folder` is the descriptor of the open folder that it lies in."""
    name = path if folder is None else path.name
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        (os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink)(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return Removal()
    except OSError as error:
        return failed(path, error)
    return Removal(status.st_blocks * STAT_BLOCK_BYTES if status.st_nlink == 1 else 0, removed=1)


def logged(done: Removal) -> Removal:
    """The same removal, after a line in the log for each failure."""
    for failure in done.failures:
        log(
            "error",
            "could not be removed",
            path=failure["path"],
            cause=failure["cause"],
            next_step="Remove it by hand, or give the process the right to; it takes up scratch.",
        )
    return done


@contextmanager
def observed(scratch_dir: Path, reason: str) -> Iterator[Callable[[Removal], None]]:
    """Observe a clean-up (reason: normal, forced, sweep or signal); the yielded function records its outcome."""
    with observe(catalog.CLEAN_UP, reason=reason) as step:
        before_bytes = _used_bytes(scratch_dir)

        def record(done: Removal) -> None:
            after_bytes = _used_bytes(scratch_dir)
            step.add(
                freed_bytes=done.freed_bytes,
                removed=done.removed,
                left=len(done.failures),
                left_paths=list(done.failures),
                storage_before_bytes=before_bytes,
                storage_peak_bytes=max(before_bytes, after_bytes),
                storage_after_bytes=after_bytes,
            )

        yield record


def _used_bytes(scratch_dir: Path) -> int:
    try:
        return disk_usage(scratch_dir).used_bytes
    except OSError:
        return 0  # a missing figure must not stop the clean-up
