"""The directory of a ZIP, read as strictly as the one of Java 17 that devices unpack with, or more so.

Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5. What Java refuses is an error here too: java.util.zip.ZipFile,
`initCEN` and `checkAndAddEntry`, https://github.com/openjdk/jdk17u/blob/master/src/java.base/share/classes/java/util/zip/ZipFile.java
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from struct import Struct, pack, unpack_from
from struct import error as StructError  # noqa: N812  it is a class
from typing import NoReturn

from packager.errors import ExtractionError, printable, within

ReadAt = Callable[[int, int], bytes]
"""Gives so many bytes from an offset; fewer at the end of the file only."""

LOCAL_BYTES = 30
"""The length of a local header, up to the name."""

_LOCAL = Struct("<4s5H3L2H")
_DIRECTORY = Struct("<4s6H3L5H2L")
_END = Struct("<4s4H2LH")
_END64 = Struct("<4sQ2H2L4Q")
_LOCATOR64 = Struct("<4sLQL")
_LONGEST_COMMENT = 0xFFFF
_MAGIC_16, _MAGIC_32 = 0xFFFF, 0xFFFFFFFF
_DESCRIPTOR = 1 << 3
_FLAGS_THAT_COUNT = 0x0001 | _DESCRIPTOR | 0x0040 | 0x0800 | 0x2000
"""Encryption in its three forms, a descriptor that follows, and names in UTF-8."""

_DESCRIPTOR_LENGTHS = (0, 12, 16, 20, 24)  # with a signature or without, of 32 bits or 64; 0: some writers forget it
_LONGEST_DESCRIPTOR = max(_DESCRIPTOR_LENGTHS)
_ZIP64 = 1
_ZIP64_SIZES = (0, 8, 16, 24, 28)  # what Java takes


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """One entry as the directory has it; `raw_name` as it stands there, `offset` that of its local header.

    `end` is where the next entry begins, or the directory: its bytes end before that.
    """

    raw_name: bytes
    method: int
    flag_bits: int
    crc32: int
    size_bytes: int
    compressed_bytes: int
    offset: int
    mode: int
    end: int = 0

    @property
    def name(self) -> str:
        """The name read as UTF-8, as Java reads it with and without the flag; surrogates stand for what is not."""
        return self.raw_name.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Directory:
    """The records of a ZIP in order, and the offset of the first byte of its directory."""

    records: list[DirectoryRecord]
    start: int

    @property
    def leading_bytes(self) -> int:
        """How many bytes stand before the first entry: of another ZIP, or of a program that unpacks this one."""
        return min((each.offset for each in self.records), default=self.start)


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where the directory lies: its first byte, its length, how many records, and where the ZIP itself begins."""

    start: int
    length: int
    count: int
    base: int


def read_directory(read_at: ReadAt, size_bytes: int, *, max_bytes: int, max_members: int) -> Directory:
    """Every record of the ZIP's directory. Offsets are those in the file.

    ExtractionError when it is no ZIP, or one that Java refuses or readers disagree on; LimitExceededError when the
    directory has more bytes than MAX_ZIP_DIRECTORY_BYTES or more entries than MAX_ARCHIVE_MEMBERS allow.
    """
    extent = _extent(read_at, size_bytes)
    within("MAX_ARCHIVE_MEMBERS", max_members, extent.count - 1, "The ZIP, besides its manifest,")
    within("MAX_ZIP_DIRECTORY_BYTES", max_bytes, extent.length, "The directory of the ZIP")
    try:
        records = list(_records(read_at(extent.start, extent.length), extent))
    except StructError:
        damaged("its directory is cut")
    if len(records) != extent.count:
        damaged(f"its directory has {len(records)} entries, and its end says {extent.count}")
    return Directory(_with_ends(records, extent), extent.start)


def data_offset(read_at: ReadAt, record: DirectoryRecord) -> int:
    """Where the packed bytes of an entry begin. ExtractionError when what stands before or behind them is another's."""
    header = read_at(record.offset, LOCAL_BYTES)
    name_length, extra_length = local_lengths(header, record)
    name = read_at(record.offset + LOCAL_BYTES, name_length)
    offset = record.offset + LOCAL_BYTES + name_length + extra_length
    if check_local(header, name, offset, record):
        behind = offset + record.compressed_bytes
        check_descriptor(read_at(behind, descriptor_bytes(behind, record)), record)
    return offset


