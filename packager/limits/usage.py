"""How full scratch is, from which use on that is too much, and how fast it fills."""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packager.core.ports import TEMPORARY_PREFIX
from packager.settings import GIB

if TYPE_CHECKING:
    from pathlib import Path

    from packager.settings import Settings

_STAT_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own block is
_TREND_S = 60.0
_SHORTEST_TREND_S = 1.0  # one new folder within a millisecond is no trend
_LOOKS = 64


@dataclass(frozen=True, slots=True)
class Use:
    """One look at scratch, in bytes: the size of its file system, what is free there, and what scratch takes up."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    block_bytes: int
    out_of_inodes: bool


def look(scratch_dir: Path) -> Use:
    """How full scratch is now. A folder that is not there yet is empty.

    What counts as used depends on whose the space is. A disk of its own (Lambda's /tmp): everything on it. The
    folder for everyone's temporary files (its sticky bit is set): what the packager put there. Any other: all below it.
    """
    existing = scratch_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    disk = os.statvfs(existing)
    if existing != scratch_dir.absolute():
        used_bytes = 0
    elif existing.is_mount():
        used_bytes = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    else:
        everyones = bool(existing.stat().st_mode & stat.S_ISVTX)
        used_bytes = _bytes_below(existing, TEMPORARY_PREFIX if everyones else "")
    return Use(
        total_bytes=disk.f_blocks * disk.f_frsize,
        available_bytes=disk.f_bavail * disk.f_frsize,
        used_bytes=used_bytes,
        block_bytes=disk.f_frsize,
        out_of_inodes=disk.f_files > 0 and disk.f_favail == 0,
    )


def _bytes_below(folder: Path, prefix: str) -> int:
    """Disk space of everything below `folder` whose first name begins with `prefix`; what vanishes does not count."""
    total = 0
    waiting: list[str] = [str(folder)]
    first = prefix
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not entry.name.startswith(first):
                    continue
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * _STAT_BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        first = ""
    return total


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Used bytes from which on scratch is at the warning or the critical level."""

    warning_bytes: int
    critical_bytes: int


def thresholds(settings: Settings, use: Use) -> Thresholds:
    """The thresholds of the settings, lowered where the disk cannot hold that much.

    2 GiB stay free at the warning level and 1 GiB at the critical one, or a quarter and an eighth of a smaller
    disk: what the default settings leave of the default 8 GiB.
    """
    room_bytes = use.used_bytes + use.available_bytes
    return Thresholds(
        max(0, min(settings.storage_warning_bytes, room_bytes - min(2 * GIB, use.total_bytes // 4))),
        max(0, min(settings.storage_critical_bytes, room_bytes - min(GIB, use.total_bytes // 8))),
    )


class Trend:
    """How use grew over the last minute of looks."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=_LOOKS)

    def add(self, time_s: float, used_bytes: int, announced_bytes: int) -> None:
        """Take a look into account; `announced_bytes` is the part of the use that was reserved beforehand."""
        while self._looks and time_s - self._looks[0][0] > _TREND_S:
            self._looks.popleft()
        self._looks.append((time_s, used_bytes, max(0, used_bytes - announced_bytes)))

    def slope_bytes_per_s(self) -> float:
        """Growth of the whole use; 0 before there are looks of at least a second."""
        return self._slope(1)

    def unannounced_bytes_per_s(self) -> float:
        """Growth of what nobody reserved: the part that can end in a failure."""
        return self._slope(2)

    def _slope(self, which: int) -> float:
        if not self._looks:
            return 0.0
        first, last = self._looks[0], self._looks[-1]
        elapsed_s = last[0] - first[0]
        return (last[which] - first[which]) / elapsed_s if elapsed_s >= _SHORTEST_TREND_S else 0.0
