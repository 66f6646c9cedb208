"""What a component holds, as plain data: read from a finished ZIP, or told by whoever wrote it."""

from __future__ import annotations

import stat
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from packager.core.gunzip import check_ratio
from packager.core.names import name_fault, plain_path
from packager.errors import ExtractionError, ManifestError, within
from packager.model.manifest import MANIFEST
from packager.model.strict import read_json, values_at_most
from packager.stores.zip_directory import damaged, data_offset, read_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from packager.model.targets import Target
    from packager.settings import Settings
    from packager.stores.zip_directory import DirectoryRecord, ReadAt

STORED, DEFLATED = 0, 8
ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000

RESERVED_NAMES = frozenset({"model.py", "inference_runtimes.py"})
"""Names at the root that the device's converter wants for files of its own."""

MODEL_ENDINGS = (".so", ".params", ".json", ".meta", ".ro", ".onnx")
"""Of the files that a runtime looks for."""

HEAD_BYTES = 20
"""How much of a library's beginning the rules ask for: its ELF header up to the machine."""

_BLOCK_BYTES = 1 << 20
_BLOCKS_KEPT = 4


@dataclass(frozen=True, slots=True)
class ComponentEntry:
    """One entry of a ZIP, as its central directory tells it. `method` and `flag_bits` are the format's own numbers.

    `head` is the beginning of a library, HEAD_BYTES of it; None when nobody looked.
    """

    name: str
    size_bytes: int
    compressed_bytes: int
    method: int = DEFLATED
    flag_bits: int = 0
    is_link: bool = False
    head: bytes | None = None

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flag_bits & ENCRYPTED_FLAGS)

    @property
    def is_readable(self) -> bool:
        """Whether every reader can unpack it: stored or deflated, not encrypted."""
        return self.method in (STORED, DEFLATED) and not self.is_encrypted

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def holds_head(name: str) -> bool:
    """Whether the rules ask for the beginning of an entry of this name."""
    return name.endswith(".so")


@dataclass(frozen=True, slots=True)
class ComponentListing:
    """What a component holds, as far as the rules ask: from a finished ZIP, or from what was just written.

    Attributes:
        file_name: the last segment of its key or path.
        size_bytes: size of the ZIP.
        entries: in the order of the central directory; gone through once.
        manifest: bytes of `manifest.json` at the root; None when there is none or it cannot be read.
    """

    file_name: str
    size_bytes: int
    entries: Iterable[ComponentEntry]
    manifest: bytes | None


@dataclass(frozen=True)
class CheckedComponent:
    """What follows from a listing, each part worked out once; empty where the manifest is unusable.

    `target` is the one that the component is held against, if any.
    """

    listing: ComponentListing
    target: Target | None = None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        try:
            value = read_json(self.listing.manifest or b"{}", MANIFEST)
        except ManifestError:
            return {}
        return value if isinstance(value, dict) else {}

    @cached_property
    def graph(self) -> dict[str, Any]:
        graph = self.manifest.get("model_graph")
        return graph if isinstance(graph, dict) else {}

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """The stages in order; an empty one stands for each that is no object."""
        stages = self.graph.get("stages")
        return [each if isinstance(each, dict) else {} for each in stages] if isinstance(stages, list) else []

    @cached_property
    def scan(self) -> EntryScan:
        return EntryScan(self.listing.entries, str(self.manifest.get("runtime_artifact")))


class EntryScan:
    """What the rules ask of all entries, from one look at each: of a million files little more than names is kept.

    Attributes:
        unpacked_bytes: the size of all entries.
        at_root: those of RESERVED_NAMES that something at the root has; folders count, also empty ones.
        unreadable: entries that not every reader can unpack.
        links: names of links.
        misplaced: names that are no paths below the root, and what is wrong with them.
        folders: the files of a model in each folder at the root, by path relative to the folder, by its name: those
            that a runtime looks for by their ending, and any called `model_file`.
    """

    def __init__(self, entries: Iterable[ComponentEntry], model_file: str) -> None:
        self.unpacked_bytes = 0
        self.at_root: set[str] = set()
        self.unreadable: list[ComponentEntry] = []
        self.links: list[str] = []
        self.misplaced: list[tuple[str, str]] = []
        self.folders: dict[str, dict[str, ComponentEntry]] = {}
        self._telling = (*MODEL_ENDINGS, model_file)
        self._paths: list[bytes] = []
        for entry in entries:
            self._see(entry)
        self._paths.sort()

    def clashes(self) -> Iterator[tuple[str, bool]]:
        """Paths of files, sorted, that another file has too, or (True) that are folders as well."""
        # Every folder above every path would be gigabytes, of a few MB of deep paths. But since a slash is written as
        # the least byte here, what lies below a path follows it.
        for path, following in pairwise(self._paths):
            is_folder = following.startswith(path + b"\0")
            if not path.endswith(b"\0") and (is_folder or following == path):
                yield path.decode().replace("\0", "/"), is_folder

    def _see(self, entry: ComponentEntry) -> None:
        self.unpacked_bytes += entry.size_bytes
        if not entry.is_readable:
            self.unreadable.append(entry)
        if entry.is_link:
            self.links.append(entry.name)
        path = plain_path(entry.name)
        if fault := name_fault(entry.name) or ("" if path else "is the root itself"):
            self.misplaced.append((entry.name, fault))
            return
        folder, slash, rest = path.partition("/")
        if folder in RESERVED_NAMES:
            self.at_root.add(folder)
        self._paths.append((f"{path}/" if entry.is_folder else path).encode().replace(b"/", b"\0"))
        if slash and not entry.is_folder:
            files = self.folders.setdefault(folder, {})
            if rest.endswith(self._telling):
                files[rest] = entry


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
    return ComponentListing(name.rsplit("/", 1)[-1], size_bytes, entries, _manifest(read_at, records, settings))


class ComponentZip:
    """A finished ZIP, its directory read: `records` in the directory's order. Errors: as for `read_listing`."""

    def __init__(self, read_range: ReadAt, size_bytes: int, settings: Settings) -> None:
        self.read_at = _Blocks(read_range, size_bytes).read
        self.records = read_directory(
            self.read_at,
            size_bytes,
            max_bytes=settings.max_zip_directory_bytes,
            max_members=settings.max_members,
        )

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
