"""Members staged on scratch, for archives that a stream alone cannot serve: hard links, or a caller's wish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packager.archive.reading import ArchiveReader, Member
from packager.scratch import scratch_folder
from packager.stores.os_errors import mapped
from telemetry import add, catalog, observe

if TYPE_CHECKING:
    from pathlib import Path

    from packager.reservations import Reservation
    from packager.settings import Settings
    from packager.storage import StorageManager
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
    source: Source, settings: Settings, storage: StorageManager, owner: str, report: Report
) -> Iterator[tuple[Iterator[Member], Callable[[], int]]]:
    """Give the files of an archive from scratch, in its order, hard links with the content they share; and its size.

    The archive is read twice: to learn what it takes, which is then reserved, and to stage it. Each file is removed
    as soon as nothing needs it, the rest at the end, whatever happens. InsufficientStorageError before the first byte
    is written when it does not fit.
    """
    needed_bytes = storage.estimate_space_needed(listed(source, settings, report), "standard")
    with storage.reserve(needed_bytes, owner) as reservation, scratch_folder(settings, owner) as folder:
        with observe(catalog.EXTRACT_ARCHIVE, source=source.uri) as step, storage.measured(step):
            staged = _stage(source, settings, folder, reservation, report)
        yield _from_scratch(staged, reservation), source.size_bytes


def _stage(
    source: Source, settings: Settings, folder: Path, reservation: Reservation, report: Report
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
                with mapped("write", path), path.open("xb") as file:
                    while count := member.readinto(buffer):
                        file.write(buffer[:count])
                        reservation.wrote(count)
                        report(archive.packed_bytes, archive.members)
            content[member.path] = path
            staged.append((member, path))
        add(members=len(staged), bytes_out=archive.unpacked_bytes)
    return staged


def _from_scratch(staged: list[tuple[Member, Path]], reservation: Reservation) -> Iterator[Member]:
    uses = Counter(path for _, path in staged)
    for member, path in staged:
        with mapped("read", path), path.open("rb", buffering=0) as file:
            size = path.stat().st_size
            yield Member(member.path, size, file.readinto)
        uses[path] -= 1
        if not uses[path]:
            reservation.freeing(size)
            path.unlink()
