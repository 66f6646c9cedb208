"""Put small faults into the source, one at a time, and count how many of them the module's direct tests notice.

python -m tests.mutation --count 200 --seed 7 [--module packager/core/tar.py] [--write]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.mutation.mutants import Mutant, Source

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutation: begin -->", "<!-- mutation: end -->"
TOPS = ("packager", "telemetry", "dashboards", "infra")
TIME_OUT_S = 600

EQUIVALENT: dict[tuple[str, str, str], str] = {}
"""Mutants that change nothing anybody could see, by module, old and new text, with the reason."""


class Outcome(NamedTuple):
    """What became of one mutant."""

    module: str
    mutant: Mutant
    killed: bool


def direct_tests(module: str) -> list[str]:
    """The tests that are a module's own: the file of its name, or else the folder that mirrors its room."""
    path = Path(module)
    own = ROOT / "tests" / path.parent / f"test_{path.stem}.py"
    folder = own.parent
    while not folder.is_dir():
        folder = folder.parent
    return [str((own if own.is_file() else folder).relative_to(ROOT))]


def sample(modules: list[str], count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Mutants of all modules, as many of each as its share of all there are, at least one."""
    sources = {module: Source((ROOT / module).read_text()) for module in modules}
    total = sum(len(each.mutants) for each in sources.values())
    drawn = [
        (module, mutant)
        for module, source in sources.items()
        for mutant in source.sample(max(1, round(count * len(source.mutants) / max(1, total))), seed)
    ]
    random.Random(seed).shuffle(drawn)
    return drawn


def passes(copy: Path, tests: list[str]) -> bool:
    """Whether the tests pass in a copy of the checkout, with modules of the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False, timeout=TIME_OUT_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def tried(copy: Path, module: str, mutant: Mutant) -> Outcome:
    path = copy / module
    whole = path.read_text()
    path.write_text(Source(whole).mutated(mutant))
    try:
        return Outcome(module, mutant, killed=not passes(copy, direct_tests(module)))
    finally:
        path.write_text(whole)


def table(outcomes: list[Outcome], seed: int) -> str:
    killed = Counter(each.module for each in outcomes if each.killed)
    total = Counter(each.module for each in outcomes)
    rows = [f"| `{module}` | {killed[module]} of {total[module]} |" for module in sorted(total)]
    whole = f"{sum(killed.values())} of {len(outcomes)} mutants killed by direct tests, seed {seed}."
    return "\n".join([whole, "", "| module | killed |", "|---|---|", *rows])


def write(text: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="mutants in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", action="append", help="only this module, or all below this folder; repeatable")
    parser.add_argument("--write", action="store_true", help=f"write the scores to {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args()
    modules = [
        str(path.relative_to(ROOT))
        for top in TOPS
        for path in sorted((ROOT / top).rglob("*.py"))
        if not asked.module or any(str(path.relative_to(ROOT)).startswith(each) for each in asked.module)
    ]
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder, "checkout")
        unwanted = shutil.ignore_patterns(".git", ".venv", "*_cache", "__pycache__", "build", "dist", "demo-output")
        shutil.copytree(ROOT, copy, ignore=unwanted)
        outcomes = []
        for module, mutant in sample(modules, asked.count, asked.seed):
            if (module, mutant.old, mutant.new) in EQUIVALENT:
                continue
            outcome = tried(copy, module, mutant)
            outcomes.append(outcome)
            said = "killed" if outcome.killed else "SURVIVED"
            print(f"{said} {module}:{mutant.line} {mutant.kind}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(table(outcomes, asked.seed))
    if asked.write:
        write(table(outcomes, asked.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
