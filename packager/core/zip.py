"""The bytes of a ZIP that every reader takes: Java's two, unzip, libarchive, 7-Zip, Python, busybox.

Small files are written with sizes and checksum up front, stored where deflate does not help. Large ones are deflated
with a data descriptor behind them: 32 bits wide, unless the size known from the source is near 4 GiB, when the local
header carries the zip64 field and the descriptor is 64 bits wide. Other mixtures break some reader. Dates are fixed.
Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

from struct import Struct, pack, unpack_from
from typing import TYPE_CHECKING, NamedTuple

from isal import isal_zlib

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
_FIELDS = Struct("<HHHHHIIIHH")  # of both headers: from the version to the lengths of name and extra field
_LOCAL, _RECORD = b"PK\3\4", pack("<4sH", b"PK\1\2", _MADE_BY_UNIX | _VERSION)
_RECORD_END, _WHOLE_RECORD = Struct("<6xII"), Struct("<8xHHHHIIIHH6xII")


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

    Memory: the directory, 46 bytes and the name for each file, packed to a fourth or less where there are many.
    """

    def __init__(self) -> None:
        self.files = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self._directory = bytearray()
        self._packed_directory: list[bytes] = []
        self._large = ZipEntry("", 0, 0, 0, DEFLATED, 0, 0)

    @property
    def entries(self) -> Iterator[ZipEntry]:
        """What has been written, in order."""
        for records in self._records():
            at = 0
            while at < len(records):
                fields = _WHOLE_RECORD.unpack_from(records, at)
                flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, _, offset = fields
                end = at + _WHOLE_RECORD.size + name_bytes
                name = records[end - name_bytes : end].decode()
                if extra_bytes:
                    wide = iter(unpack_from(f"<{extra_bytes // 8}Q", records, end + 4))
                    size, packed, offset = (next(wide) if each == _MAX_32 else each for each in (size, packed, offset))
                at = end + extra_bytes
                yield ZipEntry(name, size, packed, crc, method, flags, offset)

    def add(self, item: Packed) -> Part:
        """What to write next. CompressionError for what cannot be in a ZIP."""
        if isinstance(item, Whole):
            return self._counted(Part(self._whole(item)))
        if isinstance(item, Part):
            return self._counted(item)
        if isinstance(item, End):
            return self._counted(Part(self._end(item.crc32)))
        flags = FLAG_DESCRIPTOR | (0 if item.name.isascii() else FLAG_UTF8)
        self.bytes_in += item.size_bytes
        self._large = ZipEntry(item.name, item.size_bytes, 0, 0, DEFLATED, flags, self.bytes_out)
        part = self._counted(Part(_local_header(self._large)))
        self._start = self.bytes_out
        return part

    def finish(self) -> Iterator[Part]:
        """The directory of the ZIP; nothing can be added afterwards."""
        start = self.bytes_out
        for records in self._records():
            yield self._counted(Part(records))
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
        self._list(_directory_record(begun._replace(packed_bytes=packed_bytes, crc32=crc32)))
        return pack("<IIQQ" if wide else "<IIII", 0x08074B50, crc32, packed_bytes, begun.size_bytes)

    def _whole(self, item: Whole) -> bytes:
        """Header and data of a small file: by far the most calls, so both headers are made in one go."""
        name, size, crc32, method, data = item
        raw, flags, offset = _encoded(name), 0 if name.isascii() else FLAG_UTF8, self.bytes_out
        packed = len(data)
        fields = _FIELDS.pack(_VERSION, flags, method, TIME_MIDNIGHT, DATE_1980, crc32, packed, size, len(raw), 0)
        self.bytes_in += size
        if offset < _MAX_32:
            self._list(b"".join((_RECORD, fields, _RECORD_END.pack(_UNIX_PLAIN_FILE, offset), raw)))
        else:
            self._list(_directory_record(ZipEntry(name, size, packed, crc32, method, flags, offset)))
        return b"".join((_LOCAL, fields, raw, data))

    def _list(self, record: bytes) -> None:
        self._directory += record
        self.files += 1
        if len(self._directory) >= _DIRECTORY_CHUNK_BYTES:
            self._packed_directory.append(isal_zlib.compress(self._directory, 1))
            self._directory.clear()

    def _records(self) -> Iterator[bytes]:
        """The directory's records, in chunks of whole ones."""
        yield from map(isal_zlib.decompress, self._packed_directory)
        if self._directory:
            yield bytes(self._directory)

    def _counted(self, part: Part) -> Part:
        self.bytes_out += len(part.data)
        return part


def _local_header(entry: ZipEntry) -> bytes:
    """What stands before a large file, whose descriptor follows it."""
    name = _encoded(entry.name)
    zip64 = entry.size_bytes >= ZIP64_FROM_BYTES
    # With zip64 the sizes stand in the extra field; they are not known yet and are zero.
    unknown, extra = (_MAX_32, pack("<HHQQ", 1, 16, 0, 0)) if zip64 else (0, b"")
    return _LOCAL + _fields(entry, name, extra, 0, unknown, unknown) + name + extra


def _directory_record(entry: ZipEntry) -> bytes:
    name = _encoded(entry.name)
    # Only what does not fit in 32 bits may stand in the zip64 field, in this order.
    wide = [value for value in (entry.size_bytes, entry.packed_bytes, entry.offset) if value >= _MAX_32]
    extra = pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    packed, size, offset = (min(each, _MAX_32) for each in (entry.packed_bytes, entry.size_bytes, entry.offset))
    fields = _fields(entry, name, extra, entry.crc32, packed, size)
    made_by = pack("<4sBB", b"PK\1\2", fields[0], _MADE_BY_UNIX >> 8)
    return made_by + fields + _RECORD_END.pack(_UNIX_PLAIN_FILE, offset) + name + extra


def _fields(entry: ZipEntry, name: bytes, extra: bytes, crc32: int, packed: int, size: int) -> bytes:  # noqa: PLR0913, PLR0917  the format's
    version = _VERSION_ZIP64 if extra or entry.size_bytes >= ZIP64_FROM_BYTES else _VERSION
    made = TIME_MIDNIGHT, DATE_1980
    return _FIELDS.pack(version, entry.flags, entry.method, *made, crc32, packed, size, len(name), len(extra))


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
