"""Temporary folders in scratch, each locked while it is in use, and the sweep of those that killed runs left."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from packager import locks
from packager.core.ports import TEMPORARY_PREFIX
from packager.errors import InsufficientStorageError, PackagerError
from packager.limits.cleanup import CleanupContext
from packager.limits.removal import Removal, failed, logged, observed, remove
from packager.limits.usage import disk_usage
from packager.locks import Lock
from packager.os_errors import FULL, convert_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packager.settings import Settings

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def scratch_folder(settings: Settings, owner: str = "") -> Iterator[Path]:
    """Make a new folder in scratch that only this user can enter; it is removed, with everything in it, afterwards.

    It is locked while it is in use. The kernel releases the lock when the process dies, however it dies; that is how a
    later sweep can tell. `owner` is a part of its name, for people.

    Errors: InsufficientStorageError, AccessDeniedError, StoreError; CleanupFailedError at the end.
    """
    with CleanupContext(settings) as cleanup:
        folder, lock = _new_folder(settings.scratch_dir.absolute(), owner)
        cleanup.register_cleanup(partial(os.close, lock))
        cleanup.register_cleanup(folder)
        yield folder


def sweep(scratch_dir: Path) -> Removal:
    """Remove the scratch folders of runs that died: ours by name and owner, not locked. Never raises a failure.

    Safe beside live runs and other sweeps. Other things with our prefix stay: only folders are locked.
    """
    scratch_dir = scratch_dir.absolute()
    try:
        ours = [each for each in scratch_dir.iterdir() if each.name.startswith(TEMPORARY_PREFIX)]
    except FileNotFoundError:
        ours = []
    except OSError as error:
        return logged(failed(scratch_dir, error))
    if not ours:
        return Removal()
    with observed(scratch_dir, "sweep") as record:
        swept = sum((_swept(folder) for folder in ours), Removal())
        record(swept)
    return swept


def _swept(folder: Path) -> Removal:
    try:
        lock = os.open(folder, _FOLDER)
    except OSError:
        return Removal()  # no folder, gone meanwhile, or another user's
    try:
        dead = os.fstat(lock).st_uid == os.geteuid() and locks.lock(lock, folder) is Lock.TAKEN
        return logged(remove(folder)) if dead else Removal()
    finally:
        os.close(lock)


def _new_folder(scratch_dir: Path, owner: str) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    readable = re.sub(r"[^A-Za-z0-9-]", "_", owner)[:60]
    while True:
        folder = scratch_dir / f"{TEMPORARY_PREFIX}{readable}-{os.getpid()}-{os.urandom(8).hex()}"
        try:
            scratch_dir.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise _cannot_make(scratch_dir, error) from error
        # A sweep may take the folder for a dead run's before it is locked: then there has to be another one.
        with suppress(FileNotFoundError):
            lock = os.open(folder, _FOLDER)
            if locks.lock(lock, folder) is not Lock.LOST:
                return folder, lock
            os.close(lock)


def _cannot_make(scratch_dir: Path, error: OSError) -> PackagerError:
    if error.errno not in FULL:
        return convert_os_error(error, "make a folder in", scratch_dir)
    usage = disk_usage(scratch_dir)
    return InsufficientStorageError(
        "A scratch folder" + (", one more inode," if usage.out_of_inodes else ""),
        required_bytes=usage.block_bytes,
        available_bytes=min(usage.available_bytes, usage.block_bytes - 1),
        path=scratch_dir,
        suggestions=("free space there", "set SCRATCH_DIR to a folder on a larger disk"),
    )
