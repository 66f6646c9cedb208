"""Management of scratch: free space, reservations, clean-up, and a warning before space runs out."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from packager.errors import InsufficientStorageError, RequestError, printable
from packager.limits.removal import Removal, logged, observed, remove
from packager.limits.reservations import Ledger, Reservation, space_needed
from packager.limits.scratch import scratch_folder, sweep
from packager.limits.usage import (
    LEVELS,
    DiskUsage,
    Level,
    StorageMetrics,
    Trend,
    assess,
    disk_usage,
    suggestions,
    thresholds,
    warning_of,
)
from packager.os_errors import FULL
from packager.settings import Settings, from_process_environment
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from packager.limits.reservations import Sized
    from packager.results import Finding
    from telemetry import Step

__all__ = ["Reservation", "StorageManager", "StorageMetrics"]

_MEASURE_EVERY_S = 1.0
_MEASUREMENTS_PER_DISK = 16
"""Scratch is measured at least this often while a whole disk is being filled."""


class StorageManager:
    """Measures scratch, reserves parts of it, cleans it, and warns. One for each run; safe between threads.

    `clock` gives seconds, from any origin.

    Attributes:
        written_bytes, peak_written_bytes: bytes written within reservations, now and at most so far.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings or from_process_environment()
        self._path = self._settings.scratch_dir.absolute()
        self._clock = clock
        self._lock = threading.RLock()
        self._ledger = Ledger()
        self._trend = Trend()
        self._level: Level = "ok"
        self._findings: dict[str, Finding] = {}
        self._peaks: list[_Peak] = []
        self._used_bytes = self._unmeasured_bytes = self._measure_every_bytes = 0
        self._measured_s = clock()
        self.written_bytes = self.peak_written_bytes = 0

    @property
    def path(self) -> Path:
        """The scratch folder."""
        return self._path

    def get_available_space(self) -> int:
        """Bytes that are free on the file system of scratch."""
        return disk_usage(self._path).available_bytes

    def get_unreserved_space(self) -> int:
        """Bytes that `reserve` would grant now: free, below the critical level, and not reserved."""
        with self._lock:
            return self._unreserved_bytes(self._measure(), self._ledger)

    def estimate_space_needed(self, file_path: Path | str | Iterable[Sized], operation: str = "standard") -> int:
        """Scratch in bytes that an operation takes: see `packager.limits.reservations.space_needed`."""
        return space_needed(file_path, operation, disk_usage(self._path).block_bytes)

    def cleanup_directory(self, path: Path | str) -> Removal:
        """Remove a folder (or file) below scratch with everything in it.

        Links are removed, never followed. Raises RequestError for a path that is not below scratch.
        """
        inside = self._inside(path)
        with observed(self._path, "normal") as record:
            record(done := logged(remove(inside)))
        return done

    def monitor_usage(self, threshold: float | None = None) -> StorageMetrics:
        """Measure scratch, and warn when the level has risen; when it rose to critical, sweep and measure again.

        `threshold` replaces the warning threshold: an int in used bytes, a float as a share of the disk.
        """
        metrics, risen = self._monitor(threshold)
        if risen and metrics.level == "critical":
            sweep(self._path)
            metrics, _ = self._monitor(threshold)
        return metrics

    def reserve(self, size_bytes: int, owner: str = "") -> Reservation:
        """Reserve scratch, all or nothing, without waiting for others; when it is short, sweep and try once more.

        Release it, or leave its `with` block. Raises InsufficientStorageError with figures and suggestions.
        """
        if size_bytes < 0:
            raise RequestError(f"{size_bytes} bytes cannot be reserved.", next_step="Reserve 0 bytes or more.")
        with observe(catalog.RESERVE_STORAGE, requested_bytes=size_bytes, granted=0) as step:
            reservation = self._try_to_reserve(size_bytes, owner)
            if reservation is None:
                sweep(self._path)
                reservation = self._try_to_reserve(size_bytes, owner)
            step.add(available_bytes=self.get_available_space(), reserved_bytes=sum(self.reservations().values()))
            if reservation is None:
                raise self.shortage(f"The reservation for {owner or 'the work'}", size_bytes)
            step.add(granted=1)
        self.monitor_usage()
        return reservation

    @contextmanager
    def reserved_folder(self, size_bytes: int, owner: str = "") -> Iterator[tuple[Path, Reservation]]:
        """Reserve scratch and make a folder in it, both for the block. Errors as for `reserve` and `scratch_folder`."""
        with self.reserve(size_bytes, owner) as reservation, scratch_folder(self._settings, owner) as folder:
            yield folder, reservation

    def reservations(self) -> dict[str, int]:
        """Reserved bytes by owner."""
        with self._lock:
            return self._ledger.by_owner()

    def findings(self) -> tuple[Finding, ...]:
        """The warnings so far, one of each kind, as they were when they first came up."""
        with self._lock:
            return tuple(self._findings.values())

    @contextmanager
    def measured(self, step: Step | None) -> Iterator[None]:
        """Add to a step, if there is one, the used bytes of scratch before, at most during, and after the block."""
        if step is None:
            yield
            return
        with self._lock:
            before_bytes = self._measure().used_bytes
            peak = _Peak(before_bytes)
            self._peaks.append(peak)
        try:
            yield
        finally:
            with self._lock:
                after_bytes = self._measure().used_bytes
                self._peaks.remove(peak)
            step.add(
                storage_before_bytes=before_bytes,
                storage_peak_bytes=peak.used_bytes,
                storage_after_bytes=after_bytes,
            )

    @contextmanager
    def explained(self, what: str, reservation: Reservation) -> Iterator[None]:
        """Turn a full disk met in the block into InsufficientStorageError; other errors pass unchanged."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.monitor_usage()  # others may have filled it meanwhile, and a warning comes before a failure
            required_bytes = max(reservation.size_bytes, reservation.written_bytes + 1)
            raise self.shortage(what, required_bytes, reservation) from error

    def shortage(self, what: str, required_bytes: int, held: Reservation | None = None) -> InsufficientStorageError:
        """The error that says that `what` does not fit; `held` is what was reserved for it, and is in part written."""
        with self._lock:
            usage = self._measure()
            written_bytes = held.written_bytes if held else 0
            others = self._ledger.without(held)
            return InsufficientStorageError(
                what,
                required_bytes=required_bytes,
                available_bytes=max(0, min(written_bytes + self._unreserved_bytes(usage, others), required_bytes - 1)),
                path=self._path,
                suggestions=tuple(suggestions(self._settings, usage, others, required_bytes - written_bytes)),
            )

    def _record_write(self, reservation: Reservation, size_bytes: int) -> None:
        """Record bytes written within a reservation, and measure scratch when that is due."""
        with self._lock:
            reservation.written_bytes += size_bytes
            self.written_bytes += size_bytes
            self.peak_written_bytes = max(self.peak_written_bytes, self.written_bytes)
            self._unmeasured_bytes += max(0, size_bytes)
            self._note_used(self._used_bytes + size_bytes)
            due = (
                self._unmeasured_bytes >= self._measure_every_bytes
                or self._clock() - self._measured_s >= _MEASURE_EVERY_S
            )
        if due:
            self.monitor_usage()

    def _release(self, reservation: Reservation) -> None:
        with self._lock:
            self.written_bytes -= self._ledger.remove(reservation)

    def _try_to_reserve(self, size_bytes: int, owner: str) -> Reservation | None:
        with self._lock:
            if size_bytes > self._unreserved_bytes(self._measure(), self._ledger):
                return None
            reservation = Reservation(owner, size_bytes, self._record_write, self._release)
            self._ledger.add(reservation)
            return reservation

    def _unreserved_bytes(self, usage: DiskUsage, ledger: Ledger) -> int:
        critical_bytes = thresholds(self._settings, usage).critical_bytes
        return max(0, critical_bytes - usage.used_bytes - ledger.outstanding_bytes())

    def _measure(self) -> DiskUsage:
        """Measure scratch, with the lock held."""
        usage = disk_usage(self._path)
        self._note_used(usage.used_bytes)
        self._measured_s = self._clock()
        self._unmeasured_bytes = 0
        self._measure_every_bytes = usage.total_bytes // _MEASUREMENTS_PER_DISK
        self._trend.add(self._measured_s, usage.used_bytes, self._ledger.written_bytes())
        return usage

    def _note_used(self, used_bytes: int) -> None:
        self._used_bytes = used_bytes
        for peak in self._peaks:
            peak.used_bytes = max(peak.used_bytes, used_bytes)

    def _monitor(self, threshold: float | None) -> tuple[StorageMetrics, bool]:
        """The state of scratch, and whether its level has risen since the last time."""
        with observe(catalog.MONITOR_STORAGE, path=str(self._path)) as step:
            with self._lock:
                metrics = self._assess(threshold)
                risen = LEVELS.index(metrics.level) > LEVELS.index(self._level)
                self._level = metrics.level
                warning = warning_of(metrics) if risen else None
                if warning:
                    self._findings.setdefault(warning.rule, warning)
            step.add(
                level=metrics.level,
                used_bytes=metrics.used_bytes,
                available_bytes=metrics.available_bytes,
                slope_bytes_per_s=metrics.slope_bytes_per_s,
            )
            if metrics.seconds_to_full is not None:
                step.add(seconds_to_full=metrics.seconds_to_full)
        if warning:
            log("warning", warning.rule, message=warning.message, next_step=warning.next_step, path=warning.subject)
        return metrics, risen

    def _assess(self, threshold: float | None) -> StorageMetrics:
        usage = self._measure()
        limits = thresholds(self._settings, usage)
        if threshold is not None:
            wanted = int(threshold * usage.total_bytes) if isinstance(threshold, float) else threshold
            limits = replace(limits, warning_bytes=wanted)
        return assess(self._path, usage, limits, self._trend, self._ledger)

    def _inside(self, path: Path | str) -> Path:
        path = Path(path).absolute()
        inside = path.parent.resolve() / path.name
        scratch_dir = self._path.resolve()
        if path.name in ("", "..") or scratch_dir not in inside.parents:
            raise RequestError(
                f"{printable(path, 1000)} is not below the scratch folder {scratch_dir}.",
                next_step="Name a file or folder below it, or set SCRATCH_DIR.",
                path=str(path),
            )
        return inside


class _Peak:
    def __init__(self, used_bytes: int) -> None:
        self.used_bytes = used_bytes
