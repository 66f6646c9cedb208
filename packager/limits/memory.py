"""The memory limit of the process, and relief before it is reached: smaller buffers and garbage collection."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from packager.settings import Settings

RELIEVE_AT = 0.8
"""Share of the limit from which on memory is relieved."""
_CALLS_PER_MEASUREMENT = 16
_UNLIMITED_BYTES = 1 << 60  # version 1 of control groups writes "no limit" as the largest number of pages


class Buffers(Protocol):
    """Something that can work with fewer buffers."""

    def count(self) -> int:
        """How many buffers there are now."""

    def shrink(self) -> None:
        """Give back those that can be spared, soon; called in any thread, at any time."""


def memory_limit_bytes(settings: Settings, environment: Mapping[str, str], root: Path = Path("/")) -> int | None:
    """Memory the process may use: the setting, else Lambda's size of the function, else the control group's limit.

    None without a limit. `root` is where /proc and /sys are found.
    """
    if settings.memory_limit_bytes:
        return settings.memory_limit_bytes
    lambda_mb = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if lambda_mb.isdecimal():
        return int(lambda_mb) << 20
    limits = list(_control_group_limits(root))
    return min(limits, default=None)


def _control_group_limits(root: Path) -> Iterator[int]:
    """The limits of the process's control group and of those above it, in either version: cgroups(7)."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            text = _text(folder / name).strip()
            if text.isdecimal() and int(text) < _UNLIMITED_BYTES:
                yield int(text)
            if folder == base:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def resident_bytes() -> int:
    """Memory of the process that is in RAM now; where that cannot be known, the most there ever was."""
    fields = _text(Path("/proc/self/statm")).split()
    if fields:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryMonitor:
    """Shrinks buffers and collects garbage when memory nears its limit. Cheap enough to ask before every block.

    The first relief comes at RELIEVE_AT of the limit, the next one half-way between what that left and the limit, and
    so on: what does not help must not be done for every block. Below RELIEVE_AT it begins anew. Any thread may ask.

    Attributes:
        reliefs: how many there were.
    """

    def __init__(self, limit_bytes: int | None, resident: Callable[[], int] = resident_bytes) -> None:
        self.limit_bytes = limit_bytes
        self.reliefs = 0
        self._resident = resident
        self._first_bytes = self._next_bytes = int((limit_bytes or 0) * RELIEVE_AT)
        self._calls = 0
        self._watched: list[Buffers] = []
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, buffers: Buffers) -> Iterator[None]:
        """Include these buffers in the relief while the block runs."""
        self._watched.append(buffers)
        try:
            yield
        finally:
            self._watched.remove(buffers)

    def relieve_if_needed(self) -> bool:
        """Measure memory at every sixteenth call and relieve it when that is due; return whether it was."""
        self._calls += 1
        if self.limit_bytes is None or self._calls % _CALLS_PER_MEASUREMENT or not self._lock.acquire(blocking=False):
            return False
        try:
            return self._relieve_above_threshold(self.limit_bytes)
        finally:
            self._lock.release()

    def _relieve_above_threshold(self, limit_bytes: int) -> bool:
        held_bytes = self._resident()
        if held_bytes < self._first_bytes:
            self._next_bytes = self._first_bytes
        if held_bytes < self._next_bytes:
            return False
        self._relieve(held_bytes, limit_bytes)
        left_bytes = self._resident()
        self._next_bytes = max(self._first_bytes, left_bytes + max((limit_bytes - left_bytes) // 2, limit_bytes // 100))
        return True

    def _relieve(self, held_bytes: int, limit_bytes: int) -> None:
        self.reliefs += 1
        watched = list(self._watched)
        with observe(catalog.RELIEVE_MEMORY, rss_bytes=held_bytes, limit_bytes=limit_bytes) as step:
            step.add(buffers_before=sum(each.count() for each in watched))
            for each in watched:
                each.shrink()
            step.add(collected=gc.collect(), buffers_after=sum(each.count() for each in watched))
