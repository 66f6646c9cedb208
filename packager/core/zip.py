"""The bytes of a ZIP that every reader takes: Java's two, unzip, libarchive, 7-Zip, Python, busybox.

Small files are written with sizes and checksum up front, stored where deflate does not help. Large ones are deflated
with a data descriptor behind them: 32 bits wide, unless the size known from the source is near 4 GiB, when the local
header carries the zip64 field and the descriptor is 64 bits wide. Other mixtures break some reader. Dates are fixed.
Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

from struct import Struct, pack, unpack_from
from typing import TYPE_CHECKING, NamedTuple

from packager.core.splice import End, Part
from packager.errors import CompressionError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE_BYTES = 1 << 19
"""Files of this size or more are written as they come, and spliced where they come out of an archive."""

STORED, DEFLATED = 0, 8
FLAG_DESCRIPTOR, FLAG_UTF8 = 1 << 3, 1 << 11
DATE_1980, TIME_MIDNIGHT = (1 << 5) | 1, 0  # the earliest date a ZIP can hold: 1 January 1980
_VERSION, _VERSION_ZIP64 = 20, 45
_UNIX_PLAIN_FILE = 0o100644 << 16
_MADE_BY_UNIX = 3 << 8
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
ZIP64_FROM_BYTES = _MAX_32 - (4 << 20)
"""Files of this size or more get zip64 fields: room for the 1 KiB a MiB that deflate may add to bytes that cannot be
packed. No more than that, since Java 17 takes a wide descriptor in a stream only where a size needs it."""
_DIRECTORY_CHUNK_BYTES = 1 << 18
_LOCAL, _RECORD = Struct("<IHHHHHIIIHH"), Struct("<IHHHHHHIIIHHHHHII")


class ZipEntry(NamedTuple):
    """One file of a ZIP, as its directory describes it."""

    name: str
    size_bytes: int
    packed_bytes: int
    crc32: int
    method: int
    flags: int
    offset: int


class Whole(NamedTuple):
    """A file below LARGE_BYTES, packed or stored."""

    name: str
    size_bytes: int
    crc32: int
    method: int
    data: bytes | memoryview


class Begin(NamedTuple):
    """The front of a larger file; what it is packed to follows, in parts, and then an End."""

    name: str
    size_bytes: int


Packed = Whole | Begin | Part | End
"""What a ZIP is made of, in order. Nothing is left to pack in these parts."""


class ZipEncoder:
    """Turns packed files, whose names are unique, into the bytes of a ZIP, without keeping any.

    Memory: the directory, 46 bytes and the name for each file.
    """

    def __init__(self) -> None:
        self.files = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self._directory = bytearray()
        self._large = ZipEntry("", 0, 0, 0, DEFLATED, 0, 0)

    @property
    def entries(self) -> Iterator[ZipEntry]:
        """What has been written, in order."""
        at = 0
        while at < len(self._directory):
            fields = _RECORD.unpack_from(self._directory, at)
            flags, method, crc, packed, size, name_bytes, extra_bytes = *fields[3:5], *fields[7:12]
            at += _RECORD.size
            name = self._directory[at : at + name_bytes].decode()
            at += name_bytes
            wide = iter(unpack_from(f"<{extra_bytes // 8}Q", self._directory, at + 4) if extra_bytes else ())
            size, packed, offset = (next(wide) if each == _MAX_32 else each for each in (size, packed, fields[16]))
            at += extra_bytes
            yield ZipEntry(name, size, packed, crc, method, flags, offset)

    def add(self, item: Packed) -> Part:
        """What to write next. CompressionError for what cannot be in a ZIP."""
        if isinstance(item, Part):
            return self._counted(item)
        if isinstance(item, End):
            return self._counted(Part(self._end(item.crc32)))
        utf8 = 0 if item.name.isascii() else FLAG_UTF8
        self.bytes_in += item.size_bytes
        if isinstance(item, Begin):
            self._large = ZipEntry(item.name, item.size_bytes, 0, 0, DEFLATED, utf8 | FLAG_DESCRIPTOR, self.bytes_out)
            part = self._counted(Part(_local_header(self._large)))
            self._start = self.bytes_out
            return part
        entry = ZipEntry(item.name, item.size_bytes, len(item.data), item.crc32, item.method, utf8, self.bytes_out)
        self._list(entry)
        return self._counted(Part(_local_header(entry) + item.data))

    def finish(self) -> Iterator[Part]:
        """The directory of the ZIP; nothing can be added afterwards."""
        start = self.bytes_out
        for at in range(0, len(self._directory), _DIRECTORY_CHUNK_BYTES):
            yield self._counted(Part(bytes(self._directory[at : at + _DIRECTORY_CHUNK_BYTES])))
        yield self._counted(Part(_end_records(self.files, self.bytes_out - start, start)))

    def _end(self, crc32: int) -> bytes:
        """The data descriptor of the large file at hand."""
        begun, packed_bytes = self._large, self.bytes_out - self._start
        wide = begun.size_bytes >= ZIP64_FROM_BYTES
        if packed_bytes >= _MAX_32 and not wide:
            raise CompressionError(
                f"{printable(begun.name)!r} has {begun.size_bytes} bytes and takes {packed_bytes} when packed, "
                "more than a ZIP can say of it.",
                next_step="Make the archive again with gzip; what packed it made it larger.",
                name=printable(begun.name),
                packed_bytes=packed_bytes,
            )
        self._list(begun._replace(packed_bytes=packed_bytes, crc32=crc32))
        return pack("<IIQQ" if wide else "<IIII", 0x08074B50, crc32, packed_bytes, begun.size_bytes)

    def _list(self, entry: ZipEntry) -> None:
        self._directory += _directory_record(entry)
        self.files += 1

    def _counted(self, part: Part) -> Part:
        self.bytes_out += len(part.data)
        return part


def _local_header(entry: ZipEntry) -> bytes:
    name = _encoded(entry.name)
    later = bool(entry.flags & FLAG_DESCRIPTOR)
    zip64 = later and entry.size_bytes >= ZIP64_FROM_BYTES
    # With zip64 the sizes stand in the extra field; with a descriptor they are not known yet and are zero.
    size, packed = (_MAX_32, _MAX_32) if zip64 else (0, 0) if later else (entry.size_bytes, entry.packed_bytes)
    extra = pack("<HHQQ", 1, 16, 0, 0) if zip64 else b""
    version = _VERSION_ZIP64 if zip64 else _VERSION
    fixed = _LOCAL.pack(
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
    name = _encoded(entry.name)
    # Only what does not fit in 32 bits may stand in the zip64 field, in this order.
    wide = [value for value in (entry.size_bytes, entry.packed_bytes, entry.offset) if value >= _MAX_32]
    extra = pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    zip64 = bool(wide) or entry.size_bytes >= ZIP64_FROM_BYTES
    version = _VERSION_ZIP64 if zip64 else _VERSION
    fixed = _RECORD.pack(
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


def _encoded(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > _MAX_16:
        raise CompressionError(
            f"The file name {printable(name)!r} is longer than a ZIP can hold (65,535 bytes).", name=printable(name)
        )
    return encoded


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
