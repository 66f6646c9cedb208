"""The same model packed by the programs that people pack with; each gives the bytes of a tar.gz."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from tests import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(40)
NOISE = bytes(range(256)) * 6000
FILES = {**dict(archives.compiled_files()), "sub/weights": NOISE, "sub/empty": b""}
"""What each of the makers packs."""


def run(*command: str | os.PathLike[str], cwd: Path, data: bytes | None = None) -> bytes:
    """Standard output of a program; skips where it is not installed."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, cwd=cwd, input=data, capture_output=True, check=True, timeout=120).stdout


def folder(root: Path) -> Path:
    """The model as files."""
    for name, data in FILES.items():
        path = root / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "model"


def sagemaker(root: Path) -> bytes:
    """As SageMaker's Python SDK does it: the folder is added under the name of the root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder(root), arcname=os.path.sep)
    return buffer.getvalue()


def python_without_name(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder(root), arcname="")
    return buffer.getvalue()


def macos(root: Path) -> bytes:
    """As bsdtar of macOS does it: companions, binary attributes in both dialects, Finder's files."""
    attributes = (
        (b"LIBARCHIVE.xattr.com.apple.provenance", b"AQIA"),
        (b"SCHILY.xattr.com.apple.provenance", b"\x01\x02\x00\xff"),
    )
    whole = b""
    for name, data in FILES.items():
        companion = str(PurePosixPath(name).with_name(f"._{PurePosixPath(name).name}")).encode()
        whole += archives.member(companion, APPLE_DOUBLE) + archives.pax(*attributes)
        whole += archives.member(name.encode(), data)
    junk = archives.member(b".DS_Store", b"Bud1") + archives.member(b"__MACOSX/._a", APPLE_DOUBLE)
    return archives.gz(archives.header(b"./", kind=b"5") + whole + junk + archives.END)


def gnu_tar(form: str) -> Callable[[Path], bytes]:
    return lambda root: run("tar", f"--format={form}", "-czf", "-", "-C", folder(root), ".", cwd=root)


def bsdtar(form: str) -> Callable[[Path], bytes]:
    return lambda root: run("bsdtar", f"--format={form}", "-czf", "-", "-C", folder(root), ".", cwd=root)


def busybox(root: Path) -> bytes:
    return run("busybox", "tar", "-czf", "-", "-C", folder(root), ".", cwd=root)


def seven_zip(root: Path) -> bytes:
    folder(root)
    run("7z", "a", "-ttar", root / "a.tar", "./model/*", cwd=root)
    run("7z", "a", "-tgzip", root / "a.tar.gz", root / "a.tar", cwd=root)
    return (root / "a.tar.gz").read_bytes()


def plain(root: Path) -> bytes:
    return run("tar", "-cf", "-", "-C", folder(root), ".", cwd=root)


def packed_by(*command: str) -> Callable[[Path], bytes]:
    return lambda root: run(*command, cwd=root, data=plain(root))


def zopfli(root: Path) -> bytes:
    path = root / "a.tar"
    path.write_bytes(plain(root))
    run("zopfli", "--i1", path, cwd=root)
    return path.with_name("a.tar.gz").read_bytes()


def bgzip(root: Path) -> bytes:
    """As bgzip does it: a gzip member for each 64 KiB, with its length in the header, and an empty one at the end."""
    data = plain(root)
    pieces = [data[at : at + 0xFF00] for at in range(0, len(data), 0xFF00)]
    return b"".join(map(_bgzf_block, [*pieces, b""]))


def _bgzf_block(data: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=-15)
    packed = packer.compress(data) + packer.flush()
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(packed) + 25)
    return head + packed + struct.pack("<LL", zlib.crc32(data), len(data))


MAKERS: dict[str, Callable[[Path], bytes]] = {
    "SageMaker's SDK": sagemaker,
    "Python with an empty name": python_without_name,
    "macOS": macos,
    **{f"GNU tar, {form}": gnu_tar(form) for form in ("v7", "oldgnu", "gnu", "ustar", "posix")},
    **{f"bsdtar, {form}": bsdtar(form) for form in ("pax", "ustar", "gnutar")},
    "busybox": busybox,
    "7-Zip": seven_zip,
    "pigz": packed_by("pigz", "-c"),
    "pigz -11": packed_by("pigz", "-11", "-c"),
    "zopfli": zopfli,
    "bgzip": bgzip,
}
