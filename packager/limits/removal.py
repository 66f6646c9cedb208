"""Removing what lies below a folder: through open folders, so that no link or rename can lead anywhere else."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packager.limits.usage import look
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened so that a link in its place is an error."""
_STAT_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own block is


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of something that was to be removed.

    Attributes:
        freed_bytes: disk space given back; a file with another hard link gives none back.
        removed: files, links and folders that are gone.
        failures: one `{"path", "cause"}` for each thing that is left.
    """

    freed_bytes: int = 0
    removed: int = 0
    failures: tuple[dict[str, str], ...] = ()

    def __add__(self, other: Removal) -> Removal:
        return Removal(
            self.freed_bytes + other.freed_bytes, self.removed + other.removed, self.failures + other.failures
        )


def failed(path: object, error: BaseException) -> Removal:
    """The removal of one thing that is left, and why."""
    number = error.errno if isinstance(error, OSError) else None
    code = errno.errorcode.get(number, "") if number else type(error).__name__
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Removal(failures=({"path": str(path), "cause": f"{code}: {text}"},))


@contextmanager
def observed(scratch_dir: Path, reason: str) -> Iterator[Callable[[Removal], None]]:
    """Observe a clean-up (reason: normal, forced, sweep or signal), which hands its outcome to what this gives."""
    with observe(catalog.CLEAN_UP, reason=reason) as step:
        before_bytes = _used_bytes(scratch_dir)

        def report(done: Removal) -> None:
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

        yield report


def _used_bytes(scratch_dir: Path) -> int:
    try:
        return look(scratch_dir).used_bytes
    except OSError:
        return 0  # a figure that cannot be had must not stop the clean-up


def logged(done: Removal) -> Removal:
    """The same, after each failure has got its line in the log."""
    for failure in done.failures:
        log(
            "error",
            "could not be removed",
            path=failure["path"],
            cause=failure["cause"],
            next_step="Remove it by hand, or give the process the right to; it takes up scratch.",
        )
    return done


def remove(path: Path) -> Removal:
    """Remove a file, a link, or a folder with all that is in it; what is not there is no failure. Never raises OSError.

    Links are removed, never followed, and another file system mounted below is left as it is. Folders that forbid
    writing are opened up first. Any depth is removed with four open folders at a time.
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return Removal()
    except OSError as error:
        return failed(path, error)
    try:
        return _remove(path, parent)
    finally:
        os.close(parent)


def _remove(path: Path, parent: int) -> Removal:
    """Remove `path`, whose folder is open as `parent`."""
    try:
        if not _is_folder(path.name, parent):
            return _unlink(path.name, parent)
        with _opened(path.name, parent) as folder:
            done = _emptied(path, folder)
        return done if done.failures else done + _rmdir(path.name, parent)
    except FileNotFoundError:
        return Removal()
    except OSError as error:
        return failed(path, error)


def _emptied(path: Path, folder: int) -> Removal:
    done = Removal()
    left: set[str] = set()
    while names := [name for name in _names(folder) if name not in left]:
        for name in names:
            step = _level_removed(path / name, folder)
            if step.failures:
                left.add(name)
            done += step
    return done


def _level_removed(path: Path, top: int) -> Removal:
    """Remove `path` from `top`, where its own subfolders are moved to: recursion, or a chain of open folders, ends."""
    done = Removal()
    try:
        if not _is_folder(path.name, top):
            return _unlink(path.name, top)
        with _opened(path.name, top) as folder:
            for name in _names(folder):
                done += _taken_out(path / name, folder, top)
        return done if done.failures else done + _rmdir(path.name, top)
    except FileNotFoundError:
        return done
    except OSError as error:
        return done + failed(path, error)


def _taken_out(path: Path, folder: int, top: int) -> Removal:
    try:
        if not _is_folder(path.name, folder):
            return _unlink(path.name, folder)
        with _opened(path.name, folder):  # a folder that forbids writing cannot be moved
            os.rename(path.name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
    except FileNotFoundError:
        pass
    except OSError as error:
        return failed(path, error)
    return Removal()


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _unlink(name: str, parent: int) -> Removal:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    os.unlink(name, dir_fd=parent)
    return Removal(status.st_blocks * _STAT_BLOCK_BYTES if status.st_nlink == 1 else 0, removed=1)


def _rmdir(name: str, parent: int) -> Removal:
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    return Removal(removed=1)


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    """A folder open for reading, with every right of its owner; OSError when it cannot be had or is a mount."""
    try:
        folder = os.open(name, FOLDER, dir_fd=parent)
    except PermissionError:
        _open_up(name, parent)
        folder = os.open(name, FOLDER, dir_fd=parent)
    try:
        status = os.fstat(folder)
        if status.st_dev != os.fstat(parent).st_dev:
            raise OSError(errno.EBUSY, "another file system is mounted here")
        if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(folder, stat.S_IRWXU)
        yield folder
    finally:
        os.close(folder)


def _open_up(name: str, parent: int) -> None:
    if not hasattr(os, "O_PATH"):
        os.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)
        return
    # Linux cannot change the mode of a name without following links; of a folder that is held, it can.
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)
    finally:
        os.close(handle)