def length_behind(at: int, record: DirectoryRecord) -> int:
    """How many bytes follow the data that ends `at`. ExtractionError unless they can be a descriptor, or are none."""
    length = record.end - at
    if length not in (_DESCRIPTOR_LENGTHS if record.flag_bits & _DESCRIPTOR else (0,)):
        damaged(f"it is followed by {length} bytes that belong to no entry", record)
    return length


def descriptor_bytes(behind: int, record: DirectoryRecord) -> int:
    """How many of the bytes behind an entry's data can be its descriptor."""
    return min(_LONGEST_DESCRIPTOR, record.end - behind)


def local_lengths(header: bytes, record: DirectoryRecord) -> tuple[int, int]:
    """How long the name and the extra field are that follow a local header."""
    if len(header) < LOCAL_BYTES or not header.startswith(b"PK\x03\x04"):
        damaged("its local header is not there", record)
    name_length, extra_length = _LOCAL.unpack(header)[-2:]
    return name_length, extra_length


def check_local(header: bytes, name: bytes, data_at: int, record: DirectoryRecord) -> bool:
    """Hold a local header, the name that follows it and where its data begins against the directory.

    Java reads neither sizes nor checksum of it; readers that go from front to back read nothing else. Returns whether
    they are said in a descriptor behind the data.
    """
    _, _, flags, method, _, _, crc, packed, size, _, _ = _LOCAL.unpack(header)
    if name != record.raw_name or method != record.method or (flags ^ record.flag_bits) & _FLAGS_THAT_COUNT:
        damaged("its local header and the directory differ", record)
    if data_at + record.compressed_bytes > record.end:
        damaged("its packed bytes run into what follows it", record)
    has_descriptor = bool(flags & _DESCRIPTOR)
    # All ones where the zip64 field says it, and zero where the descriptor does: bsdtar and Info-ZIP in a pipe put the
    # size that they know before the data, and the rest behind it.
    unsaid = (0, _MAGIC_32) if has_descriptor else (_MAGIC_32,)
    pairs = ((crc, record.crc32), (packed, record.compressed_bytes), (size, record.size_bytes))
    if any(local != truth and local not in unsaid for local, truth in pairs):
        damaged("its local header and the directory have other sizes or checksums", record)
    return has_descriptor and any(truth and local != truth for local, truth in pairs)


def check_descriptor(following: bytes, record: DirectoryRecord) -> None:
    """Hold what stands behind an entry's data against the directory: with its signature or without, wide or not."""
    bare = following.removeprefix(b"PK\x07\x08")
    values = (record.crc32, record.compressed_bytes, record.size_bytes)
    wide = pack("<LQQ", *values)
    narrow = pack("<LLL", *values) if max(values) <= _MAGIC_32 else wide
    if not any(each.startswith((wide, narrow)) for each in (bare, following)):
        damaged("its descriptor and the directory differ", record)


def damaged(reason: str, record: DirectoryRecord | None = None) -> NoReturn:
    """Raise the ExtractionError for a ZIP, or one entry of it."""
    what = f"The entry {printable(record.name)!r} is damaged" if record else "It is damaged or no ZIP"
    raise ExtractionError(
        f"{what}: {reason}.",
        next_step="Package the component again, or fetch it again from where it is whole.",
        member=printable(record.name) if record else None,
        reason=reason,
    )


def _extent(read_at: ReadAt, size_bytes: int) -> _Extent:
    end = _end_offset(read_at, size_bytes)
    _, disk, of_directory, here, count, length, offset, _ = _END.unpack(read_at(end, _END.size))
    if here != count or not {disk, of_directory} <= {0, _MAGIC_16}:
        damaged("it is one of several volumes")
    wide = read_at(end - _LOCATOR64.size, _LOCATOR64.size) if end >= _LOCATOR64.size else b""
    if wide.startswith(b"PK\x06\x07"):
        end, wide_count, wide_length, wide_offset = _wide(read_at, wide, end)
        for narrow, value, magic in (
            (count, wide_count, _MAGIC_16),
            (length, wide_length, _MAGIC_32),
            (offset, wide_offset, _MAGIC_32),
        ):
            if narrow not in (value, magic):
                damaged("its two end records differ")
        count, length, offset = wide_count, wide_length, wide_offset
    start = end - length
    if start < 0 or start < offset:
        damaged("its directory does not fit before its end record")
    return _Extent(start, length, count, start - offset)


