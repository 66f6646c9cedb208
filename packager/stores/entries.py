"""Members of what is no tar: the files of a folder, a prefix or a ZIP, one after another."""

from __future__ import annotations

import shlex
import stat
import zlib
from contextlib import contextmanager
from functools import partial
from posixpath import basename
from typing import TYPE_CHECKING

from packager.core.gunzip import PackedCount, check_ratio
from packager.core.splice import End, Part
from packager.core.tar import Entry
from packager.errors import ExtractionError, UnsafeArchiveError, printable
from packager.stores.zip_directory import (
    LOCAL_BYTES,
    check_descriptor,
    check_local,
    length_behind,
    local_lengths,
    read_directory,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from packager.core.ports import Source
    from packager.core.tar import Kind
    from packager.settings import Settings
    from packager.stores.zip_directory import Directory, DirectoryRecord

STORED, DEFLATED = 0, 8
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_PACKED_BYTES = 1 << 18
_WASTE_BYTES = 1 << 16
_MAKE_AGAIN = "Make the ZIP again with a usual program, without a password; `unzip -t` shows whether it is whole."


class PlainEntries:
    """Files that stand in `packed` one behind the other, each as long as its entry says."""

    splice = None
    """None of them is packed."""

    def __init__(self, packed: PackedCount, files: Iterable[Entry]) -> None:
        self._packed = packed
        self._files = files
        self._left = 0
        self._waste = memoryview(bytearray(_WASTE_BYTES))

    @property
    def unpacked_bytes(self) -> int:
        return self._packed.bytes_read

    def __iter__(self) -> Iterator[Entry]:
        for file in self._files:
            self._left = file.size_bytes
            yield file
            while self._left:
                self.readinto(self._waste)
        while self._packed.readinto(self._waste):  # to the checked end
            pass

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), self._left)
        count = self._packed.readinto(buffer[:wanted]) if wanted else 0
        if wanted and not count:
            raise ExtractionError(
                f"A file ends {self._left} bytes before the end that was listed.",
                next_step="Package again when whoever writes it is done.",
                missing_bytes=self._left,
            )
        self._left -= count
        return count


class ZipEntries:
    """The entries of a ZIP: its directory says which, and its bytes are read once, from front to back.

    Every entry is held against the directory: local header, size and checksum. ExtractionError for damage and for
    headers that differ, UnsafeArchiveError for what is encrypted or packed by another method than deflate. Memory: the
    directory, up to MAX_ZIP_DIRECTORY_BYTES, and 0.5 MiB.
    """

    def __init__(self, packed: PackedCount, settings: Settings, source: Source) -> None:
        self._packed = packed
        self._settings = settings
        self._source = source
        self._content: Iterator[memoryview] = iter(())
        self._ready = memoryview(b"")
        self._copied: list[Part] | None = None
        self.splice: Callable[[], Iterator[Part | End]] | None = None
        self.unpacked_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        directory = self._directory()
        _refuse_leading(directory, self._source.uri)
        for record in sorted(directory.records, key=lambda record: record.offset):
            self._open(record)
            yield _entry(record)
            for _ in self._content:  # what was not read is checked too
                pass
        while self._packed.read(_PACKED_BYTES):
            pass

    def readinto(self, buffer: memoryview) -> int:
        if not self._ready:
            self._ready = next(self._content, memoryview(b""))
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _directory(self) -> Directory:
        settings = self._settings
        with _as_archive():
            return read_directory(
                self._source.read_range,
                self._source.size_bytes(),
                max_bytes=settings.max_zip_directory_bytes,
                max_members=settings.max_members,
            )

    def _open(self, record: DirectoryRecord) -> None:
        """Check the local header, and be ready to read what follows it."""
        _refuse_unreadable(record)
        header = self._exactly(LOCAL_BYTES, record)
        with _as_archive(record):
            name_length, extra_length = local_lengths(header, record)
            name = self._exactly(name_length, record)
            self._skip(extra_length)
            has_descriptor = check_local(header, name, self._packed.bytes_read, record)
        self._ready, self._copied = memoryview(b""), None
        self.splice = partial(self._spliced, record.crc32) if record.method == DEFLATED else None
        self._content = self._checked(record, has_descriptor=has_descriptor)

    def _spliced(self, crc32: int) -> Iterator[Part | End]:
        """The entry's deflate stream as it stands; whatever is wrong with it is found before its end is given."""
        copied: list[Part] = []
        self._copied = copied
        for _ in self._content:
            yield from copied
            copied.clear()
        yield from copied
        yield End(crc32)

    def _checked(self, record: DirectoryRecord, *, has_descriptor: bool) -> Iterator[memoryview]:
        size = crc = 0
        for chunk in self._stored(record) if record.method == STORED else self._inflated(record):
            size += len(chunk)
            self.unpacked_bytes += len(chunk)
            crc = zlib.crc32(chunk, crc)
            if size > record.size_bytes:
                break
            check_ratio(self._settings, self._packed.bytes_read, self.unpacked_bytes, "The ZIP")
            yield memoryview(chunk)
        if size != record.size_bytes:
            raise _damaged(f"it unpacks to other than {record.size_bytes} bytes", record)
        if crc != record.crc32:
            raise _damaged(f"its checksum is {crc:08x} instead of {record.crc32:08x}", record)
        with _as_archive(record):
            behind = self._exactly(length_behind(self._packed.bytes_read, record), record)
            if has_descriptor:
                check_descriptor(behind, record)

    def _stored(self, record: DirectoryRecord) -> Iterator[bytes]:
        left = record.compressed_bytes
        while left:
            origin = self._packed.bytes_read
            chunk = self._exactly(min(left, _PACKED_BYTES), record)
            left -= len(chunk)
            if self._copied is not None:
                self._copied.append(Part(chunk, origin=origin))
            yield chunk

    def _inflated(self, record: DirectoryRecord) -> Iterator[bytes]:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        for packed in self._stored(record):
            waiting = packed
            while waiting:
                if inflate.eof:
                    raise _damaged("packed bytes follow the end of its data", record)
                yield _inflate(inflate, waiting, record)
                waiting = inflate.unconsumed_tail or inflate.unused_data
        while not inflate.eof:
            chunk = _inflate(inflate, b"", record)
            if not chunk and not inflate.eof:
                raise _damaged("its packed bytes end too early", record)
            yield chunk

    def _exactly(self, count: int, record: DirectoryRecord) -> bytes:
        """The next bytes of the file, all of them."""
        data = bytearray()
        while len(data) < count:
            piece = self._packed.read(count - len(data))
            if not piece:
                raise _damaged("the file ends inside it", record)
            data += piece
        return bytes(data)

    def _skip(self, count: int) -> None:
        while count > 0 and (piece := self._packed.read(min(count, _PACKED_BYTES))):
            count -= len(piece)


