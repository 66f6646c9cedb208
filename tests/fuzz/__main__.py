"""Fuzz the readers of what outsiders give us: `python -m tests.fuzz [--seconds N] [--seed N] [TARGET...]`.

Prints executions by target. What fails is kept below build/fuzz; mended, it moves into tests/fuzz/corpus.
`tests.fuzz.steered` fuzzes the same targets under atheris.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz.targets import TARGETS, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

FOUND = Path("build/fuzz")
SLOW_S = 5.0
"""Processor time of one execution that counts as a failure: inputs have kilobytes."""


def fuzz(name: str, seconds: float, seed: int) -> tuple[int, int]:
    """Executions, and failures in different places, of one target."""
    target, random = TARGETS[name], Random(f"{name} {seed}")
    seeds = target.seeds()
    failures = {failure for data in seeds if (failure := _failure(name, target, data))}
    executions = len(seeds)
    until = time.process_time() + seconds
    while time.process_time() < until:
        failures.add(_failure(name, target, target.mutate(random, seeds)))
        executions += 1
    return executions, len(failures - {""})


def _failure(name: str, target: Target, data: bytes) -> str:
    """Where and how reading failed; empty when it did not. The first input of each kind is kept."""
    started = time.process_time()
    try:
        target.read(data)
    except Exception as error:  # noqa: BLE001  that is what is looked for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        failure = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {error!s:.150}"
        return _keep(name, data, f"{type(error).__name__} {frame.filename} {frame.lineno}", failure)
    took_s = time.process_time() - started
    return _keep(name, data, "slow", f"It took {took_s:.1f} s.") if took_s > SLOW_S else ""


def _keep(name: str, data: bytes, kind: str, failure: str) -> str:
    path = FOUND / name / hashlib.sha256(kind.encode()).hexdigest()[:16]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sys.stderr.write(f"{path}: {failure}\n")
    return kind


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=300, help="processor time, shared by the targets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    names = options.targets or list(TARGETS)
    all_executions = all_failures = 0
    for name in names:
        executions, failures = fuzz(name, options.seconds / len(names), options.seed)
        print(f"{name:<12} {executions:>9} executions {failures:>4} failures", flush=True)
        all_executions, all_failures = all_executions + executions, all_failures + failures
    print(f"{'all':<12} {all_executions:>9} executions {all_failures:>4} failures")
    return 1 if all_failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
