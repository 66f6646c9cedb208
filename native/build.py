"""Build the compiled half of packager/core, for each platform, with the C compiler that comes inside a wheel.

uv run --no-project --with ziglang==0.17.1 native/build.py [FOLDER]

The same source gives the same files, byte for byte, on any machine. For another platform, or with another compiler,
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
# On Linux no C library is linked: glibc and musl both have the two functions that are needed.
TARGETS = {
    "linux-x86_64": ["-target", "x86_64-linux-gnu.2.17", "-nostdlib", "-s"],
    "linux-aarch64": ["-target", "aarch64-linux-gnu.2.17", "-nostdlib", "-s"],
    "darwin-x86_64": ["-target", "x86_64-macos.11.0", "-s", "-Wl,-install_name,native.so"],
    "darwin-arm64": ["-target", "aarch64-macos.11.0", "-s", "-Wl,-install_name,native.so"],
}


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
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = [*FLAGS, f'-DSOURCE="{source_digest()}"', *SOURCES[1:], "-o", str(path)]
        subprocess.run([*command, *arguments], cwd=HERE, check=True)  # noqa: S603  a compiler on our own source
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "packager" / "core")
