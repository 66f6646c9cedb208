"""Fuzz one target with inputs steered towards code not reached yet: `python -m tests.fuzz.steered TARGET [SECONDS]`.

Needs `pip install atheris`, which is not among the requirements. Inputs that reach something new are kept below
build/fuzz/corpus, an input that fails as build/fuzz/TARGET-crash-...; mended, it moves into tests/fuzz/corpus.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["packager", "dashboards"]):  # everything would take minutes
    from tests.fuzz.targets import TARGETS

FOUND = Path("build/fuzz")
LARGEST_BYTES = 8192


def main(name: str, seconds: str = "300") -> None:
    """Fuzz, and end the process."""
    target = TARGETS[name]
    seeds = [seed for seed in target.seeds() if len(seed) <= LARGEST_BYTES]
    folder = FOUND / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
        """Bytes as libFuzzer changes them, or the shape of the format kept as our own fuzzing keeps it."""
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, most_bytes))
        return target.mutate(random, [data, random.choice(seeds)])[:most_bytes]

    limits = [f"-max_total_time={seconds}", f"-max_len={LARGEST_BYTES}", "-timeout=20", "-rss_limit_mb=2048"]
    options = ["fuzz", str(folder), *limits, f"-artifact_prefix={FOUND}/{name}-"]
    atheris.Setup(options, target.read, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
