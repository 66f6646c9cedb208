"""Disk usage of scratch: figures, thresholds, growth, and the warnings that follow from them."""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from packager.core.ports import TEMPORARY_PREFIX
from packager.errors import in_units, printable
from packager.results import Finding
from packager.settings import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from packager.limits.reservations import Ledger
    from packager.settings import Settings

FILLING_S = 180.0
"""Growth that fills the disk within this time is a warning: a fifth of the time that an invocation has."""

STAT_BLOCK_BYTES = 512
"""The unit of st_blocks, whatever the file system's own block size is: stat(2)."""

Level = Literal["ok", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "critical")

_TREND_S = 60.0
_SHORTEST_TREND_S = 1.0  # one new folder within a millisecond is no trend
_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Figures of scratch at one moment, in bytes: size and free space of its file system, and what scratch takes up."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    block_bytes: int
    out_of_inodes: bool


def disk_usage(scratch_dir: Path) -> DiskUsage:
    """The figures of scratch now; a folder that does not exist yet is empty.

    What counts as used depends on whose the space is. A file system of its own (Lambda's /tmp): everything on it. A
    folder shared by all users (sticky bit): the packager's own files. Any other folder: everything below it.
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
        shared = bool(existing.stat().st_mode & stat.S_ISVTX)
        used_bytes = _bytes_below(existing, TEMPORARY_PREFIX if shared else "")
    return DiskUsage(
        total_bytes=disk.f_blocks * disk.f_frsize,
        available_bytes=disk.f_bavail * disk.f_frsize,
        used_bytes=used_bytes,
        block_bytes=disk.f_frsize,
        out_of_inodes=disk.f_files > 0 and disk.f_favail == 0,
    )


def _bytes_below(folder: Path, prefix: str) -> int:
    """Disk space of everything below `folder` whose first name begins with `prefix`; files that vanish are skipped."""
    total = 0
    folders: list[str] = [str(folder)]
    first = prefix
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if not entry.name.startswith(first):
                    continue
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * STAT_BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        first = ""
    return total


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Used bytes from which on scratch is at the warning or the critical level."""

    warning_bytes: int
    critical_bytes: int


