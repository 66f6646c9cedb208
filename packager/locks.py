"""Locks that tell the living from the dead: the kernel gives them up when a process ends, in whatever way."""

from __future__ import annotations

import fcntl
import os
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Lock(Enum):
    """What became of the wish to lock something."""

    TAKEN = "taken"
    LOST = "lost"
    """Somebody has it, or removed it meanwhile."""
    UNKNOWN = "unknown"
    """The file system has no locks for this."""


def lock(descriptor: int, path: Path) -> Lock:
    """Lock an open file or folder that lies at `path`, without waiting, until its descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.LOST
    except OSError:
        return Lock.UNKNOWN
    try:
        there = os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        there = False
    return Lock.TAKEN if there else Lock.LOST
