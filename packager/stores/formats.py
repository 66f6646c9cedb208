"""What a file is that is called a tar.gz and is none, told by its first bytes, with the command that makes it one."""

from __future__ import annotations

import re
import shlex
import zlib
from posixpath import basename
from typing import NamedTuple

from packager.errors import ExtractionError, printable
from packager.stores.standard_streams import STREAM

HEAD_BYTES = 1 << 12
"""How much of a file tells."""

GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 512
_FETCH_AGAIN = "Fetch or upload the artifact again, and look at it with `file` first."


class Format(NamedTuple):
    """What a file is, for people, and what makes a tar.gz of it. `{file}` in the command stands for its name.

    The tar.gz is called `repacked.tar.gz`: the file itself is often `model.tar.gz`, and would be emptied first.
    """

    name: str
    next_step: str

    def step_for(self, uri: str) -> str:
        """The next step for the file at `uri`, ready for a shell."""
        return self.next_step.format(file=shlex.quote(printable(basename(uri.rstrip("/")))))


_ZIP = Format(
    "a ZIP",
    "Unpack it, and pack what is inside: unzip ./{file} -d model && tar -czf repacked.tar.gz -C model . (a PyTorch "
    "file is a ZIP too: pack it together with the files around it).",
)
_TAR = Format("a tar archive that is not compressed", "Compress it: gzip -c < {file} > repacked.tar.gz")
LFS_POINTER = Format("a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull")
_ONNX = Format(
    "a bare ONNX model", "Pack it: mkdir model && cp ./{file} model/model.onnx && tar -czf repacked.tar.gz -C model ."
)


def _compressed(name: str, program: str) -> Format:
    return Format(
        f"compressed with {name}", f"Compress it with gzip instead: {program} -dc < {{file}} | gzip > repacked.tar.gz"
    )


_MAGIC = (
    (b"PK\x03\x04", _ZIP),
    (b"PK\x05\x06", _ZIP),
    (b"\xfd7zXZ\x00", _compressed("xz", "xz")),
    (b"\x28\xb5\x2f\xfd", _compressed("zstd", "zstd")),
    (b"BZh", _compressed("bzip2", "bzip2")),
    (b"\x04\x22\x4d\x18", _compressed("lz4", "lz4")),
    (GZIP_MAGIC, _compressed("gzip", "gzip")),
    (b"\x1f\x9d", _compressed("compress", "gzip")),
    (
        b"7z\xbc\xaf\x27\x1c",
        Format("a 7z archive", "Unpack it, and pack what is inside: tar -czf repacked.tar.gz -C model ."),
    ),
    (b"version https://git-lfs", LFS_POINTER),
    (b"\x7fELF", Format("a bare library", "Pack it with the files around it: tar -czf repacked.tar.gz -C model .")),
    (b"\x80\x02", Format("a pickle", "Pack it with the files around it: tar -czf repacked.tar.gz -C model .")),
)
_TEXTS = (
    (b"<!doctype html", Format("an HTML page", f"It may be the answer of a sign-in page. {_FETCH_AGAIN}")),
    (b"<html", Format("an HTML page", f"It may be the answer of a sign-in page. {_FETCH_AGAIN}")),
    (b"<?xml", Format("an XML document", f"It may be S3's answer to a request that failed. {_FETCH_AGAIN}")),
    (b"<error>", Format("an XML document", f"It may be S3's answer to a request that failed. {_FETCH_AGAIN}")),
    (b"{", Format("a JSON document", _FETCH_AGAIN)),
)


_ONNX_VERSIONS = tuple(bytes([version]) for version in range(1, 33))
_ONNX_FIELDS = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")  # 2 to 8: strings but 5, a number


def recognized(head: bytes) -> Format | None:
    """The format of a file that begins with `head` and is no tar.gz; None for gzip of a tar, and for what is not known.

    Gzip of something else is told by what is inside.
    """
    if not head.startswith(GZIP_MAGIC):
        return _known(head)
    inside = _known(_inflated(head))
    return _of_gzip(inside) if inside and inside != _TAR else None


_CONTAINERS = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x50\x2a\x4d\x18", "zstd"),  # a frame to be skipped, which `pzstd` begins with
    (b"BZh", "bzip2"),
    (GZIP_MAGIC, "gzip"),
)


def container(head: bytes) -> str:
    """The kind of archive that begins with `head`: tar, zip, or what a tar is compressed with; empty for others."""
    if _known(head) is _TAR:
        return "tar"
    return next((name for magic, name in _CONTAINERS if head.startswith(magic)), "")


_PROGRAMS = frozenset({"gzip", "bzip2", "xz", "zstd"})
"""Kinds of compression, by the program that also takes them off."""


def packed_file(head: bytes, uri: str) -> ExtractionError | None:
    """The error for one file, no tar, in a compression that it has to be taken out of; None for anything else."""
    name = container(head)
    if name not in _PROGRAMS:
        return None
    packed = printable(basename(uri))
    unpacked = re.sub(r"\.(gz|tgz|bz2|xz|zst|tar)$", "", packed, flags=re.IGNORECASE)
    return ExtractionError(
        f"This is one file that is compressed with {name}, or damaged: there is no tar in it.",
        next_step="Unpack it to a file whose name says what it is, and give that as the model."
        if uri == STREAM
        else f"Unpack it, and give what comes out as the model: {name} -dc < {shlex.quote(packed)} > "
        f"{shlex.quote(unpacked if unpacked != packed else f'{packed}.unpacked')}",
        format=name,
    )


def _known(head: bytes) -> Format | None:
    if not head:
        return Format("empty", _FETCH_AGAIN)
    if head[257:262] == b"ustar" or _is_old_tar(head[:_BLOCK_BYTES]):
        return _TAR
    if _is_onnx(head):
        return _ONNX
    text = head[:100].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    found = [known for magic, known in _MAGIC if head.startswith(magic)]
    return next(iter(found + [known for begin, known in _TEXTS if text.startswith(begin)]), None)


def _of_gzip(inside: Format) -> Format:
    return Format(
        f"compressed with gzip, but inside it is {inside.name}",
        f"Take the gzip off first: gunzip -c < {{file}} > unpacked. Then: {inside.next_step.format(file='unpacked')}",
    )


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b"\0"  # damaged: nothing is known of what was inside


def _is_old_tar(block: bytes) -> bool:
    """Whether it is a tar header from before POSIX, which has no magic but its checksum."""
    digits = block[148:156].strip(b" \0")
    if len(block) < _BLOCK_BYTES or not digits.isdigit() or {*digits} & {*b"89"}:
        return False
    return int(digits, 8) == sum(block) - sum(block[148:156]) + 8 * 0x20


def _is_onnx(head: bytes) -> bool:
    """Whether it begins as ONNX's ModelProto is written: field 1, a small version, then a field of a known number."""
    return head[:1] == b"\x08" and head[1:2] in _ONNX_VERSIONS and head[2:3] in _ONNX_FIELDS
