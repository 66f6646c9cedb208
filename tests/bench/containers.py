"""Speed and memory of the layout `files` by what the model comes in: `python -m tests.bench.containers [--mib N]`.

The same weights in every container, beside the customer's layout on the tar.gz of the same run. Each figure is the
median of three whole processes.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests import models
from tests.bench.runs import Run, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PACKAGER = str(Path(sys.executable).with_name("packager"))
MIB = 1 << 20
RUNS = 3
PEAK_MIB = 64
"""The mark of the customer's layout; what unpacks xz and zstd takes its window besides."""

WINDOWS_MIB = {"tar.xz": 8, "tar.zst": 8}
OVER_MODEL_LAYOUT = 1.15
"""What the layout `files` may take of a tar.gz, by the time of the customer's layout."""


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.containers", description=__doc__)
    options.add_argument("--mib", type=int, default=256, help="size of the weights [default: %(default)s]")
    size_bytes = options.parse_args().mib * MIB
    with tempfile.TemporaryDirectory(prefix="bench-containers-") as folder:
        work = Path(folder)
        made = containers(work, size_bytes)
        trained = models.trained(work / "trained.tar.gz")
        compiled = f"jetson-xavier={made['tar.gz']}"
        rows = {"model layout, tar.gz": _taken(["--trained", str(trained), "--compiled", compiled], work)}
        named = ["--layout", "files", "--name", "n", "--version", "1.0.0", "--model"]
        rows |= {name: _taken([*named, str(path)], work) for name, path in made.items()}
    return _shown(rows, size_bytes)


def containers(work: Path, size_bytes: int) -> dict[str, Path]:
    """A Neo artifact with weights of that size in each container."""
    gz = models.neo(work / "model.tar.gz", size_bytes)
    folder, tar = work / "folder", work / "model.tar"
    subprocess.run(["gzip", "-dc", gz], stdout=tar.open("wb"), check=True)
    folder.mkdir()
    subprocess.run(["tar", "-xf", tar, "-C", folder], check=True)
    made = {"tar.gz": gz, "tar": tar, "folder": folder}
    made["tar.xz"] = _packed(tar, "xz", lambda data: lzma.compress(data, preset=0))
    made["tar.bz2"] = _packed(tar, "bz2", bz2.compress)
    if zstd := shutil.which("zstd"):
        subprocess.run([zstd, "-q", "-1", tar, "-o", work / "model.tar.zst"], check=True)
        made["tar.zst"] = work / "model.tar.zst"
    made["zip"] = work / "model.zip"
    with zipfile.ZipFile(made["zip"], "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return made


def _packed(tar: Path, ending: str, pack: Callable[[bytes], bytes]) -> Path:
    path = tar.with_name(f"model.tar.{ending}")
    with tar.open("rb") as source, path.open("wb") as packed:
        while block := source.read(64 * MIB):
            packed.write(pack(block))
    return path


def _taken(options: Sequence[str], work: Path) -> list[Run]:
    command = [PACKAGER, "package", *options, "--output", "components", "--quiet"]
    return [measure(command, work) for _ in range(RUNS)]


def _shown(rows: dict[str, list[Run]], size_bytes: int) -> int:
    print(f"{'container':<22}{'MiB/s':>8}{'CPU s':>8}{'peak MiB':>10}   mark")
    base_s = median(run.wall_s for run in rows["model layout, tar.gz"])
    missed = 0
    for name, runs in rows.items():
        wall_s, peak_mib = median(run.wall_s for run in runs), max(run.peak_bytes for run in runs) / MIB
        most_mib = PEAK_MIB + WINDOWS_MIB.get(name, 0)
        slow = name == "tar.gz" and wall_s > base_s * OVER_MODEL_LAYOUT
        missed += (failed := peak_mib > most_mib or slow or any(run.scratch_bytes for run in runs))
        figures = f"{size_bytes / MIB / wall_s:>8.0f}{median(run.cpu_s for run in runs):>8.1f}{peak_mib:>10.0f}"
        print(f"{name:<22}{figures}   {'MISSED' if failed else f'at most {most_mib} MiB, no scratch'}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
