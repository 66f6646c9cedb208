"""Removing what lies below a folder: through open folders, so that no link or rename can lead anywhere else."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
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


def remove(path: Path) -> Removal:
    """Remove a file, a link, or a folder with all that is in it; what is not there is no failure. Never raises OSError.

    Links are removed, never followed, and another file system mounted below is left as it is. Folders that forbid
    writing are opened up first. Any depth is removed with three open folders at a time.
    """
    try:
        with _opened(path.parent) as parent:
            return _remove(path, parent)
    except (FileNotFoundError, NotADirectoryError):
        return Removal()
    except OSError as error:
        return _failed(path, error)


def _remove(path: Path, parent: int) -> Removal:
    try:
        status = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(path.name, dir_fd=parent)
            return Removal(_freed_bytes(status), removed=1)
        with _opened(path.name, parent) as folder:
            emptied = _emptied(path, folder, parent)
        if emptied.failures:
            return emptied
        os.rmdir(path.name, dir_fd=parent)
        return emptied + Removal(removed=1)
    except FileNotFoundError:
        return Removal()
    except OSError as error:
        return _failed(path, error)


def _emptied(path: Path, folder: int, parent: int) -> Removal:
    """Remove all that is in `folder`. Subfolders of subfolders are moved up first: recursion would end at some depth."""
    if os.fstat(folder).st_dev != os.fstat(parent).st_dev:
        return _failed(path, OSError(errno.EBUSY, "another file system is mounted here"))
    total = Removal()
    left: set[str] = set()
    while names := [name for name in os.listdir(folder) if name not in left]:
        for name in names:
            done = _flattened(path, name, folder) + _remove_level(path / name, folder)
            if done.failures:
                left.add(name)
            total += done
    return total


def _remove_level(path: Path, parent: int) -> Removal:
    """Remove a file, or a folder that holds nothing but files."""
    try:
        status = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return Removal()
    return Removal()
