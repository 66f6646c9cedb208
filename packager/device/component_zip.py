"""Reading a finished component: its directory and manifest, and on demand every byte against its checksum."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from packager.device.listing import ComponentListing, Entry
from packager.errors import ExtractionError, LimitExceededError, PackagerError, StoreError, printable
from packager.model.manifest import LIMITS_BYTES, MANIFEST, TRAINED_MANIFEST
from packager.settings import MIB, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DIRECTORY_BYTES = 64 * MIB
MAX_MANIFEST_BYTES = LIMITS_BYTES[TRAINED_MANIFEST]

CHUNK_BYTES = MIB

_DIRECTORY_ENTRY = b"PK\x01\x02"
_LOCAL_HEADER_BYTES = 30
_UNIX = 3

# What the standard library lets through on damaged or hostile archives.
_FOREIGN_ERRORS = (
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def read_listing(
    file: BinaryIO, name: str, *, verify: bool = False, settings: Settings | None = None
) -> ComponentListing:
    """What the ZIP in `file` holds; `name` is its path, key or URI.

    Reads the central directory and the manifest only; with `verify` also every entry, checking size and CRC, in memory
    that does not grow with it. `file` has to be seekable and stays open. Entries that no device unpacks are listed, not
    read.

    ExtractionError when it is no ZIP or damaged; LimitExceededError when it has more entries than an archive may have
    members, when its directory or manifest is too large for memory, or, with `verify`, when it unpacks to too much;
    StoreError when it cannot be read.
    """
    settings = settings or Settings()
    file_name = name.rsplit("/", 1)[-1]
    # One entry more than an archive has members: the manifest.
    source = _CappedReads(file, max_entries=settings.max_members + 1)
    with _typed_errors(file_name):
        size_bytes = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(cast("BinaryIO", source)) as archive:
            infos = archive.infolist()
            _check_overlap(archive, infos)
            if verify:
                _verify(archive, infos, settings.max_unpacked_bytes)
            entries = tuple(_entry(info) for info in infos)
            return ComponentListing(file_name, size_bytes, entries, _manifest(archive))


class RangedFile(io.RawIOBase):
    """A seekable file over ranged reads, for a ZIP in S3.

    Args:
        read_range: gives `length` bytes from `offset`, as `read_range(offset, length)`; asked only within the size.
        size_bytes: size of the whole.

    Memory: `cached_blocks` blocks of `block_bytes`. ExtractionError when a range comes back short.
    """

    def __init__(
        self,
        read_range: Callable[[int, int], bytes],
        size_bytes: int,
        *,
        block_bytes: int = MIB,
        cached_blocks: int = 4,
    ) -> None:
        super().__init__()
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._block_bytes = block_bytes
        self._cached_blocks = cached_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if start + offset < 0:
            raise OSError(f"seek to {start + offset}, before the start of the file")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  the type Buffer came with Python 3.12
        """Fill the buffer as far as the file goes: unlike most raw files it is short at the end only."""
        wanted_bytes = min(len(buffer), max(0, self._size_bytes - self._position))
        filled_bytes = 0
        while filled_bytes < wanted_bytes:
            number, skip = divmod(self._position, self._block_bytes)
            piece = memoryview(self._block(number))[skip : skip + wanted_bytes - filled_bytes]
            buffer[filled_bytes : filled_bytes + len(piece)] = piece
            filled_bytes += len(piece)
            self._position += len(piece)
        return filled_bytes

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        offset = number * self._block_bytes
        length = min(self._block_bytes, self._size_bytes - offset)
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
        if len(self._blocks) > self._cached_blocks:
            self._blocks.popitem(last=False)
        return block


class _UnreadableError(Exception):
    """Carries an OSError past `zipfile`, which takes one while it looks for the directory for a sign of no ZIP."""


class _CappedReads:
    """The file below `zipfile`, which reads a directory whole, however large it says it is."""

    def __init__(self, file: BinaryIO, max_entries: int) -> None:
        self._file = file
        self._max_entries = max_entries
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size_bytes: int = -1) -> bytes:
        if size_bytes > MAX_DIRECTORY_BYTES:
            raise _exceeded("The directory of the ZIP", "bytes", MAX_DIRECTORY_BYTES, size_bytes)
        try:
            data = self._file.read(size_bytes if size_bytes >= 0 else MAX_DIRECTORY_BYTES)
        except OSError as error:
            raise _UnreadableError from error
        entries = (
            data.count(_DIRECTORY_ENTRY) if size_bytes > CHUNK_BYTES else 0
        )  # smaller reads may be an entry's data
        if entries > self._max_entries:
            raise _exceeded("The ZIP", "entries", self._max_entries, entries, "MAX_ARCHIVE_MEMBERS")
        return data


def _entry(info: zipfile.ZipInfo) -> Entry:
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    return Entry(
        # The reader cuts names at a zero byte; devices do not, and refuse them.
        name=info.orig_filename if "\0" in info.orig_filename else info.filename,
        size_bytes=info.file_size,
        compressed_bytes=info.compress_size,
        method=info.compress_type,
        flag_bits=info.flag_bits,
        is_link=stat.S_ISLNK(mode),
    )


def _manifest(archive: zipfile.ZipFile) -> bytes | None:
    info = archive.NameToInfo.get(MANIFEST)
    if info is None or not _entry(info).is_readable:
        return None
    if info.file_size > MAX_MANIFEST_BYTES:
        raise _exceeded(MANIFEST, "bytes", MAX_MANIFEST_BYTES, info.file_size)
    return b"".join(_chunks(archive, info))


def _check_overlap(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> None:
    # A directory can name the same bytes again and again: the way a few MB unpack to a petabyte.
    end = archive.start_dir
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + _LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size > end:
            raise _damaged(info.filename, f"its {info.compress_size} packed bytes run into what follows it")
        end = info.header_offset


def _verify(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], max_unpacked_bytes: int) -> None:
    unpacked_bytes = sum(info.file_size for info in infos)
    if unpacked_bytes > max_unpacked_bytes:
        raise _exceeded("The unpacked component", "bytes", max_unpacked_bytes, unpacked_bytes, "MAX_UNPACKED_BYTES")
    for info in infos:
        if _entry(info).is_readable:
            for _ in _chunks(archive, info):
                pass


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    read_bytes = 0
    with _typed_errors(info.filename), archive.open(info) as entry:
        while chunk := entry.read(CHUNK_BYTES):
            read_bytes += len(chunk)
            yield chunk
    if read_bytes != info.file_size:
        raise _damaged(info.filename, f"it unpacks to {read_bytes} bytes instead of {info.file_size}")


@contextmanager
def _typed_errors(name: str) -> Iterator[None]:
    try:
        yield
    except PackagerError:
        raise
    except _UnreadableError as error:
        if isinstance(error.__cause__, PackagerError):
            raise error.__cause__ from None
        raise StoreError(
            f"{printable(name)} cannot be read: {printable(error.__cause__)}.",
            next_step="Read it again; if it stays so, check the disk or the connection.",
            operation="read",
            uri=printable(name),
            code=getattr(error.__cause__, "errno", None),
        ) from error.__cause__
    except _FOREIGN_ERRORS as error:
        raise _damaged(name, str(error) or type(error).__name__) from error


def _damaged(name: str, reason: str) -> ExtractionError:
    return ExtractionError(
        f"{printable(name)} is damaged or no ZIP: {printable(reason.rstrip('.'))}.",
        next_step="Package the component again, or fetch it again from where it is whole.",
        name=printable(name),
        reason=printable(reason),
    )


def _exceeded(what: str, unit: str, limit: int, found: int, setting: str | None = None) -> LimitExceededError:
    remedy = f"raise {setting}" if setting else "make it smaller"
    return LimitExceededError(
        f"{what} has {found} {unit}; at most {limit} are read.",
        next_step=f"Check where the file comes from; if it is meant to be so, {remedy}.",
        setting=setting,
        limit=limit,
        found=found,
    )
