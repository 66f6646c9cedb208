"""Members staged on scratch, for archives that a stream alone cannot serve: hard links, or a caller's wish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from packager.core.members import ArchiveReader, Member
from packager.errors import printable
from packager.limits.scratch import scratch_folder
from packager.os_errors import map_os_errors
from telemetry import catalog, observe

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from packager.limits.reservations import Reservation
    from packager.limits.storage import StorageManager
    from packager.settings import Settings
    from packager.stores import Source

_COPY_BYTES = 1 << 20

Report = Callable[[int, int], None]
"""Told packed bytes read and members seen; what it raises stops the work."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of an archive, as a listing has it."""

    name: str
    size_bytes: int


def listed(source: Source, settings: Settings, report: Report) -> list[Listed]:
    """Every file of an archive with its size, in one pass; hard links take no space."""
    listing = []
    with source.open() as reader:
        archive = ArchiveReader(reader, settings)
        for member in archive.files_and_links():
            listing.append(Listed(member.path, member.size_bytes))
            report(archive.packed_bytes, archive.members)
    return listing


@contextmanager
def staged_members(
    source: Source, settings: Settings, storage: StorageManager, owner: str, reporter: Callable[[str], Report]
) -> Iterator[tuple[Iterator[Member], Callable[[], int]]]:
    """Give the files of an archive from scratch, in its order, hard links with the content they share; and its size.

    The archive is read twice: to learn what it takes, which is then reserved, and to stage it. Each file is removed
    as soon as nothing needs it, the rest at the end, whatever happens. InsufficientStorageError before the first byte
    is written when it does not fit. `reporter` gives whom to tell in the phases listing and staging.
    """
    needed_bytes = storage.estimate_space_needed(listed(source, settings, reporter("listing")), "standard")
    storage.monitor_usage()  # listing took its time, and whoever else fills the disk calls for a warning first
    with storage.reserve(needed_bytes, owner) as reservation, scratch_folder(settings, owner) as folder:
        with observe(catalog.EXTRACT_ARCHIVE, source=source.uri) as step, storage.measured(step):
            staged = _stage(source, settings, storage, folder, reservation, reporter("staging"))
            step.add(members=len(staged), bytes_out=reservation.written_bytes)
        files = _FromScratch(staged, reservation, source.size_bytes())
        yield files.members(), files.packed_bytes


def _stage(  # noqa: PLR0913, PLR0917  where from, where to, and whom to tell
    source: Source,
    settings: Settings,
    storage: StorageManager,
    folder: Path,
    reservation: Reservation,
    report: Report,
) -> list[tuple[Member, Path]]:
    """Every member with the file that holds its content; the names of the files are ours."""
    staged: list[tuple[Member, Path]] = []
    content: dict[str, Path] = {}
    buffer = memoryview(bytearray(_COPY_BYTES))
    with source.open() as reader:
        archive = ArchiveReader(reader, settings)
        for member in archive.files_and_links():
            path = content.get(member.same_as) or folder / f"{len(staged):08d}"
            if not member.same_as:
                full_disk = storage.explained(f"Staging {printable(source.uri, 1000)}", reservation)
                with map_os_errors("write", path), full_disk, path.open("xb") as file:
                    while count := member.readinto(buffer):
                        file.write(buffer[:count])
                        reservation.record_write(count)
                        report(archive.packed_bytes, archive.members)
            content[member.path] = path
            staged.append((member, path))
            report(archive.packed_bytes, archive.members)  # empty files and links take time too
    return staged


class _FromScratch:
    """Staged members, and how far their reading is, in packed bytes of the artifact."""

    def __init__(self, staged: list[tuple[Member, Path]], reservation: Reservation, packed_bytes: int) -> None:
        self._staged = staged
        self._reservation = reservation
        self._all_packed_bytes = packed_bytes
        self._all_bytes = sum(path.stat().st_size for _, path in staged)
        self._read_bytes = 0

    def packed_bytes(self) -> int:
        """What was read so far, as the same share of the artifact."""
        return (
            self._all_packed_bytes * self._read_bytes // self._all_bytes if self._all_bytes else self._all_packed_bytes
        )

    def members(self) -> Iterator[Member]:
        uses = Counter(path for _, path in self._staged)
        passed_bytes = 0
        for member, path in self._staged:
            with map_os_errors("read", path), path.open("rb", buffering=0) as file:
                size = path.stat().st_size
                yield Member(member.path, size, partial(self._readinto, file))
            passed_bytes += size
            self._read_bytes = passed_bytes  # whoever left it out is past it too
            uses[path] -= 1
            if not uses[path]:
                self._reservation.record_removal(size)
                path.unlink()

    def _readinto(self, file: FileIO, buffer: memoryview) -> int:
        count = file.readinto(buffer)
        self._read_bytes += count
        return count
