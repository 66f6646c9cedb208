"""Extraction of archives to files, and staging: the members of an archive read from scratch instead of a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from packager.core.members import LeftOut, Member
from packager.errors import printable
from packager.limits.reservations import SizedFile
from packager.os_errors import map_os_errors
from packager.stores.archive import naming
from telemetry import catalog, observe

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from packager.core.members import ArchiveReader
    from packager.limits.reservations import Reservation
    from packager.limits.storage import StorageManager
    from packager.settings import Settings
    from packager.stores.archive import Archive

_COPY_BYTES = 1 << 20

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


def extract_members(
    archive: ArchiveReader,
    folder: Path,
    on_write: Callable[[int], None],
    *,
    copy_links: bool = False,
    explain: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[ExtractedFile]:
    """Write every file of an archive into `folder`, one at a time, under names that we choose.

    A hard link is given with the file that it shares, or with a copy of it. `on_write` is called with the size of each
    block written, `explain` wraps the writing of each file. After an error the file that was being written is removed;
    the earlier ones are the caller's.
    """
    extracted: dict[str, ExtractedFile] = {}
    buffer = memoryview(bytearray(_COPY_BYTES))
    for number, member in enumerate(archive.files_and_links()):
        original = extracted.get(member.same_as)
        path = folder / f"{number:08d}"
        if original is None:
            file = ExtractedFile(member.path, path, _write(path, member.readinto, buffer, on_write, explain))
        elif copy_links:
            with map_os_errors("copy", original.path), original.path.open("rb", buffering=0) as content:
                file = ExtractedFile(member.path, path, _write(path, content.readinto, buffer, on_write, explain))
        else:
            file = replace(original, name=member.path)
        extracted[member.path] = file
        yield file


def _write(
    path: Path,
    readinto: Callable[[memoryview], int],
    buffer: memoryview,
    on_write: Callable[[int], None],
    explain: Callable[[], AbstractContextManager[None]],
) -> int:
    """Write a new file and return its size."""
    size_bytes = 0
    with map_os_errors("write", path):
        file = path.open("xb")  # a file that is there already is not ours, and is not removed below
        try:
            with explain(), file:  # in here, since the disk is no longer full when the file is removed
                while count := readinto(buffer):
                    file.write(buffer[:count])
                    on_write(count)
                    size_bytes += count
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return size_bytes


def list_files(archive: Archive, settings: Settings, report: Report) -> list[SizedFile]:
    """Every file of an archive with its size, in one pass; hard links take no space."""
    files = []
    with archive.open(settings) as members:
        for member in members.files_and_links():
            files.append(SizedFile(member.path, 0 if member.same_as else member.size_bytes))
            report(members.packed_bytes, members.members)
    return files


@contextmanager
def staged_members(
    archive: Archive, settings: Settings, storage: StorageManager, owner: str, reporter: Callable[[str], Report]
) -> Iterator[_StagedMembers]:
    """The files of an archive, read from scratch in its order, hard links with the content they share.

    The archive is read twice: to learn what it takes, which is then reserved, and to stage it. Each file is removed
    as soon as no later member needs it, the rest at the end, whatever happens. InsufficientStorageError before the
    first byte is written when it does not fit. `reporter` gives the report for the phases listing and staging.
    """
    needed_bytes = storage.estimate_space_needed(list_files(archive, settings, reporter("listing")), "standard")
    storage.monitor_usage()  # listing took its time, and a warning about what others wrote comes before a refusal
    with storage.reserved_folder(needed_bytes, owner) as (folder, reservation):
        explain = partial(storage.explained, f"Staging {printable(archive.source.uri, 1000)}", reservation)
        with observe(catalog.EXTRACT_ARCHIVE, source=archive.source.uri) as step, storage.measured(step):
            files, left_out = _stage(
                archive, settings, folder, reservation, report=reporter("staging"), explain=explain
            )
            step.add(members=len(files), bytes_out=reservation.written_bytes)
        with naming(archive.source, archive.role):
            yield _StagedMembers(files, reservation, archive.source.size_bytes(), left_out)


def _stage(  # noqa: PLR0913  where from, where to, and what is called meanwhile
    archive: Archive,
    settings: Settings,
    folder: Path,
    reservation: Reservation,
    *,
    report: Report,
    explain: Callable[[], AbstractContextManager[None]],
) -> tuple[list[ExtractedFile], LeftOut]:
    files = []
    with archive.open(settings) as members:

        def on_write(size_bytes: int) -> None:
            reservation.record_write(size_bytes)
            report(members.packed_bytes, members.members)

        for file in extract_members(members, folder, on_write, explain=explain):
            files.append(file)
            report(members.packed_bytes, members.members)  # empty files and links take time too
    return files, members.left_out


class _StagedMembers:
    """Staged members, and the progress of their reading in packed bytes of the artifact."""

    def __init__(
        self, files: list[ExtractedFile], reservation: Reservation, packed_bytes: int, left_out: LeftOut
    ) -> None:
        self.left_out = left_out
        self._files = files
        self._reservation = reservation
        self._all_packed_bytes = packed_bytes
        self._all_bytes = sum(file.size_bytes for file in files)
        self._read_bytes = 0

    @property
    def packed_bytes(self) -> int:
        """Bytes read so far, as the same share of the artifact."""
        if not self._all_bytes:
            return self._all_packed_bytes
        return self._all_packed_bytes * self._read_bytes // self._all_bytes

    def files(self) -> Iterator[Member]:
        uses = Counter(file.path for file in self._files)
        passed_bytes = 0
        for file in self._files:
            with map_os_errors("read", file.path), file.path.open("rb", buffering=0) as content:
                yield Member(file.name, file.size_bytes, partial(self._readinto, content))
            passed_bytes += file.size_bytes
            self._read_bytes = passed_bytes  # also past a member that its user skipped
            uses[file.path] -= 1
            if not uses[file.path]:
                self._reservation.record_removal(file.size_bytes)
                file.path.unlink()

    def _readinto(self, content: FileIO, buffer: memoryview) -> int:
        count = content.readinto(buffer)
        self._read_bytes += count
        return count
