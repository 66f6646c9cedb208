"""Speed and memory of the layout `files` by what the model comes in: `python -m tests.bench.containers [--mib N]`.

The same weights, one member of N MiB, in every container, beside the customer's layout on the tar.gz of the same run,
every strategy of the layout, and what people would use instead: bsdtar to a ZIP of level 1, and the program that does
no more than unpack. Each figure is the median of whole processes.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests import models
from tests.bench.runs import CommandFailedError, Run, measure
from tests.s3_servers import KEY_ID, SECRET, rclone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PACKAGER = str(Path(sys.executable).with_name("packager"))
MIB = 1 << 20
PEAK_MIB = 64
"""The mark of the customer's layout; besides, what unpacks xz and zstd takes its window, and S3 its client."""

MODEL_LAYOUT = "model layout, tar.gz"
STAGING = ("standard", "sequential", "partial")
LEVEL_1 = ("--options", "zip:compression-level=1")
UNPACKERS = {"tar.gz": "gzip -dc", "tar.xz": "xz -dc", "tar.zst": "zstd -dc", "tar.bz2": "bzip2 -dc", "zip": "unzip -p"}
WINDOWS_MIB = {"tar.xz": 8, "tar.zst": 8, "S3 prefix": 32}
OVER_MODEL_LAYOUT = 1.15
"""What the layout `files` may take of a tar.gz, by the time of the customer's layout."""


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.containers", description=__doc__)
    options.add_argument("--mib", type=int, default=256, help="size of the weights [default: %(default)s]")
    options.add_argument("--runs", type=int, default=3, help="runs of each [default: %(default)s]")
    options.add_argument("--level", type=int, default=10, help="lower the priority by this [default: %(default)s]")
    asked = options.parse_args()
    size_bytes = asked.mib * MIB
    os.nice(asked.level)
    with tempfile.TemporaryDirectory(prefix="bench-containers-") as folder:
        work = Path(folder)
        made = containers(work, size_bytes)
        trained = models.trained(work / "trained.tar.gz")
        compiled = f"jetson-xavier={made['tar.gz']}"
        bench = _Bench(work, asked.runs)
        rows = {MODEL_LAYOUT: bench.packager("--trained", str(trained), "--compiled", compiled)}
        rows |= {name: bench.files(path) for name, path in made.items()}
        rows |= {f"tar.gz, {name}": bench.files(made["tar.gz"], "--strategy", name) for name in STAGING}
        rows["S3 prefix"] = _of_prefix(bench, made["folder"])
        peers = {name: bench.peers(name, path) for name, path in made.items()}
    return _shown(rows, peers, size_bytes)


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


class _Bench:
    """Runs each command so many times; a peer that is missing, or cannot, has no runs."""

    def __init__(self, work: Path, runs: int) -> None:
        self._work = work
        self._runs = runs

    def packager(self, *options: str, environment: Mapping[str, str] | None = None) -> list[Run]:
        command = [PACKAGER, "package", *options, "--output", "components", "--quiet"]
        return self._taken(command, environment)

    def files(self, model: Path | str, *options: str, environment: Mapping[str, str] | None = None) -> list[Run]:
        named = ("--layout", "files", "--name", "n", "--version", "1.0.0", "--model", str(model))
        return self.packager(*named, *options, environment=environment)

    def peers(self, name: str, path: Path) -> dict[str, list[Run]]:
        source = ["-C", str(path), "."] if path.is_dir() else [f"@{path}"]
        commands = {"bsdtar": ["bsdtar", "-c", "--format", "zip", *LEVEL_1, "-f", "out.zip", *source]}
        if program := UNPACKERS.get(name):
            commands["unpacking alone"] = ["sh", "-c", f'exec {program} "$0" > /dev/null', str(path)]
        found = {}
        for peer, command in commands.items():
            try:
                found[peer] = self._taken(command) if shutil.which(command[0]) else []
            except CommandFailedError:
                found[peer] = []
        return found

    def _taken(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[Run]:
        return [measure(command, self._work, environment) for _ in range(self._runs)]


def _of_prefix(bench: _Bench, folder: Path) -> list[Run]:
    """The files of the folder as objects, served by rclone on this machine; none where it is not installed."""
    if not shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])):
        return []
    buckets = folder.parent / "buckets"
    shutil.copytree(folder, buckets / "models" / "m", copy_function=os.link)
    with rclone(buckets) as server:
        given = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        return bench.files("s3://models/m/", "--endpoint-url", server.endpoint_url, environment=given)


def _shown(rows: dict[str, list[Run]], peers: dict[str, dict[str, list[Run]]], size_bytes: int) -> int:
    print("| model | MiB/s | CPU s | peak MiB | bsdtar MiB/s | unpacking alone MiB/s | mark |")
    print("|---" * 7 + "|")
    base_s = median(run.wall_s for run in rows[MODEL_LAYOUT])
    missed = 0
    for name, runs in rows.items():
        if not runs:
            print(f"| {name} | not installed | | | | | |")
            continue
        wall_s, peak_mib = median(run.wall_s for run in runs), max(run.peak_bytes for run in runs) / MIB
        most_mib = PEAK_MIB + WINDOWS_MIB.get(name, 0)
        slow = name == "tar.gz" and wall_s > base_s * OVER_MODEL_LAYOUT
        staged = name.startswith("tar.gz, ")
        missed += (failed := peak_mib > most_mib or slow or (not staged and any(run.scratch_bytes for run in runs)))
        beside = [_speed(peers.get(name, {}).get(peer, []), size_bytes) for peer in ("bsdtar", "unpacking alone")]
        figures = f"{_speed(runs, size_bytes)} | {median(run.cpu_s for run in runs):.1f} | {peak_mib:.0f}"
        mark = f"at most {most_mib} MiB{'' if staged else ', no scratch'}"
        print(f"| {name} | {figures} | {' | '.join(beside)} | {'MISSED: ' if failed else ''}{mark} |")
    return int(missed > 0)


def _speed(runs: Sequence[Run], size_bytes: int) -> str:
    return f"{size_bytes / MIB / median(run.wall_s for run in runs):.0f}" if runs else ""


if __name__ == "__main__":
    sys.exit(main())
