"""Run one command and say what it took; run with `python -I -S`, so that this process stays small.

A process begins with the peak memory of the one that started it, so nothing large may start what is measured.
"""

import json
import os
import subprocess
import sys
import time

began = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
wall_s = time.perf_counter() - began
with open(sys.argv[1], "w") as file:  # noqa: PTH123  pathlib would double the memory of this process
    json.dump(
        {
            "wall_s": wall_s,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss << 10,
            "status": os.waitstatus_to_exitcode(status),
        },
        file,
    )
