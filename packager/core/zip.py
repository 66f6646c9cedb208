"""The bytes of a ZIP that every reader takes: Java's two, unzip, libarchive, 7-Zip, Python, busybox.

Small files are written with sizes and checksum up front, stored where deflate does not help. Large ones are deflated
with a data descriptor behind them: 32 bits wide, unless the size known from the source is near 4 GiB, when the local
header carries the zip64 field and the descriptor is 64 bits wide. Other mixtures break some reader. Dates are fixed.
Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import pack
from typing import TYPE_CHECKING, NamedTuple

from isal import isal_zlib

from packager.core.deflate import BlockPacker
from packager.errors import CompressionError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED, DEFLATED = 0, 8
FLAG_DESCRIPTOR, FLAG_UTF8 = 1 << 3, 1 << 11
DATE_1980, TIME_MIDNIGHT = (1 << 5) | 1, 0  # the earliest date a ZIP can hold: 1 January 1980
_VERSION, _VERSION_ZIP64 = 20, 45
_UNIX_PLAIN_FILE = 0o100644 << 16
_MADE_BY_UNIX = 3 << 8
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
ZIP64_FROM_BYTES = _MAX_32 - (4 << 20)
"""Files of this size or more get zip64 fields: room for the 1 KiB a block that deflate may add to bytes that cannot be
packed. No more than that, since Java 17 takes a wide descriptor in a stream only where a size needs it."""
_DIRECTORY_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One file of a ZIP, as its directory describes it."""

    name: str
    size_bytes: int
    packed_bytes: int
    crc32: int
    method: int
    flags: int
    offset: int


class Piece(NamedTuple):
    """Bytes on their way into a ZIP: a whole file of at most BLOCK_BYTES, or the next block of a larger one."""

    name: str
    size_bytes: int
    """Size of the whole file."""
    data: bytes | memoryview
    last: bool
    """Whether the file ends with this piece."""


class ZipEncoder:
    """Turns pieces of files into the bytes of a ZIP, in order, without keeping any: methods return what to write next.

    The same pieces give the same ZIP. Memory: the directory, about 300 bytes a file.
    """

    def __init__(self) -> None:
        self.entries: list[ZipEntry] = []
        self.bytes_in = 0
        self.bytes_out = 0
        self._names: set[str] = set()
        self._large: _LargeFile | None = None

    def add(self, piece: Piece) -> list[bytes]:
        """The bytes of the next piece. CompressionError when a file's pieces do not add up to its size."""
        self.bytes_in += len(piece.data)
        if self._large is None and len(piece.data) == piece.size_bytes:
            return self._whole(piece)
        made: list[bytes] = []
        if self._large is None:
            self._large = _LargeFile(self._entry(piece, 0, 0, DEFLATED, FLAG_DESCRIPTOR))
            made.append(self._large.header())
        made += self._large.take(piece)
        if piece.last:
            entry, descriptor = self._large.finish()
            self._large = None
            self.entries.append(entry)
            made.append(descriptor)
        return self._counted(made)

    def _whole(self, piece: Piece) -> list[bytes]:
        packed, method = b"".join(BlockPacker().pack(piece.data, last=True)), DEFLATED
        if len(packed) >= len(piece.data):
            packed, method = bytes(piece.data), STORED
        entry = self._entry(piece, len(packed), isal_zlib.crc32(piece.data), method, 0)
        self.entries.append(entry)
        return self._counted([_local_header(entry, zip64=False), packed])

    def finish(self) -> Iterator[bytes]:
        """The directory of the ZIP; nothing can be added afterwards."""
        if self._large:
            self._large.finish()
        start = self.bytes_out
        chunk = bytearray()
        for entry in self.entries:
            chunk += _directory_record(entry)
            if len(chunk) >= _DIRECTORY_CHUNK_BYTES:
                self.bytes_out += len(chunk)
                yield bytes(chunk)
                chunk.clear()
        size = self.bytes_out + len(chunk) - start
        chunk += _end_records(len(self.entries), size, start)
        self.bytes_out += len(chunk)
        yield bytes(chunk)

    def _entry(self, piece: Piece, packed_bytes: int, crc: int, method: int, flags: int) -> ZipEntry:
        name = piece.name
        if name in self._names or len(name.encode()) > _MAX_16:
            why = "comes twice" if name in self._names else "is longer than a ZIP can hold (65,535 bytes)"
            raise CompressionError(f"The file name {printable(name)!r} {why}.", name=printable(name))
        self._names.add(name)
        utf8 = 0 if name.isascii() else FLAG_UTF8
        return ZipEntry(name, piece.size_bytes, packed_bytes, crc, method, flags | utf8, self.bytes_out)

    def _counted(self, made: list[bytes]) -> list[bytes]:
        self.bytes_out += sum(map(len, made))
        return made


