"""Extraction of archives to files, and staging: the members of an archive packed on scratch before a ZIP is made."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from packager.core.pipeline import File, Lookahead, packed_files
from packager.core.splice import End, Part
from packager.core.zip import DEFLATED, LARGE_BYTES, Begin, Whole
from packager.errors import printable
from packager.limits.reservations import SHARED_FILE_BYTES, SizedFile
from packager.os_errors import map_os_errors
from packager.stores.archive import naming
from packager.stores.containers import Collection
from telemetry import catalog, observe

if TYPE_CHECKING:
    from packager.core.members import ArchiveReader, LeftOut, Member
    from packager.core.zip import Packed
    from packager.limits.reservations import Reservation
    from packager.limits.storage import StorageManager
    from packager.settings import Settings
    from packager.stores import Source
    from packager.stores.archive import Archive

_COPY_BYTES = 1 << 20

_WRITE_BYTES, _WRITE_MEMBERS = 1 << 16, 256
"""Small members are written, recorded and reported together, as soon as there are so many bytes or members."""

Report = Callable[[int, int], None]
"""Called with packed bytes read and members seen; what it raises stops the work."""


@dataclass(frozen=True, slots=True)
class ExtractedFile:
    """A member on disk: its path in the archive, and a file whose name we chose. Usable where a path is."""

    name: str
    path: Path
    size_bytes: int

    def __fspath__(self) -> str:
        return str(self.path)


def extract_members(archive: ArchiveReader, folder: Path) -> Iterator[ExtractedFile]:
    """Write every file of an archive into `folder`, one at a time, under names that we choose; hard links as copies.

    After an error the file that was being written is removed; the earlier ones are the caller's.
    """
    extracted: dict[str, ExtractedFile] = {}
    buffer = memoryview(bytearray(_COPY_BYTES))
    for number, member in enumerate(archive.files_and_links()):
        path = folder / f"{number:08d}"
        if member.same_as:
            original = extracted[member.same_as].path
            with map_os_errors("copy", original), original.open("rb", buffering=0) as content:
                file = ExtractedFile(member.path, path, _write(path, content.readinto, buffer))
        else:
            file = ExtractedFile(member.path, path, _write(path, member.readinto, buffer))
        extracted[member.path] = file
        yield file


def _write(path: Path, readinto: Callable[[memoryview], int], buffer: memoryview) -> int:
    """Write a new file and return its size."""
    size_bytes = 0
    with map_os_errors("write", path):
        file = path.open("xb")  # a file that is there already is not ours, and is not removed below
        try:
            with file:
                while count := readinto(buffer):
                    file.write(buffer[:count])
                    size_bytes += count
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return size_bytes


@dataclass(frozen=True, slots=True)
class StagedMember:
    """A member whose packed form, as a ZIP holds it, lies in a file on scratch, alone or with others.

    Attributes:
        path: its path in the archive.
        size_bytes, crc32, method: as for an entry of a ZIP.
        packed_bytes: the size of its packed form.
        file: the file that holds that, under a name that we chose.
        offset: where in the file it begins.
        reading: the files of all members, while they are read.
    """

    path: str
    size_bytes: int
    crc32: int
    method: int
    packed_bytes: int
    file: Path
    offset: int
    reading: _Reading

    def as_file(self, name: str) -> File:
        """The same as a file for a ZIP, under a name there."""
        return File(name, self.size_bytes, packed=self._items)

    def _items(self, name: str) -> Iterator[Packed]:
        if self.size_bytes < LARGE_BYTES:
            data = self.reading.read(self.file, self.offset, self.packed_bytes)
            yield Whole(name, self.size_bytes, self.crc32, self.method, data)
            return
        yield Begin(name, self.size_bytes)
        at = 0
        while data := self.reading.read(self.file, at, _COPY_BYTES):
            yield Part(data)
            at += len(data)
        yield End(self.crc32)


class _Reading:
    """Files on scratch that are read again: the last one stays open, since many small members share it.

    `value` counts what was read.
    """

    def __init__(self) -> None:
        self.value = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def read(self, path: Path, offset: int, size_bytes: int) -> bytes:
        with map_os_errors("read", path):
            if path != self._path or not self._file:
                self.close()
                self._path, self._file = path, path.open("rb", buffering=0)
            data = os.pread(self._file.fileno(), size_bytes, offset)
        self.value += len(data)
        return data

    def close(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()


def list_files(archive: Archive, settings: Settings, report: Report) -> list[SizedFile]:
    """Every file of an archive with the size of its packed form, in one pass; hard links take no space."""
    with archive.open(settings) as members:

        def on_write(_: int) -> None:
            report(members.packed_bytes, members.members)

        with _ScratchFiles(None, on_write) as nowhere:
            packed = _pack(members, nowhere)
    return [
        SizedFile(each.path, 0, is_large=False)
        if is_link
        else SizedFile(each.path, each.packed_bytes, is_large=each.size_bytes >= LARGE_BYTES)
        for each, is_link in packed
    ]


def sizes_at_hand(archive: Archive) -> list[SizedFile]:
    """Every file of several that are no archive, with the size that its packed form has at most; empty for others."""
    if not isinstance(archive.source, Collection):
        return []
    sizes = ((each.name, each.size_bytes) for each in archive.source.listed())
    return [SizedFile(name, size + (size >> 10), is_large=size >= LARGE_BYTES) for name, size in sizes]


@contextmanager
def staged_members(  # noqa: PLR0913  what to stage, where, and what is known and told of it
    archive: Archive,
    settings: Settings,
    storage: StorageManager,
    owner: str,
    reporter: Callable[[str], Report],
    *,
    needed_bytes: int | None = None,
) -> Iterator[_StagedMembers]:
    """The files of an archive, packed on scratch, in its order, hard links with the content they share.

    The archive is read twice: to learn what it takes, unless that is given as `needed_bytes`, which is then reserved;
    and to stage it. A file on scratch is removed as soon as no later member needs it, the rest at the end, whatever
    happens. InsufficientStorageError before the first byte is written when it does not fit. `reporter` gives the report
    for the phases listing and staging.
    """
    if needed_bytes is None:
        needed_bytes = storage.estimate_space_needed(list_files(archive, settings, reporter("listing")), "standard")
        storage.monitor_usage()  # listing took its time, and a warning about what others wrote comes before a refusal
    with storage.reserved_folder(needed_bytes, owner) as (folder, reservation):
        explain = partial(storage.explained, f"Staging {printable(archive.source.uri, 1000)}", reservation)
        with observe(catalog.EXTRACT_ARCHIVE, source=archive.source.uri) as step, storage.measured(step):
            staged = _stage(archive, settings, folder, reservation, report=reporter("staging"), explain=explain)
            step.add(members=staged.count, bytes_out=reservation.written_bytes)
        with naming(archive.source, archive.role), closing(staged):
            yield staged


def _stage(  # noqa: PLR0913  where from, where to, and what is called meanwhile
    archive: Archive,
    settings: Settings,
    folder: Path,
    reservation: Reservation,
    *,
    report: Report,
    explain: Callable[[], AbstractContextManager[None]],
) -> _StagedMembers:
    with archive.open(settings) as members:

        def on_write(size_bytes: int) -> None:
            reservation.record_write(size_bytes)
            report(members.packed_bytes, members.members)

        with _ScratchFiles(folder, on_write, explain) as files:
            staged = _pack(members, files)
    return _StagedMembers([each for each, _ in staged], files.reading, reservation, archive.source, members.left_out)


class _ScratchFiles:
    """Files for packed members, below a folder or nowhere: large members have one each, small ones share.

    `on_write` is called with the bytes of each write; `reading` is for those who read them again later.
    """

    def __init__(
        self,
        folder: Path | None,
        on_write: Callable[[int], None],
        explain: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.reading = _Reading()
        self._folder = folder
        self._on_write = on_write
        self._explain = explain
        self._opened = 0
        self._path = Path(os.devnull)
        self._file: BinaryIO | None = None
        self._bytes = 0
        self._waiting = bytearray()
        self._members_waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._close()
        elif self._file:
            with suppress(OSError):  # the disk is full, and that was said
                self._file.close()

    def write(self, first: Packed, items: Iterator[Packed]) -> StagedMember:
        """Write the member that begins with `first`."""
        if isinstance(first, Whole):
            return self._write_small(first)
        self._close()
        file = self._open()
        with self._telling():
            member = self._write_large(cast("Begin", first), items, file)
        self._close()
        return member

    def _write_small(self, whole: Whole) -> StagedMember:
        if not self._file or self._bytes >= SHARED_FILE_BYTES:
            self._close()
            self._open()
        size_bytes = len(whole.data)
        member = StagedMember(
            whole.name, whole.size_bytes, whole.crc32, whole.method, size_bytes, self._path, self._bytes, self.reading
        )
        self._bytes += size_bytes
        self._waiting += whole.data
        self._members_waiting += 1
        if len(self._waiting) >= _WRITE_BYTES or self._members_waiting == _WRITE_MEMBERS:
            self._write_waiting()
        return member

    def _write_large(self, begin: Begin, items: Iterator[Packed], file: BinaryIO) -> StagedMember:
        packed_bytes = 0
        for item in items:
            if isinstance(item, End):
                break
            data = cast("Part", item).data
            file.write(data)
            self._on_write(len(data))
            packed_bytes += len(data)
        crc32 = cast("End", item).crc32
        return StagedMember(begin.name, begin.size_bytes, crc32, DEFLATED, packed_bytes, self._path, 0, self.reading)

    def _write_waiting(self) -> None:
        if self._file and self._members_waiting:
            with self._telling():
                self._file.write(self._waiting)
                self._on_write(len(self._waiting))
            self._waiting.clear()
            self._members_waiting = 0

    def _open(self) -> BinaryIO:
        if self._folder:
            self._path = self._folder / f"{self._opened:08d}"
        self._opened += 1
        self._bytes = 0
        with self._telling():
            self._file = self._path.open("wb")
        return self._file

    def _close(self) -> None:
        try:
            self._write_waiting()
        finally:
            file, self._file = self._file, None
            if file:
                with self._telling():
                    file.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        with map_os_errors("write", self._path), self._explain():
            yield


def _pack(archive: ArchiveReader, files: _ScratchFiles) -> list[tuple[StagedMember, bool]]:
    """Every file of an archive, packed into `files`, and whether it is a hard link, which shares another's bytes."""
    members: list[Member] = []  # in the order of the archive, filled by the thread that reads it

    def unpacked() -> Iterator[File]:
        for member in archive.files_and_links():
            members.append(member)
            if not member.same_as:
                yield member.as_file(member.path)

    staged: dict[str, StagedMember] = {}
    with closing(packed_files(unpacked(), Lookahead())) as items:
        for item in items:
            each = files.write(item, items)
            staged[each.path] = each
    for member in members:
        if member.same_as:
            staged[member.path] = replace(staged[member.same_as], path=member.path)
    return [(staged[each.path], bool(each.same_as)) for each in members]


class _StagedMembers:
    """Staged members, and the progress of their reading in packed bytes of the artifact."""

    def __init__(
        self, members: list[StagedMember], read: _Reading, reservation: Reservation, source: Source, left_out: LeftOut
    ) -> None:
        self.left_out = left_out
        self._members = members
        self._read = read
        self._reservation = reservation
        self._all_packed_bytes = source.size_bytes()
        self._all_bytes = sum(member.packed_bytes for member in members)

    def close(self) -> None:
        self._read.close()

    @property
    def count(self) -> int:
        return len(self._members)

    @property
    def packed_bytes(self) -> int:
        """Bytes read so far, as the same share of the artifact."""
        if not self._all_bytes:
            return self._all_packed_bytes
        return self._all_packed_bytes * self._read.value // self._all_bytes

    def files(self) -> Iterator[StagedMember]:
        uses = Counter(member.file for member in self._members)
        passed_bytes = 0
        for member in self._members:
            yield member
            passed_bytes += member.packed_bytes
            self._read.value = passed_bytes  # also past a member that its user skipped
            uses[member.file] -= 1
            if not uses[member.file]:
                self._read.close()  # an open file keeps its space
                self._reservation.record_removal(member.file.stat().st_size)
                member.file.unlink()
