"""Put small faults into the source, one at a time, and count how many of them the module's direct tests notice.

python -m tests.mutation --count 200 --seed 7 [--module packager/core/tar.py] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutation.direct import ROOT, TOPS, direct_tests
from tests.mutation.mutants import Mutant, Source

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutation: begin -->", "<!-- mutation: end -->"
UNHARMED_LIMIT_S = 900
LIMIT_S, LIMIT_TIMES = 20, 4
"""How long the tests may take with a mutant that may never end: so long, and so many times what they take without."""

EQUIVALENT: dict[tuple[str, str, str], str] = {}
"""Mutants that change nothing anybody could see, by module, old and new text, with the reason."""


class Outcome(NamedTuple):
    """What became of one mutant."""

    module: str
    mutant: Mutant
    killed: bool


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


class Bench:
    """A copy of the checkout, and the process that runs tests over it."""

    def __init__(self, folder: Path, checkout: Path = ROOT) -> None:
        self._copy = folder / "checkout"
        self._whole: dict[str, dict[str, Any]] = {}
        unwanted = shutil.ignore_patterns(".git", ".venv", "*_cache", "__pycache__", "build", "dist", "demo-output")
        shutil.copytree(checkout, self._copy, ignore=unwanted)
        (folder / "tmp").mkdir()
        places = {"PYTHONPATH": str(self._copy), "TMPDIR": str(folder / "tmp")}
        self._runs = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("runs.py")],
            cwd=self._copy,
            env={**os.environ, **places},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._runs.kill()
        self._runs.communicate()

    def tried(self, module: str, mutant: Mutant, tests: list[str]) -> Outcome:
        whole = self.unharmed(tests)
        path = self._copy / module
        times = path.stat()
        text = path.read_text()
        path.write_text(Source(text).mutated(mutant))
        try:
            limit_s = LIMIT_S + LIMIT_TIMES * whole["s"]
            return Outcome(module, mutant, killed=not self._run(tests, limit_s, whole)["passed"])
        finally:
            path.write_text(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def unharmed(self, tests: list[str]) -> dict[str, Any]:
        """How long the tests take, each and all, without a mutant; raises when they fail."""
        key = " ".join(tests)
        if key not in self._whole:
            self._whole[key] = self._run(tests, UNHARMED_LIMIT_S)
            if not self._whole[key]["passed"]:
                raise SystemExit(f"Without any mutant, {key} fails; mend that first.")
        return self._whole[key]

    def _run(self, tests: list[str], limit_s: float, before: dict[str, Any] | None = None) -> dict[str, Any]:
        learned = before or {"took_s": {}, "libraries": []}
        asked = {"tests": tests, "limit_s": limit_s, **{key: learned[key] for key in ("took_s", "libraries")}}
        assert self._runs.stdin
        assert self._runs.stdout
        print(json.dumps(asked), file=self._runs.stdin, flush=True)
        return json.loads(self._runs.stdout.readline())


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
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder, closing(Bench(Path(folder))) as bench:
        outcomes = []
        for module, mutant in sample(modules, asked.count, asked.seed):
            if (module, mutant.old, mutant.new) in EQUIVALENT:
                continue
            outcome = bench.tried(module, mutant, direct_tests(module))
            outcomes.append(outcome)
            said = "killed" if outcome.killed else "SURVIVED"
            print(f"{said} {module}:{mutant.line} {mutant.kind}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(table(outcomes, asked.seed))
    if asked.write:
        write(table(outcomes, asked.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
