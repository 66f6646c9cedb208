"""Locks that show whether a process lives: the kernel releases them when it ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Lock(Enum):
    """The outcome of an attempt to lock."""

    TAKEN = "taken"
    LOST = "lost"
    """Another process holds it, or removed the file meanwhile."""
    UNKNOWN = "unknown"
    """The file system does not support it."""


def lock(descriptor: int, path: Path) -> Lock:
    """Lock an open file or folder that lies at `path`, without waiting, until its descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.LOST
    except OSError:
        return Lock.UNKNOWN
    try:
        same = os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        same = False
    return Lock.TAKEN if same else Lock.LOST
