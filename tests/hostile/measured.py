"""A call in a process of its own: what became of it, how long it took, how much memory it added."""

from __future__ import annotations

import multiprocessing
import re
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_S, MOST_BYTES = 20, 200 << 20
"""What a hostile input may take, in processor time and in anonymous memory."""


@dataclass(frozen=True)
class Measured:
    """`outcome` is what the call returned, or the traceback of what it raised."""

    outcome: Any
    cpu_s: float
    added_bytes: int

    def assert_cheap(self) -> None:
        assert self.cpu_s < MOST_S, self
        assert self.added_bytes < MOST_BYTES, self


def measured(call: Callable[..., Any], *arguments: Any) -> Measured:
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(sender, call, arguments))
    process.start()
    sender.close()
    try:
        return Measured(*receiver.recv())
    finally:
        process.join()


def _run(sender: Any, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = _status_bytes("RssAnon"), time.process_time()
    try:
        outcome = call(*arguments)
    except BaseException:  # noqa: BLE001  told to whoever asked
        outcome = traceback.format_exc()
    # The peak counts files too, which stay as they were.
    added = _status_bytes("VmHWM") - _status_bytes("RssFile") - before
    sender.send((outcome, time.process_time() - started, added))


def _status_bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10
