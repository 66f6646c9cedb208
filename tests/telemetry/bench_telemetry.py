"""What telemetry costs: `run()` measures in processes of its own; run this as a module to see the figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS, STEPS = 9, 2000

_STEP = """
import json, os, sys, time, statistics
from telemetry import catalog, observe, to_stdout
from telemetry.settings import Settings
from telemetry import configure

class Nowhere:
    def export(self, spans): return 0
    def shutdown(self): pass

import telemetry.otlp
from opentelemetry.sdk.trace.export import SpanExportResult
Nowhere.export = lambda self, spans: SpanExportResult.SUCCESS
telemetry.otlp._exporter = lambda settings: Nowhere()

def once():
    with observe(catalog.WRITE_COMPONENT, store="s3", key="model_artifacts/model-0123456789ab/x.zip") as step:
        step.add(bytes_written=123456789, parts=12, retries=0)

def measure(rounds, steps, flush):
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(steps):
            once()
        times.append((time.perf_counter() - began) / steps * 1e6)
        flush()
    return statistics.median(times)

rounds, steps = map(int, sys.argv[1:])
idle = measure(rounds, steps, lambda: None)
with to_stdout(Settings(traces_endpoint="http://localhost:1/v1/traces")) as pipeline:
    for _ in range(200): once()
    pipeline.flush()
    on = measure(rounds, steps, pipeline.flush)
print(json.dumps({"idle_us": idle, "step_us": on}), file=sys.stderr)
"""

_IMPORTS = """
import json, sys, time
import boto3
boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
began = time.perf_counter()
import telemetry.lambda_runtime
from telemetry import to_stdout, observe, catalog
with to_stdout():
    pass
print(json.dumps({"ms": (time.perf_counter() - began) * 1e3, "aiohttp": "aiohttp" in sys.modules}), file=sys.stderr)
"""


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


def run() -> dict[str, float]:
    """Return medians: microseconds of one step (span, three metrics, log line), and milliseconds of imports."""
    recorded = _child(_STEP, str(ROUNDS), str(STEPS))
    sampled_out = _child(_STEP, str(ROUNDS), str(STEPS), OTEL_TRACES_SAMPLER="always_off")
    imports = [_child(_IMPORTS) for _ in range(ROUNDS)]
    return {
        "step_us": round(recorded["step_us"], 1),
        "step_sampled_out_us": round(sampled_out["step_us"], 1),
        "step_unconfigured_us": round(recorded["idle_us"], 2),
        "imports_over_boto3_ms": round(statistics.median(found["ms"] for found in imports), 1),
        "aiohttp_imported": sum(found["aiohttp"] for found in imports),
    }


LIMITS = {"step_us": 80, "step_sampled_out_us": 40, "imports_over_boto3_ms": 160, "aiohttp_imported": 0}

if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<24}{value:>10}  at most {LIMITS.get(name, '-')}")
