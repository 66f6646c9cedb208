"""Java's ZipFile, which devices unpack with, asked about many ZIPs by one process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCE = Path(__file__).parent.parent / "java" / "ReadZips.java"
READ_ALL = SOURCE.with_name("ReadZip.java")

Unpacked = list[tuple[int, int, str]]
"""Size, CRC-32 and name in hexadecimal of each file."""


class Java:
    """One running Java; `unpack` gives what it makes of a ZIP, or None where it refuses."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def unpack(self, path: Path) -> Unpacked | None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        files: Unpacked = []
        refused = False
        while line := self._process.stdout.readline().rstrip("\n"):
            if line.startswith("error"):
                refused = True
                continue
            size, crc, name = line.split(" ")
            files.append((int(size), int(crc), name))
        assert self._process.poll() is None, "Java ended"
        return None if refused else files


def running(folder: Path) -> Iterator[Java]:
    """Compile the reader into `folder` and run it; skips without Java."""
    if not shutil.which("javac"):
        pytest.skip("javac is not installed")
    subprocess.run(["javac", "-encoding", "UTF-8", "-d", folder, SOURCE], check=True, capture_output=True)
    command = ["java", "-Xshare:auto", "-Xmx256m", "-cp", str(folder), "ReadZips"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Java(process)
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=60)


Read = list[tuple[str, tuple[int, int]]]
"""Name, size and CRC-32 of each entry of a ZIP, in its order."""


def read_all(folder: Path, how: str, paths: Iterable[Path]) -> list[Read]:
    """What one Java reads of each ZIP, by the directory (`file`) or front to back (`stream`); fails where it refuses.

    The reader is compiled into `folder` unless it is there. Skips without Java.
    """
    if not shutil.which("javac"):
        pytest.skip("javac is not installed")
    if not (folder / "ReadZip.class").exists():
        subprocess.run(["javac", "-encoding", "UTF-8", "-d", folder, READ_ALL], check=True, capture_output=True)
    command = ["java", "-Xshare:auto", "-cp", str(folder), "ReadZip", how, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, (how, done.stderr[-500:])
    return [[_entry(line) for line in each.splitlines()] for each in done.stdout.decode().split("\n\n")[:-1]]


def _entry(line: str) -> tuple[str, tuple[int, int]]:
    size, crc, name = line.split(" ", 2)
    return name, (int(size), int(crc))