class _LargeFile:
    def __init__(self, entry: ZipEntry) -> None:
        self._entry = entry
        self._zip64 = entry.size_bytes >= ZIP64_FROM_BYTES
        self._packer = BlockPacker()
        self._crc = self._size = self._packed = 0

    def header(self) -> bytes:
        return _local_header(self._entry, zip64=self._zip64)

    def take(self, piece: Piece) -> list[bytes]:
        self._crc = isal_zlib.crc32(piece.data, self._crc)
        self._size += len(piece.data)
        packed = self._packer.pack(piece.data, last=piece.last)
        self._packed += sum(map(len, packed))
        return packed

    def finish(self) -> tuple[ZipEntry, bytes]:
        announced = self._entry
        if self._size != announced.size_bytes:
            raise CompressionError(
                f"{printable(announced.name)!r} gave {self._size} bytes; {announced.size_bytes} were announced.",
                next_step="Package again once the file no longer changes.",
                name=printable(announced.name),
                announced_bytes=announced.size_bytes,
                found_bytes=self._size,
            )
        descriptor = pack("<IIQQ" if self._zip64 else "<IIII", 0x08074B50, self._crc, self._packed, self._size)
        return replace(announced, packed_bytes=self._packed, crc32=self._crc), descriptor


def _local_header(entry: ZipEntry, *, zip64: bool) -> bytes:
    name = entry.name.encode()
    later = bool(entry.flags & FLAG_DESCRIPTOR)
    # With zip64 the sizes stand in the extra field; with a descriptor they are not known yet and are zero.
    size, packed = (_MAX_32, _MAX_32) if zip64 else (0, 0) if later else (entry.size_bytes, entry.packed_bytes)
    extra = pack("<HHQQ", 1, 16, 0, 0) if zip64 else b""
    version = _VERSION_ZIP64 if zip64 else _VERSION
    fixed = pack(
        "<IHHHHHIIIHH",
        0x04034B50,
        version,
        entry.flags,
        entry.method,
        TIME_MIDNIGHT,
        DATE_1980,
        0 if later else entry.crc32,
        packed,
        size,
        len(name),
        len(extra),
    )
    return fixed + name + extra


def _directory_record(entry: ZipEntry) -> bytes:
    name = entry.name.encode()
    # Only what does not fit in 32 bits may stand in the zip64 field, in this order.
    wide = [value for value in (entry.size_bytes, entry.packed_bytes, entry.offset) if value >= _MAX_32]
    extra = pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    zip64 = bool(wide) or entry.size_bytes >= ZIP64_FROM_BYTES
    version = _VERSION_ZIP64 if zip64 else _VERSION
    fixed = pack(
        "<IHHHHHHIIIHHHHHII",
        0x02014B50,
        _MADE_BY_UNIX | version,
        version,
        entry.flags,
        entry.method,
        TIME_MIDNIGHT,
        DATE_1980,
        entry.crc32,
        min(entry.packed_bytes, _MAX_32),
        min(entry.size_bytes, _MAX_32),
        len(name),
        len(extra),
        0,
        0,
        0,
        _UNIX_PLAIN_FILE,
        min(entry.offset, _MAX_32),
    )
    return fixed + name + extra


def _end_records(count: int, size: int, start: int) -> bytes:
    wide = b""
    if count >= _MAX_16 or size >= _MAX_32 or start >= _MAX_32:
        version = _VERSION_ZIP64
        end64 = pack("<IQHHIIQQQQ", 0x06064B50, 44, _MADE_BY_UNIX | version, version, 0, 0, count, count, size, start)
        wide = end64 + pack("<IIQI", 0x07064B50, 0, start + size, 1)
    fixed = pack(
        "<IHHHHIIH",
        0x06054B50,
        0,
        0,
        min(count, _MAX_16),
        min(count, _MAX_16),
        min(size, _MAX_32),
        min(start, _MAX_32),
        0,
    )
    return wide + fixed
