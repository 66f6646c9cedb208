"""Archives for tests, sound and hostile, and a slow reference for the ZIP that a sound one becomes; needs no pytest.

tgz = gz(tar([("compiled.so", b"code")]))
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zlib
from contextlib import closing
from functools import cache
from itertools import cycle, pairwise
from typing import TYPE_CHECKING

from packager.core.members import ArchiveReader
from packager.core.native import Packer
from packager.core.pipeline import zip_parts
from packager.core.zip import ZipEncoder
from packager.settings import Settings
from tests.deflate_reference import PIECE_BYTES, spliced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packager.core.pipeline import Lookahead
    from packager.stores import Reader

BLOCK = 512
END = bytes(2 * BLOCK)
"""The end-of-archive mark."""

AARCH64, X86_64 = 183, 62
"""Machines, by their numbers in ELF."""

STAGE = {"type": "mochi", "threshold": 1, "image_width": 8, "image_height": 8, "image_range_scale": 1, "normalize": 1}
MANIFEST = {
    "model_graph": {"model_graph_type": "single_stage_model_graph", "stages": [STAGE]},
    "input_shape": [1, 3, 8, 8],
}


class Chopped:
    """A Reader over bytes that gives at most the next of `sizes` at a time, over and over."""

    def __init__(self, data: bytes, sizes: Sequence[int] = (1 << 20,)) -> None:
        self._data = memoryview(data)
        self._sizes = cycle(sizes)
        self._at = 0

    def readinto(self, buffer: memoryview) -> int:
        piece = self._data[self._at : self._at + min(len(buffer), next(self._sizes))]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def read(self, size: int = -1) -> bytes:
        room = memoryview(bytearray(size if size >= 0 else len(self._data) - self._at))
        return bytes(room[: self.readinto(room)])


def gz(data: bytes, cuts: Iterable[int] = (), levels: Sequence[int] = (6,), padding: int = 0) -> bytes:
    """`data` as one gzip member for each piece between `cuts`, the levels in turn (0: stored), zeros behind."""
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    packed = [gzip.compress(piece, level, mtime=0) for piece, level in zip(pieces, cycle(levels), strict=False)]
    return b"".join(packed) + bytes(padding)


def tar(members: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Plain files as the standard library writes them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def header(
    name: bytes = b"file",
    size: int | bytes = 0,
    *,
    kind: bytes = b"0",
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
) -> bytes:
    """One header with the right checksum, whatever else is wrong with it; `size` may be its raw twelve bytes."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = struct.pack(
        "100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x",
        *(name, b"0000644\0", b"0000000\0", b"0000000\0", field, b"00000000000\0", b" " * 8, kind, link, magic),
        *(b"", b"", b"", b"", prefix),
    )
    return summed(block)


def summed(block: bytes) -> bytes:
    """A header block with its checksum put right."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes = b"file", data: bytes = b"data", **fields: bytes) -> bytes:
    """A file as it stands in a tar: header and padded content."""
    return header(name, len(data), **fields) + padded(data)


def extension(kind: bytes, data: bytes) -> bytes:
    """An extension header: `L` and `K` hold a long name or link target, `x` and `g` pax records."""
    return header(b"././@LongLink", len(data), kind=kind) + padded(data)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return extension(kind, b"".join(record(key, value) for key, value in records))


def record(key: bytes, value: bytes) -> bytes:
    """One pax record; its length counts its own digits too."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)


def base256(size: int) -> bytes:
    """A size as GNU tar writes what octal cannot hold."""
    return (1 << 95 | size).to_bytes(12, "big")


OUTSIDE = (
    "../evil",
    "a/../../evil",
    "a/../evil",
    "a/..",
    "..",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "./../evil",
    "a//..//..//evil",
    "..\\evil",
    "a\\..\\..\\evil",
    "\\\\host\\share",
    "C:evil",
    "1:evil",
    "c:/evil",
    "C:\\evil",
    "./C:evil",
    ".//./c:/evil",
    "\uff0e\uff0e/evil",  # full-width full stops
    "\u2025/evil",  # two dot leader
    "\u2024\u2024/evil",  # one dot leaders
    "a\uff0f..\uff0fevil",  # full-width solidus
    "\uff0fetc/passwd",
    "..\uff3cevil",  # full-width reverse solidus
    "a/\ufe52\ufe52/evil",  # small full stops
    "\uff23:evil",  # full-width C
    "C\uff1aevil",  # full-width colon
    "\uff0e/C:evil",
    "\u2100",  # account of: becomes a/c
)
"""Spellings of a path that leaves the root, or that some reader takes for one."""

UNPRINTABLE = (
    "a\x1b[2Jb",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x07",
    "a\x7fb",
    "a\x9bb",  # CSI in one character
    "a\u202eb",  # right-to-left override
    "a\u200bb",  # zero width space
    "a\u2028b",  # line separator
    "\ufeffa",
)
"""Names that would speak to a terminal or forge a line of a log."""


