"""What telemetry costs: `run()` measures in processes of its own; run this as a module to see the figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import telemetry
from telemetry import catalog
from telemetry.engine.settings import Settings
from tests.telemetry import collector as endpoints

ROUNDS = 9
STEP_ROUNDS, STEPS = 400, 50
"""Rounds so short that most of them run through, even while others want the cores."""

_STEP = """
import json, os, sys, time
import telemetry.engine.otlp
from telemetry import catalog, observe, to_stdout
from telemetry.engine.settings import Settings
from telemetry.engine.steps import Call

class Nowhere:
    def __init__(self, settings): self.send = len

telemetry.engine.otlp.Endpoint = Nowhere

def once():
    with observe(catalog.WRITE_COMPONENT, store="s3", key="model_artifacts/model-0123456789ab/x.zip") as step:
        step.add(bytes_written=123456789, parts=12, retries=0)

def call():
    now = time.time_ns()
    about = {f"some.attribute.{n}": "some value of a call" for n in range(12)}
    for record in step.recorders.calls:
        record(step, Call("S3.UploadPart", now, now + 1000, about))

def bare():
    for _ in range(2):
        os.write(1, json.dumps({f"some_key_{n}": "some value of a line" for n in range(12)}).encode() + b"\\n")

def measure(call, flush=lambda: None):
    every = []
    for _ in range(int(sys.argv[1])):
        began = time.process_time()
        for _ in range(int(sys.argv[2])):
            call()
        every.append((time.process_time() - began) / int(sys.argv[2]) * 1e6)
        flush()
    return min(every)  # the others met somebody else's use of the same core

found = {"idle_us": measure(once), "bare_us": measure(bare)}
with to_stdout(Settings(traces_endpoint="http://localhost:1/v1/traces")) as pipeline:
    for _ in range(200):
        once()
    pipeline.flush()
    with observe(catalog.INVOKE_FUNCTION), observe(catalog.PACKAGE_TARGET):  # as in a run
        found["step_us"] = measure(once, pipeline.flush)
    with observe(catalog.WRITE_COMPONENT) as step:
        found["call_us"] = measure(call, pipeline.flush)
print(json.dumps(found), file=sys.stderr)
"""

_IMPORTS = """
import json, sys, time
import boto3
boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
began = time.process_time()
import telemetry.aws_lambda
from telemetry import to_stdout, observe, catalog
with to_stdout():
    pass
print(json.dumps({"ms": (time.process_time() - began) * 1e3, "aiohttp": "aiohttp" in sys.modules}), file=sys.stderr)
"""


_WRITE = """
import hashlib, sys, threading
from telemetry.engine.lines import LineWriter

def work(thread):
    for number in range(int(sys.argv[1]) // 8):
        name = f"{thread}-{number}-"
        wanted = 100_000 if number % 100 == 0 else int(hashlib.md5(name.encode()).hexdigest(), 16) % 12_000
        writer.write(name + "x" * (wanted - len(name)))

writer = LineWriter(1)
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

_READ = """
import hashlib, sys
good = set()
for line in sys.stdin:
    name, line = line.rstrip("x\\n"), line.rstrip("\\n")
    number = int(name.split("-")[1]) if name.count("-") == 2 and name.split("-")[1].isdigit() else -1
    wanted = 100_000 if number % 100 == 0 else int(hashlib.md5(name.encode()).hexdigest(), 16) % 12_000
    if number >= 0 and len(line) == max(wanted, len(name)):
        good.add(name)
print(len(good))
"""
LINES = 50_000


def _child(code: str, *arguments: str, **environ: str) -> dict[str, float]:
    """Run code with standard output in a real pipe to a real reader, as in Lambda; figures come on standard error."""
    with (
        tempfile.TemporaryFile("w+") as figures,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader,
    ):
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            stdout=reader.stdin,
            stderr=figures,
            env={**os.environ, **environ},
            cwd=Path(__file__).parents[2],
            check=True,
        )
        reader.stdin.close()
        figures.seek(0)
        return json.loads(figures.read().splitlines()[-1])


def _lines_broken() -> int:
    """Return how many of the lines of 8 threads did not arrive whole at the other end of a pipe."""
    reader = subprocess.Popen([sys.executable, "-c", _READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _WRITE, str(LINES)], stdout=reader.stdin, cwd=root, check=True)
    return LINES - int(reader.communicate()[0])


def _flush_ms() -> dict[str, float]:
    """Return what a flush of 100 spans costs against each bad endpoint, and how far its count of losses is off."""
    found, off = {}, 0
    with endpoints.swallowing() as black_hole, endpoints.crawling() as crawling:
        for name, endpoint in (("refused", endpoints.refusing()), ("black_hole", black_hole), ("crawling", crawling)):
            with tempfile.TemporaryDirectory() as folder:
                took_ms = []
                with telemetry.to_directory(
                    Path(folder), Settings(traces_endpoint=endpoint, dead_after=100)
                ) as pipeline:
                    for _ in range(ROUNDS):
                        for _ in range(100):
                            with telemetry.observe(catalog.PLAN_PACKAGE):
                                pass
                        began = time.perf_counter()
                        off += abs(100 - pipeline.flush())
                        took_ms.append((time.perf_counter() - began) * 1e3)
                found[f"flush_{name}_ms"] = round(statistics.median(took_ms), 1)
    return {**found, "flush_losses_miscounted": off}


def run() -> dict[str, float]:
    """Return processor time of a step (span, three metrics, log line) and of imports, and what flushes take."""
    recorded = _child(_STEP, str(STEP_ROUNDS), str(STEPS))
    sampled_out = _child(_STEP, str(STEP_ROUNDS), str(STEPS), OTEL_TRACES_SAMPLER="always_off")
    imports = [_child(_IMPORTS) for _ in range(ROUNDS)]
    return {
        "step_us": round(recorded["step_us"], 1),
        "step_sampled_out_us": round(sampled_out["step_us"], 1),
        # The span of one call of AWS, beside the step that makes it.
        "call_us": round(recorded["call_us"], 1),
        "step_unconfigured_us": round(recorded["idle_us"], 2),
        "step_to_bare_json_lines": round(recorded["step_us"] / recorded["bare_us"], 1),
        "imports_over_boto3_ms": round(statistics.median(found["ms"] for found in imports), 1),
        "aiohttp_imported": sum(found["aiohttp"] for found in imports),
        "lines_broken": _lines_broken(),
        **_flush_ms(),
    }


LIMITS = {
    "step_us": 50,
    "step_sampled_out_us": 40,
    "imports_over_boto3_ms": 160,
    "aiohttp_imported": 0,
    "lines_broken": 0,
    "flush_refused_ms": 300,
    "flush_black_hole_ms": 300,
    "flush_crawling_ms": 300,
    "flush_losses_miscounted": 0,
}
"""What each figure may be at most."""

if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<26}{value:>10}  at most {LIMITS.get(name, '-')}")