@contextmanager
def _as_archive(record: DirectoryRecord | None = None) -> Iterator[None]:
    """Give errors of the directory's reader the next step for an archive; it speaks of a component."""
    try:
        yield
    except ExtractionError as error:
        if "reason" in error.figures:
            raise _damaged(str(error.figures["reason"]), record) from error
        raise


def _refuse_leading(directory: Directory, uri: str) -> None:
    """Refuse what readers see that go from front to back, and readers that go by the directory do not."""
    leading_bytes = directory.leading_bytes
    if leading_bytes:
        name = shlex.quote(printable(basename(uri)))
        raise ExtractionError(
            f"{leading_bytes} bytes stand before the first entry of the ZIP: another ZIP, or a program that unpacks "
            "itself. Some readers take them for the archive.",
            next_step=f"Make a plain ZIP of it: unzip ./{name} -d model && (cd model && zip -r ../plain.zip .)",
            leading_bytes=leading_bytes,
        )


def _entry(record: DirectoryRecord) -> Entry:
    kind = _kind(record)
    if kind != "file" and record.size_bytes and kind != "symbolic link":
        raise _damaged(f"it is a {kind} with content", record)
    return Entry(record.name, record.size_bytes if kind == "file" else 0, kind)


def _kind(record: DirectoryRecord) -> Kind:
    if stat.S_ISLNK(record.mode):
        return "symbolic link"
    if stat.S_IFMT(record.mode) in {stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}:
        return "device"
    return "directory" if record.raw_name.endswith(b"/") else "file"


def _refuse_unreadable(record: DirectoryRecord) -> None:
    is_encrypted = bool(record.flag_bits & _ENCRYPTED)
    if not is_encrypted and record.method in (STORED, DEFLATED):
        return
    why = "is encrypted" if is_encrypted else f"is compressed by method {record.method}, not deflate (8)"
    raise UnsafeArchiveError(
        f"The member {printable(record.name)!r} {why}.",
        next_step=_MAKE_AGAIN,
        member=printable(record.name),
        reason=why,
    )


def _inflate(inflate: zlib._Decompress, packed: bytes, record: DirectoryRecord) -> bytes:
    try:
        return inflate.decompress(packed, _PACKED_BYTES)
    except zlib.error as error:
        raise _damaged(str(error), record) from error


def _damaged(reason: str, record: DirectoryRecord | None = None) -> ExtractionError:
    what = f"The entry {printable(record.name)!r}" if record else "The ZIP"
    member = {"member": printable(record.name)} if record else {}
    return ExtractionError(f"{what} is damaged: {reason}.", next_step=_MAKE_AGAIN, reason=reason, **member)