@cache
def damaged() -> dict[str, bytes]:
    """Archives that are broken or not archives, by what is wrong with them. Each is refused with an ExtractionError."""
    whole = tar([("a", b"a" * 600), ("b", b"b" * 600), ("c", b"c" * 600)])
    second = bytearray(whole)
    second[3 * BLOCK] ^= 1
    sound = gz(member() + END)
    return {
        "an empty file": b"",
        "not gzip": b"PK\x03\x04 not gzip at all" * 100,
        "gzip of nothing": gz(b""),
        "gzip of no tar": gz(b"What is this? " * 1000),
        "gzip of zeros": gz(b"\x01" + bytes(5000)),
        "rubbish behind": sound + b"rubbish",
        "a second gzip cut": sound + gz(b"more")[:-1],
        "zeros, then rubbish": sound + bytes(100) + b"rubbish",
        "a wrong gzip checksum": sound[:-8] + bytes([sound[-8] ^ 1]) + sound[-7:],
        "a wrong gzip length": sound[:-1] + b"\1",
        "no gzip trailer": sound[:-8],
        "half a gzip": sound[: len(sound) // 2],
        "a gzip header without end": b"\x1f\x8b\x08\x08" + bytes(6) + b"name" * 200_000,
        "no end mark": gz(member()),
        "one block of the end mark": gz(member() + bytes(BLOCK)),
        "half a header": gz(member() + header()[:100]),
        "cut inside a member": gz(member(data=b"d" * 5000)[:2000]),
        "an extension, then the end": gz(pax((b"path", b"a")) + END),
        "a damaged second header": gz(bytes(second)),
        "a wrong header checksum": gz(header()[:148] + b"0000000\0" + header()[156:] + END),
        "a checksum that is no number": gz(header()[:148] + b"zzzzzzz\0" + header()[156:] + END),
        "malformed pax: no length": gz(extension(b"x", b"path=a\n") + member() + END),
        "malformed pax: too long": gz(extension(b"x", b"999 path=a\n") + member() + END),
        "malformed pax: too short": gz(extension(b"x", b"3 path=a\n") + member() + END),
        "malformed pax: no newline": gz(extension(b"x", b"9 path=a.") + member() + END),
        "malformed pax: no equals sign": gz(extension(b"x", b"8 patha\n") + member() + END),
        "malformed pax: negative length": gz(extension(b"x", b"-9 path=a\n") + member() + END),
        "malformed pax: rubbish behind": gz(extension(b"x", record(b"path", b"a") + b"rubbish") + member() + END),
        "an empty pax path": gz(pax((b"path", b"")) + member() + END),
        "a NUL in a pax path": gz(pax((b"path", b"good\0/../evil")) + member() + END),
        "a NUL in a pax link target": gz(pax((b"linkpath", b"a\0b")) + header(kind=b"1") + END),
        **{f"the size {size!r}": gz(header(size=size) + END) for size in WRONG_SIZES},
    }


WRONG_SIZES = (
    b"0000000_010\0",
    b"+0000000010\0",
    b"-0000000010\0",
    b"0o000000010\0",
    b"0x000000010\0",
    b"00000000009\0",
    b"0000 000010\0",
    b"0000\x00000010\0",
    b"\xff" * 12,  # minus one in base 256
    b"\xff" * 4 + bytes(8),
    b"\x80" + b"\xff" * 11,  # 2**88 - 1
    b"\x81" + bytes(11),
    "\u0661".encode() * 6,  # a digit to Python's int
)


@cache
def unsafe() -> dict[str, bytes]:
    """Sound archives that must never become a component. Each is refused with an UnsafeArchiveError."""
    return {
        **{f"outside: {name!a}": gz(tar([("good", b"good"), (name, b"evil")])) for name in OUTSIDE},
        **{f"unprintable: {name!a}": gz(tar([("good", b"good"), (name, b"evil")])) for name in UNPRINTABLE},
        "outside by pax": gz(pax((b"path", b"../evil")) + member() + END),
        "outside by a GNU long name": gz(extension(b"L", b"../evil\0") + member() + END),
        "outside by the prefix": gz(member(b"evil", prefix=b"..") + END),
        "outside as a folder": gz(header(b"../evil/", kind=b"5") + END),
        "outside as a hard link": gz(member(b"a") + header(b"../evil", kind=b"1", link=b"a") + END),
        "not UTF-8": gz(member(b"\xff\xfe") + END),
        "not UTF-8 by pax": gz(pax((b"path", b"\xff")) + member() + END),
        "no name": gz(member(b"") + END),
        "only dots": gz(member(b"./.") + END),
        "a long segment": gz(tar([("a" * 256, b"")])),
        "a long path": gz(tar([("a/" * 1600 + "b", b"")])),
        "many combining characters": gz(tar([("a" + "\u0300\u0316" * 100_000, b"")])),
        "a symbolic link": gz(header(b"link", kind=b"2", link=b"/etc/passwd") + END),
        "a harmless symbolic link": gz(member(b"a") + header(b"link", kind=b"2", link=b"a") + END),
        **{f"a device of type {kind.decode()}": gz(header(b"dev", kind=kind) + END) for kind in (b"3", b"4", b"6")},
        **{f"the unknown type {kind!r}": gz(header(kind=kind) + END) for kind in (b"S", b"V", b"M", b"D", b"Z", b"8")},
        "a hard link forward": gz(header(b"link", kind=b"1", link=b"a") + member(b"a") + END),
        "a dangling hard link": gz(header(b"link", kind=b"1", link=b"nothing") + END),
        "a hard link to itself": gz(header(b"link", kind=b"1", link=b"link") + END),
        "a hard link to a folder": gz(header(b"d/", kind=b"5") + header(b"link", kind=b"1", link=b"d") + END),
        "a hard link outside": gz(header(b"link", kind=b"1", link=b"/etc/passwd") + END),
        "a hard link that climbs": gz(member(b"a") + header(b"link", kind=b"1", link=b"b/../a") + END),
        "a hard link with content": gz(member(b"a") + member(b"link", kind=b"1", link=b"a") + END),
        "a folder with content": gz(member(b"folder/", kind=b"5") + END),
        "a device with content": gz(member(b"dev", kind=b"3") + END),
        **{
            f"twice: {first} and {second}": gz(tar([(first, b"1"), (second, b"2")]))
            for first, second in (("a", "a"), ("./a", "a"), ("a", "a/."), ("a//b", "a/b"), ("a/b", "./a/./b"))
        },
        "a hard link over a file": gz(member(b"a") + header(b"a", kind=b"1", link=b"a") + END),
        "a file, then a folder": gz(member(b"a") + header(b"a/", kind=b"5") + END),
        "a folder, then a file": gz(header(b"a/", kind=b"5") + member(b"a") + END),
        "a file, then one below it": gz(tar([("a", b""), ("a/b", b"")])),
        "a file, then one far below it": gz(tar([("a", b""), ("a/b/c/d", b"")])),
        "a file below, then one above": gz(tar([("a/b/c", b""), ("a/b", b"")])),
        "a file far below, then one above": gz(tar([("a/b/c", b""), ("a", b"")])),
        "data behind the end mark": gz(member(b"a") + END + member(b"hidden") + END),
        "two archives in a row": gz(member(b"a") + END) + gz(member(b"hidden") + END),
        "a byte behind the end mark": gz(member(b"a") + END + bytes(9000) + b"\1"),
        "a pax size that hides a member": gz(
            pax((b"size", b"1024")) + header(b"a", 0) + member(b"hidden", b"x" * BLOCK) + END
        ),
        "a pax size that shows a member": gz(pax((b"size", b"0")) + member(b"a", member(b"hidden")) + END),
        "a pax size that is no number": gz(pax((b"size", b"1e3")) + member(b"a") + END),
        "a negative pax size": gz(pax((b"size", b"-1")) + member(b"a") + END),
        "a pax size of other digits": gz(pax((b"size", "\u0664".encode())) + member(b"a") + END),
        "a global name": gz(pax((b"path", b"a"), kind=b"g") + member(b"b") + END),
        "a global size": gz(pax((b"size", b"0"), kind=b"g") + member(b"b") + END),
        "two long names": gz(extension(b"L", b"a\0") + extension(b"L", b"b\0") + member() + END),
        "two pax headers": gz(pax((b"path", b"a")) + pax((b"path", b"b")) + member() + END),
        "a chain of extension headers": gz(pax((b"comment", b"a")) * 10_000 + member() + END),
        "a long name against pax": gz(pax((b"path", b"a")) + extension(b"L", b"b\0") + member() + END),
        "a sparse file by pax": gz(pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")) + member() + END),
        "a sparse map of a million": gz(
            pax((b"GNU.sparse.numblocks", b"1000000"), (b"GNU.sparse.map", b"1,1," * 200_000 + b"1,1")) + member() + END
        ),
    }


@cache
def bombs() -> dict[str, bytes]:
    """Archives that want more than the default limits allow. Each is refused with a LimitExceededError."""
    deep = (b"/".join([b"%d" % number, *[b"a"] * 1400]) for number in range(100))
    return {
        "a pax header of 64 MiB": gz(extension(b"x", bytes(64 << 20)) + member() + END, levels=(1,)),
        "a long name of 64 MiB": gz(extension(b"L", b"a" * (64 << 20)) + member() + END, levels=(1,)),
        "a pax header that says 2**80": gz(header(size=base256(1 << 80), kind=b"x") + END),
        "a file that says 2**60 bytes": gz(header(size=base256(1 << 60)) + END),
        "a pax size of 2**60": gz(pax((b"size", b"%d" % (1 << 60))) + header(size=0) + END),
        "deep folders": gz(b"".join(pax((b"path", name)) + member() for name in deep) + END, levels=(1,)),
        "too many members": gz(header(b"d", kind=b"5") * 100_001 + END, levels=(1,)),
    }


def hostile() -> dict[str, bytes]:
    """Every archive that must be refused, by what is wrong with it."""
    return {**damaged(), **unsafe(), **bombs()}


def trained_model(extra: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """A trained artifact with what a manifest is made of."""
    files = [
        ("config.yaml", b"dataset:\n  image_width: 8\n  image_height: 8\n"),
        ("mochi.json", b"{}"),
        ("export_artifacts/manifest.json", json.dumps(MANIFEST).encode()),
        ("export_artifacts/model.pt", b"weights"),
    ]
    return gz(tar([*files, *extra]))


def compiled_model(payload: bytes = b"weights" * 100) -> bytes:
    """A compiled artifact with the four files a device needs."""
    return gz(tar(compiled_files(payload)))


def compiled_files(payload: bytes = b"weights" * 100, machine: int = AARCH64) -> list[tuple[str, bytes]]:
    others = [(f"compiled.{suffix}", payload) for suffix in ("params", "json", "meta")]
    return [("compiled.so", elf(machine) + payload), *others]


def elf(machine: int = AARCH64) -> bytes:
    """The header of a 64-bit little-endian shared library, up to its machine."""
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 3, machine)


def zipped(reader: Reader, settings: Settings | None = None, lookahead: Lookahead | None = None) -> Iterator[bytes]:
    """The ZIP of an archive's files, made as a component is made: any error ends it."""
    files = ArchiveReader(reader, settings or Settings()).files()
    with closing(zip_parts((each.as_file(each.path) for each in files), ZipEncoder(), lookahead)) as parts:
        for part in parts:
            yield bytes(part.data)


LARGE = 1 << 19
"""From this size on a file is written as it comes, and copied where it comes out of an archive."""


def reference_zip(files: Mapping[str, bytes], archive: bytes = b"", folder: str = "") -> bytes:
    """The ZIP of `files` made the plain way: everything in memory, each record written out; sizes below 4 GiB only.

    Large ones come out of `archive`, a tar.gz, and lie below `folder` in the ZIP; or, without one, from a file.
    """
    local, directory = bytearray(), bytearray()
    for (name, data), (method, packed) in zip(files.items(), reference_packed(files, archive, folder), strict=True):
        raw_name = name.encode()
        large = len(data) >= LARGE
        flags = (8 if large else 0) | (0 if name.isascii() else 1 << 11)
        fields = (zlib.crc32(data), len(packed), len(data))
        shape = struct.pack("<HHHHH", 20, flags, method, 0, 0x21)
        offset = len(local)
        local += b"PK\3\4" + shape + struct.pack("<III", *((0, 0, 0) if large else fields))
        local += struct.pack("<HH", len(raw_name), 0) + raw_name + packed
        local += b"PK\7\x08" + struct.pack("<III", *fields) if large else b""
        directory += b"PK\1\2" + struct.pack("<H", 3 << 8 | 20) + shape + struct.pack("<III", *fields)
        directory += struct.pack("<HHHHHII", len(raw_name), 0, 0, 0, 0, 0o100644 << 16, offset) + raw_name
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(local), 0)
    return bytes(local + directory) + b"PK\5\6" + end


def reference_packed(files: Mapping[str, bytes], archive: bytes = b"", folder: str = "") -> list[tuple[int, bytes]]:
    """Method and packed form of each file."""
    starts = _content_starts(archive) if archive and any(len(data) >= LARGE for data in files.values()) else {}
    return [_reference_packed(data, archive, starts.get(name.removeprefix(folder))) for name, data in files.items()]


def _content_starts(archive: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar_file:
        starts = {info.name: info.offset_data for info in tar_file if info.isreg()}
        links = {info.name: starts[info.linkname] for info in tar_file if info.islnk()}
        return {**starts, **links}


def _reference_packed(data: bytes, archive: bytes, start: int | None) -> tuple[int, bytes]:
    if start is not None and len(data) >= LARGE:
        return 8, spliced(archive, data, start)
    pieces = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)] if len(data) >= LARGE else [data]
    packer = Packer()
    packed = b"".join(packer.pack(piece, last=piece is pieces[-1]) for piece in pieces)
    return (8, packed) if len(packed) < len(data) or len(data) >= LARGE else (0, data)
