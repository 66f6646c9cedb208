"""Whole processes, measured from outside: time, processor time, peak memory, and what they leave in scratch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LAUNCH = Path(__file__).with_name("launch.py")
_LOOKS_EVERY_S = 0.05


@dataclass(frozen=True)
class Run:
    """What one process took. `scratch_bytes` is the most that lay in its scratch folder, seen every 50 ms."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    scratch_bytes: int
    out_bytes: int


class CommandFailedError(Exception):
    """A measured command failed: there is nothing to compare."""


def measure(command: Sequence[str], work: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run the command with `work/out` as current folder and `work/scratch` for temporary files; both begin empty."""
    out, scratch = work / "out", work / "scratch"
    for folder in (out, scratch):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    figures = work / "figures.json"
    # Bytecode is kept, as pip leaves it: compiling the source anew at every start is no part of what is measured.
    environment = {**os.environ, **(environment or {}), "TMPDIR": str(scratch), "SCRATCH_DIR": str(scratch)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with _Watch(scratch) as watch, (work / "log").open("w+b") as log:
        subprocess.run(
            [sys.executable, "-I", "-S", _LAUNCH, figures, *command],
            cwd=out,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    taken = json.loads(figures.read_text())
    if status := taken.pop("status"):
        text = (work / "log").read_text(errors="replace")
        raise CommandFailedError(f"exit status {status} of {' '.join(map(str, command))}:\n{text[-2000:]}")
    return Run(**taken, scratch_bytes=watch.most_bytes, out_bytes=size_below(out))


def size_below(folder: Path) -> int:
    """Bytes of the files below a folder that somebody else may be changing."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  20,000 paths every 50 ms
            except FileNotFoundError:
                continue


class _Watch:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most_bytes = 0

    def __enter__(self) -> Self:
        self._untouched = self._folder.stat().st_mtime_ns
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._folder.stat().st_mtime_ns != self._untouched:
            self.most_bytes = max(self.most_bytes, 1)  # something was there between two looks

    def _look(self) -> None:
        while not self._over.wait(_LOOKS_EVERY_S):
            if self._folder.stat().st_mtime_ns != self._untouched:
                self.most_bytes = max(self.most_bytes, size_below(self._folder))
