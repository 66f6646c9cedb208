"""Package again and again in one process, and print how it grew: `growth_probe ENDPOINT BUCKET SCRATCH RUNS`.

Growth from the end of the first third to the end of the last: of live objects of Python, of bytes that malloc has given
out and not got back, of open files and of threads; and of resident memory, the highest of the last third against the
highest before. Resident memory goes up and down by some MiB with what malloc keeps for the next buffers, so what leaks
shows in the others first.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path

import psutil

from packager.packaging import package
from packager.settings import Settings

_NAMES = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class _Malloc(ctypes.Structure):
    """What glibc says of its heap: https://man7.org/linux/man-pages/man3/mallinfo.3.html"""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


_libc = ctypes.CDLL(None)
_libc.mallinfo2.restype = _Malloc


def resident_bytes() -> int:
    gc.collect()
    _libc.malloc_trim(0)  # what is free counts for nothing
    return int(psutil.Process().memory_info().rss)


def live() -> dict[str, int]:
    malloc, process = _libc.mallinfo2(), psutil.Process()
    return {
        "objects": sys.getallocatedblocks(),
        "bytes": malloc.uordblks + malloc.hblkhd,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


def main(endpoint_url: str, bucket: str, scratch: str, runs: str) -> None:
    resident, found, failed = [], [], 0
    for number in range(int(runs)):
        name, strategy = ("small", "standard") if number % 2 else ("parts", "streaming")
        result = package(
            f"s3://{bucket}/trained.tar.gz",
            {"arm64-cpu": f"s3://{bucket}/{name}.tar.gz"},
            f"s3://{bucket}/again",
            endpoint_url=endpoint_url,
            settings=Settings(scratch_dir=Path(scratch)),
            strategy=strategy,
            force=True,
        )
        failed += not result.succeeded
        resident.append(resident_bytes())
        if number + 1 in {int(runs) // 3, int(runs)}:
            found.append(live())
    last_third = len(resident) * 2 // 3
    grown = {name: found[1][name] - found[0][name] for name in found[0]}
    print(json.dumps({"failed": failed, "resident": max(resident[last_third:]) - max(resident[:last_third]), **grown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