def thresholds(settings: Settings, usage: DiskUsage) -> Thresholds:
    """The thresholds of the settings, lowered where the disk cannot hold that much.

    2 GiB stay free at the warning level and 1 GiB at the critical one, or a quarter and an eighth of a smaller
    disk: what the default settings leave of the default 8 GiB.
    """
    usable_bytes = usage.used_bytes + usage.available_bytes
    return Thresholds(
        max(0, min(settings.storage_warning_bytes, usable_bytes - min(2 * GIB, usage.total_bytes // 4))),
        max(0, min(settings.storage_critical_bytes, usable_bytes - min(GIB, usage.total_bytes // 8))),
    )


class Trend:
    """Growth of the used bytes over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=_SAMPLES)

    def add(self, time_s: float, used_bytes: int, reserved_bytes: int) -> None:
        """Add a sample; `reserved_bytes` is the part of the used bytes that was reserved before it was written."""
        while self._samples and time_s - self._samples[0][0] > _TREND_S:
            self._samples.popleft()
        self._samples.append((time_s, used_bytes, max(0, used_bytes - reserved_bytes)))

    def slope_bytes_per_s(self) -> float:
        """Growth of all used bytes; 0 before there are samples over at least a second."""
        return self._slope(1)

    def unreserved_bytes_per_s(self) -> float:
        """Growth of what nobody reserved: the part that can end in a failure."""
        return self._slope(2)

    def _slope(self, column: int) -> float:
        if not self._samples:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        elapsed_s = last[0] - first[0]
        return (last[column] - first[column]) / elapsed_s if elapsed_s >= _SHORTEST_TREND_S else 0.0


@dataclass(frozen=True, slots=True)
class StorageMetrics:
    """The state of scratch at one moment.

    Attributes:
        path: the scratch folder.
        total_bytes, available_bytes: of its file system.
        used_bytes: what scratch takes up; see `packager.limits.usage.disk_usage` for what counts.
        warning_bytes, critical_bytes: used bytes from which on those levels hold, on this disk.
        timestamp: when it was measured, in UTC.
        level: critical: that much is used. warning: that much is used or reserved, or growth that nobody reserved
            fills the disk within FILLING_S.
        used_by: bytes by owner of reservations: reserved or written, whichever is more; `others` is the rest.
        slope_bytes_per_s: growth over the last minute.
        seconds_to_full: time until the disk is full at the growth that nobody reserved; None without growth.
    """

    path: str
    total_bytes: int
    available_bytes: int
    used_bytes: int
    warning_bytes: int
    critical_bytes: int
    timestamp: datetime
    level: Level
    used_by: Mapping[str, int]
    slope_bytes_per_s: float
    seconds_to_full: float | None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "timestamp": self.timestamp.isoformat()}


def assess(path: Path, usage: DiskUsage, limits: Thresholds, trend: Trend, ledger: Ledger) -> StorageMetrics:
    """The state of scratch from its figures now, their trend and the reservations."""
    outstanding_bytes = ledger.outstanding_bytes()
    growth_bytes_per_s = trend.unreserved_bytes_per_s()
    free_bytes = max(0, usage.available_bytes - outstanding_bytes)
    seconds_to_full = free_bytes / growth_bytes_per_s if growth_bytes_per_s > 0 else None
    level: Level = "ok"
    if usage.used_bytes >= limits.critical_bytes:
        level = "critical"
    elif usage.used_bytes + outstanding_bytes >= limits.warning_bytes or _fills_soon(seconds_to_full):
        level = "warning"
    return StorageMetrics(
        path=str(path),
        total_bytes=usage.total_bytes,
        available_bytes=usage.available_bytes,
        used_bytes=usage.used_bytes,
        warning_bytes=limits.warning_bytes,
        critical_bytes=limits.critical_bytes,
        timestamp=datetime.now(UTC),
        level=level,
        used_by=ledger.used_by(usage.used_bytes),
        slope_bytes_per_s=trend.slope_bytes_per_s(),
        seconds_to_full=seconds_to_full,
    )


def _fills_soon(seconds_to_full: float | None) -> bool:
    return seconds_to_full is not None and seconds_to_full <= FILLING_S


def warning_of(metrics: StorageMetrics) -> Finding:
    """The warning about a level above ok."""
    rule = "storage-filling" if _fills_soon(metrics.seconds_to_full) else "storage-warning"
    if metrics.level == "critical":
        rule = "storage-critical"
    figures = (
        f"{in_units(metrics.used_bytes)} of scratch are used and {in_units(metrics.available_bytes)} free; the warning "
        f"level is {in_units(metrics.warning_bytes)}, the critical one {in_units(metrics.critical_bytes)}"
    )
    owners = ", ".join(f"{printable(owner)} {in_units(size)}" for owner, size in metrics.used_by.items())
    full = (
        f", and full in {metrics.seconds_to_full:.0f} s at this growth" if metrics.seconds_to_full is not None else ""
    )
    return Finding(
        rule,
        f"{figures}{full}. Used by: {owners}.",
        "Use the strategy streaming, package fewer targets at once, or give scratch more space.",
        metrics.path,
    )


def suggestions(settings: Settings, usage: DiskUsage, ledger: Ledger, missing_bytes: int) -> Iterator[str]:
    """What to try when `missing_bytes` more do not fit, best first."""
    if usage.out_of_inodes:
        yield "remove files there: its inodes are used up"
    if settings.streaming_enabled:
        yield "use the strategy streaming, which needs no scratch"
    largest = max(ledger, key=lambda each: each.size_bytes, default=None)
    if largest:
        holds = f"{printable(largest.owner) or 'another'} holds {in_units(largest.size_bytes)}"
        yield f"package fewer targets at once (MAX_CONCURRENT_OPERATIONS): {holds}"
    free_bytes = usage.available_bytes - ledger.outstanding_bytes()
    if free_bytes >= missing_bytes:
        yield f"raise STORAGE_CRITICAL_THRESHOLD (now {settings.storage_critical_bytes} bytes used)"
    needed_bytes = usage.used_bytes + ledger.outstanding_bytes() + missing_bytes
    disk_bytes = needed_bytes + min(GIB, needed_bytes // 7)  # the eighth, or the 1 GiB, that stays free
    yield f"give scratch {in_units(disk_bytes)} (the function's ephemeral storage, or SCRATCH_DIR on a larger disk)"