def _end_offset(read_at: ReadAt, size_bytes: int) -> int:
    """Where the end record begins: at the very end, or before a comment that fills the rest."""
    if size_bytes < _END.size:
        damaged("it is too short")
    usual = size_bytes - _END.size
    record = read_at(usual, _END.size)
    if record.startswith(b"PK\x05\x06") and record.endswith(b"\0\0"):
        return usual
    start = max(0, usual - _LONGEST_COMMENT)
    tail = read_at(start, size_bytes - start)
    # The last one, as Java looks for it: where its comment does not fill the rest, readers disagree.
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        damaged("it has no end record")
    comment_length: int = _END.unpack_from(tail, at)[-1]
    if at + _END.size + comment_length != len(tail):
        damaged("something follows its end record")
    return start + at


def _wide(read_at: ReadAt, locator: bytes, end: int) -> tuple[int, int, int, int]:
    _, _, at, _ = _LOCATOR64.unpack(locator)
    record = read_at(at, _END64.size) if at + _END64.size <= end else b""
    if not record.startswith(b"PK\x06\x06"):
        damaged("its zip64 end record is not where its locator says")
    _, length, _, _, disk, of_directory, here, count, directory_length, offset = _END64.unpack(record)
    if here != count or disk or of_directory:
        damaged("it is one of several volumes")
    if at + 12 + length != end - _LOCATOR64.size:
        damaged("its zip64 end record has another length than it says")
    return at, count, directory_length, offset


def _records(directory: bytes, extent: _Extent) -> Iterator[DirectoryRecord]:
    at = 0
    while at < len(directory):
        (signature, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, attributes, offset) = (
            _DIRECTORY.unpack_from(directory, at)
        )
        name_length, extra_length, comment_length = lengths[:3]
        names_at = at + _DIRECTORY.size
        at = names_at + name_length + extra_length + comment_length
        if signature != b"PK\x01\x02" or at > len(directory):
            damaged("its directory is damaged")
        extra, comment = directory[names_at + name_length : at - comment_length], directory[at - comment_length : at]
        if not _is_utf8(comment):
            damaged("a comment of its directory is not UTF-8, which Java refuses")
        size, packed, offset = _widened(extra, (size, packed, offset))
        yield DirectoryRecord(
            raw_name=directory[names_at : names_at + name_length],
            method=method,
            flag_bits=flags,
            crc32=crc,
            size_bytes=size,
            compressed_bytes=packed,
            offset=extent.base + offset,
            # Whatever system says it made the entry: readers look at the mode of more than Unix's.
            mode=attributes >> 16,
        )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _widened(extra: bytes, values: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes and offset, those that do not fit in 32 bits from the zip64 field, in the order of the format."""
    fields = list(_extra_fields(extra))
    blocks = [data for tag, data in fields if tag == _ZIP64]
    block = blocks[0] if blocks else b""
    needed = 8 * values.count(_MAGIC_32)
    if len(blocks) > 1 or len(block) not in _ZIP64_SIZES or len(block) < needed:
        damaged("a zip64 field of its directory is not as Java demands")
    wide = iter(unpack_from(f"<{needed // 8}Q", block))
    return tuple(next(wide) if value == _MAGIC_32 else value for value in values)


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        tag, length = unpack_from("<HH", extra, at)
        at += 4 + length
        if at > len(extra):
            damaged("an extra field of its directory is cut")
        yield tag, extra[at - length : at]


def _with_ends(records: list[DirectoryRecord], extent: _Extent) -> list[DirectoryRecord]:
    """The records, each with its end; ExtractionError where two share bytes."""
    # A directory can name the same bytes again and again: the way a few MB unpack to a petabyte.
    ends: dict[int, int] = {}
    end = extent.start
    for record in sorted(records, key=lambda record: record.offset, reverse=True):
        if record.offset + LOCAL_BYTES + len(record.raw_name) + record.compressed_bytes > end:
            damaged(f"its {record.compressed_bytes} packed bytes run into what follows it", record)
        ends[record.offset], end = end, record.offset
    return [replace(record, end=ends[record.offset]) for record in records]
