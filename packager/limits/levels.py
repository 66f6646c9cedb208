"""When scratch is fine, when it calls for a warning, and when it is critically low."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from packager.errors import in_units, printable
from packager.results import Finding
from packager.settings import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from packager.limits.reservations import Ledger
    from packager.limits.usage import Thresholds, Trend, Use
    from packager.settings import Settings

FILLING_S = 180.0
"""Growth that fills the disk within this time is a warning: a fifth of the time a run has."""

Level = Literal["ok", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "critical")


@dataclass(frozen=True, slots=True)
class StorageMetrics:
    """One look at scratch.

    Attributes:
        path: the scratch folder.
        total_bytes, available_bytes: of its file system.
        used_bytes: what scratch takes up; `packager.limits.usage.look` says what counts.
        warning_bytes, critical_bytes: used bytes from which on those levels hold, on this disk.
        timestamp: when, in UTC.
        level: critical: as much as that is used. warning: as much is used or reserved, or growth that nobody
            reserved fills the disk within FILLING_S.
        used_by: bytes by holder: what each reserved or wrote, whichever is more; `others` is the rest of the use.
        slope_bytes_per_s: growth over the last minute of looks.
        seconds_to_full: time until the disk is full at the growth that nobody reserved; None without any.
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


def assess(path: Path, use: Use, limits: Thresholds, trend: Trend, ledger: Ledger) -> StorageMetrics:
    """What one look, the looks before it and the reservations come to."""
    outstanding_bytes = ledger.outstanding_bytes()
    growth_bytes_per_s = trend.unannounced_bytes_per_s()
    free_bytes = max(0, use.available_bytes - outstanding_bytes)
    seconds_to_full = free_bytes / growth_bytes_per_s if growth_bytes_per_s > 0 else None
    level: Level = "ok"
    if use.used_bytes >= limits.critical_bytes:
        level = "critical"
    elif use.used_bytes + outstanding_bytes >= limits.warning_bytes or _fills_soon(seconds_to_full):
        level = "warning"
    return StorageMetrics(
        path=str(path),
        total_bytes=use.total_bytes,
        available_bytes=use.available_bytes,
        used_bytes=use.used_bytes,
        warning_bytes=limits.warning_bytes,
        critical_bytes=limits.critical_bytes,
        timestamp=datetime.now(UTC),
        level=level,
        used_by=ledger.used_by(use.used_bytes),
        slope_bytes_per_s=trend.slope_bytes_per_s(),
        seconds_to_full=seconds_to_full,
    )


def _fills_soon(seconds_to_full: float | None) -> bool:
    return seconds_to_full is not None and seconds_to_full <= FILLING_S


def warning_of(metrics: StorageMetrics) -> Finding:
    """The warning that a level calls for."""
    rule = "storage-filling" if _fills_soon(metrics.seconds_to_full) else "storage-warning"
    if metrics.level == "critical":
        rule = "storage-critical"
    figures = (
        f"{in_units(metrics.used_bytes)} of scratch are used and {in_units(metrics.available_bytes)} free; the warning "
        f"level is {in_units(metrics.warning_bytes)}, the critical one {in_units(metrics.critical_bytes)}"
    )
    holders = ", ".join(f"{printable(owner)} {in_units(size)}" for owner, size in metrics.used_by.items())
    full = (
        f", and full in {metrics.seconds_to_full:.0f} s at this growth" if metrics.seconds_to_full is not None else ""
    )
    return Finding(
        rule,
        f"{figures}{full}. Held by: {holders}.",
        "Use the strategy streaming, package fewer targets at once, or give scratch more space.",
        metrics.path,
    )


def suggestions(settings: Settings, use: Use, ledger: Ledger, missing_bytes: int) -> Iterator[str]:
    """What to try when `missing_bytes` more do not fit, best first."""
    if use.out_of_inodes:
        yield "remove files there: its inodes are used up"
    if settings.streaming_enabled:
        yield "use the strategy streaming, which needs no scratch"
    largest = max(ledger, key=lambda each: each.size_bytes, default=None)
    if largest:
        holds = f"{printable(largest.owner) or 'another'} holds {in_units(largest.size_bytes)}"
        yield f"package fewer targets at once (MAX_CONCURRENT_OPERATIONS): {holds}"
    free_bytes = use.available_bytes - ledger.outstanding_bytes()
    if free_bytes >= missing_bytes:
        yield f"raise STORAGE_CRITICAL_THRESHOLD (now {settings.storage_critical_bytes} bytes used)"
    taken_bytes = use.used_bytes + ledger.outstanding_bytes() + missing_bytes
    disk_bytes = taken_bytes + min(GIB, taken_bytes // 7)  # the eighth, or the 1 GiB, that stays free
    yield f"give scratch {in_units(disk_bytes)} (the function's ephemeral storage, or SCRATCH_DIR on a larger disk)"
