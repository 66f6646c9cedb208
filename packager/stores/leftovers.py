"""Removing what killed runs left half-written, one by one, each failure a line in the log and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from packager.errors import printable
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Leftover = TypeVar("Leftover")


def remove_leftovers(leftovers: Sequence[Leftover], remove: Callable[[Leftover], int]) -> int:
    """How many were gone over; `remove` gives the bytes freed, 0 for none, and may raise. Nothing to do is no step."""
    if not leftovers:
        return 0
    failures = []
    with observe(catalog.CLEAN_UP, reason="sweep") as step:
        freed_bytes = 0
        for each in leftovers:
            try:
                freed_bytes += remove(each)
            except Exception as error:  # noqa: BLE001  the others have to be swept too, and the work has to begin
                failures.append({"path": printable(each), "cause": printable(error)})
                log("warning", "a leftover could not be swept", **failures[-1])
        removed = len(leftovers) - len(failures)
        step.add(freed_bytes=freed_bytes, removed=removed, left=len(failures), left_paths=failures)
    return removed
