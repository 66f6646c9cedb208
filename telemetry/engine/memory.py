"""How much memory the process held at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def forget_peak() -> None:
    """Begin a new peak, where the system lets a process do that (Linux: proc_pid_clear_refs(5))."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return  # the peak is then that of the whole process: higher, never lower


def peak_memory_bytes() -> int:
    """Return the most resident memory since `forget_peak`, or of the whole process where that is not known."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
