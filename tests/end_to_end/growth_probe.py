"""Package again and again in one process, and print how it grew: `growth_probe ENDPOINT BUCKET SCRATCH RUNS`.

Growth from the end of the first third to the end of the last: bytes of resident memory, open files and threads.
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


def held() -> tuple[int, int, int]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free counts for nothing
    process = psutil.Process()
    return process.memory_info().rss, process.num_fds(), process.num_threads()


def main(endpoint_url: str, bucket: str, scratch: str, runs: str) -> None:
    after_a_third, failed = (0, 0, 0), 0
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
        if number + 1 == int(runs) // 3:
            after_a_third = held()
    memory, files, threads = (now - then for now, then in zip(held(), after_a_third, strict=True))
    print(json.dumps({"failed": failed, "memory_bytes": memory, "files": files, "threads": threads}))


if __name__ == "__main__":
    main(*sys.argv[1:])
