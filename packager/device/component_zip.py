"""What a component holds, read from a finished ZIP."""

from __future__ import annotations

import stat
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from packager.core.gunzip import check_ratio
from packager.device.listing import HEAD_BYTES, STORED, ComponentEntry, ComponentListing, holds_head
from packager.errors import ExtractionError, within
from packager.model.manifest import MANIFEST
from packager.model.strict import values_at_most
from packager.stores.zip_directory import damaged, data_offset, read_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.settings import Settings
    from packager.stores.zip_directory import DirectoryRecord, ReadAt

_BLOCK_BYTES = 1 << 20
_BLOCKS_KEPT = 4


def read_listing(
    read_range: ReadAt, size_bytes: int, name: str, settings: Settings, *, verify: bool = False
) -> ComponentListing:
    """What the ZIP `name` (its path, key or URI) of `size_bytes` holds; `read_range` gives bytes from an offset.

    Reads the directory and the manifest only; with `verify` also every entry as Java's ZipFile would, in memory that
    does not grow with it: packed bytes end where the entry ends, with the size and checksum that the directory says.
    Entries that no device unpacks are listed, not read.

    ExtractionError when it is no ZIP, damaged, or one that Java refuses or unpacks to something else;
    LimitExceededError for what exceeds a limit of the settings; StoreError when it cannot be read.
    """
    opened = ComponentZip(read_range, size_bytes, settings)
    read_at, records = opened.read_at, opened.records
    heads = _verified(read_at, records, settings) if verify else {}
    entries = tuple(
        ComponentEntry(
            name=each.name,
            size_bytes=each.size_bytes,
            compressed_bytes=each.compressed_bytes,
            method=each.method,
            flag_bits=each.flag_bits,
            is_link=stat.S_ISLNK(each.mode),
            head=heads.get(each.offset),
        )
        for each in records
    )
    manifest = _manifest(read_at, records, settings)
    return ComponentListing(name.rsplit("/", 1)[-1], size_bytes, entries, manifest, opened.leading_bytes)


class ComponentZip:
    """A finished ZIP, its directory read: `records` in the directory's order. Errors: as for `read_listing`."""

    def __init__(self, read_range: ReadAt, size_bytes: int, settings: Settings) -> None:
        self.read_at = _Blocks(read_range, size_bytes).read
        directory = read_directory(
            self.read_at,
            size_bytes,
            max_bytes=settings.max_zip_directory_bytes,
            max_members=settings.max_members,
        )
        self.records, self.leading_bytes = directory.records, directory.leading_bytes

    def contents(self, record: DirectoryRecord) -> Iterator[bytes]:
        """The unpacked bytes of an entry; ExtractionError unless they are what the directory says, and readable."""
        if not _is_readable(record):
            damaged(f"it is encrypted, or compressed by method {record.method}", record)
        return _contents(self.read_at, record)


class _Blocks:
    """Reads at any offset, through whole blocks of which the last few are kept. Memory: 4 MiB."""

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset: int, length: int) -> bytes:
        wanted = bytearray()
        while offset < self._size_bytes and len(wanted) < length:
            number, skip = divmod(offset, _BLOCK_BYTES)
            piece = self._block(number)[skip : skip + length - len(wanted)]
            wanted += piece
            offset += len(piece)
        return bytes(wanted)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        offset = number * _BLOCK_BYTES
        length = min(_BLOCK_BYTES, self._size_bytes - offset)
        block = self._read_range(offset, length)
        if len(block) != length:
            raise ExtractionError(
                f"Bytes {offset} to {offset + length - 1} of the component came back as {len(block)} bytes.",
                next_step="Read it again; if it stays so, the object was replaced or is damaged.",
                offset=offset,
                wanted=length,
                found=len(block),
            )
        self._blocks[number] = block
        if len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block


def _manifest(read_at: ReadAt, records: list[DirectoryRecord], settings: Settings) -> bytes | None:
    found = [each for each in records if each.raw_name == MANIFEST.encode()]
    if not found or not _is_readable(found[-1]):
        return None
    within("MAX_MANIFEST_BYTES", settings.max_manifest_bytes, found[-1].size_bytes, f"The component's {MANIFEST}")
    data = b"".join(_contents(read_at, found[-1]))
    within("MAX_MANIFEST_VALUES", settings.max_manifest_values, values_at_most(data), f"The component's {MANIFEST}")
    return data


def _verified(read_at: ReadAt, records: list[DirectoryRecord], settings: Settings) -> dict[int, bytes]:
    """Read every entry; the beginnings of libraries by the offset of their header."""
    unpacked_bytes = sum(each.size_bytes for each in records)
    within("MAX_UNPACKED_BYTES", settings.max_unpacked_bytes, unpacked_bytes, "The unpacked component")
    check_ratio(settings, sum(each.compressed_bytes for each in records), unpacked_bytes, "The component")
    heads = {}
    for each in sorted(filter(_is_readable, records), key=lambda record: record.offset):
        head = b""
        for chunk in _contents(read_at, each):
            head = head or chunk[:HEAD_BYTES]
        if holds_head(each.name):
            heads[each.offset] = head
    return heads


def _is_readable(record: DirectoryRecord) -> bool:
    return ComponentEntry(record.name, 0, 0, record.method, record.flag_bits).is_readable


def _contents(read_at: ReadAt, record: DirectoryRecord) -> Iterator[bytes]:
    """The unpacked bytes of an entry; ExtractionError unless they are exactly what the directory says."""
    size = crc = 0
    for chunk in _unpacked(read_at, record):
        size += len(chunk)
        crc = zlib.crc32(chunk, crc)
        if size > record.size_bytes:
            break
        yield chunk
    if size != record.size_bytes:
        more = "or more " if size > record.size_bytes else ""
        damaged(f"it unpacks to {size} bytes {more}instead of {record.size_bytes}", record)
    if crc != record.crc32:
        damaged(f"its checksum is {crc:08x} instead of {record.crc32:08x}", record)


def _unpacked(read_at: ReadAt, record: DirectoryRecord) -> Iterator[bytes]:
    offset = data_offset(read_at, record)
    # Nobody reads a folder's data, and some writers call nothing deflated there.
    if record.method == STORED or (record.raw_name.endswith(b"/") and not record.compressed_bytes):
        yield from _packed(read_at, offset, record)
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in _packed(read_at, offset, record):
        waiting = packed
        while waiting:
            if inflate.eof:
                damaged("packed bytes follow the end of its data", record)
            yield _inflated(inflate, waiting, record)
            waiting = inflate.unconsumed_tail or inflate.unused_data
    while not inflate.eof:
        chunk = _inflated(inflate, b"", record)
        if not chunk:
            damaged("its packed bytes end too early", record)
        yield chunk


def _inflated(inflate: zlib._Decompress, packed: bytes, record: DirectoryRecord) -> bytes:
    try:
        return inflate.decompress(packed, _BLOCK_BYTES)
    except zlib.error as wrong:
        damaged(f"its packed bytes are damaged ({wrong})", record)


def _packed(read_at: ReadAt, offset: int, record: DirectoryRecord) -> Iterator[bytes]:
    end = offset + record.compressed_bytes
    while offset < end:
        chunk = read_at(offset, min(_BLOCK_BYTES, end - offset))
        if not chunk:
            damaged("its packed bytes are cut", record)
        offset += len(chunk)
        yield chunk
