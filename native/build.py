"""Build the compiled half of packager/core, for both processors, with the C compiler that comes inside a wheel.

uv run --no-project --with ziglang==0.17.1 native/build.py [FOLDER]

The same source gives the same files, byte for byte, on any machine. Elsewhere than on Linux, or with another compiler,
`CC=cc native/build.py` builds for the machine at hand; the components are the same.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("native.h", "inflate.c", "deflate.c")
FLAGS = ["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
COMPILER = "ziglang==0.17.1"
MACHINES = ("x86_64", "aarch64")
# No C library is linked: whichever the interpreter runs on has the two functions that are needed.
TARGETS = {f"linux-{each}": ["-target", f"{each}-linux-gnu.2.17", "-nostdlib", "-s"] for each in MACHINES}


def source_digest() -> str:
    """SHA-256 of the source, which stands in every file that is built."""
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in SOURCES)).hexdigest()


def commands() -> dict[str, list[str]]:
    """The compiler and its first arguments, by platform."""
    if compiler := os.environ.get("CC"):
        return {f"{sys.platform}-{platform.machine()}".lower(): shlex.split(compiler)}
    return {name: [sys.executable, "-m", "ziglang", "cc", *flags] for name, flags in TARGETS.items()}


def build(folder: Path) -> None:
    for name, command in commands().items():
        path = folder.absolute() / f"native-{name}.so"
        arguments = [*FLAGS, f'-DSOURCE="{source_digest()}"', *SOURCES[1:], "-o", str(path)]
        subprocess.run([*command, *arguments], cwd=HERE, check=True)  # noqa: S603  a compiler on our own source
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "packager" / "core")
