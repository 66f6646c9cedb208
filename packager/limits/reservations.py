"""Reservations of scratch, and the estimate of how much to reserve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from packager.core.zip import LARGE_BYTES
from packager.errors import RequestError, printable
from packager.os_errors import map_os_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OTHERS = "others"
"""Stands for the used bytes that no reservation accounts for."""

UNPACKED_PER_PACKED = 4
"""Bytes assumed to come out of each byte of an archive whose listing is not known. Weights give 1.1, text 2 to 3."""

SHARED_FILE_BYTES = 1 << 20
"""Small members share files of about this size on scratch: to open a file costs more than to write or read a member."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_HEADER_BYTES = 30 + 46 + 2 * 28 + 16  # local and central header, both zip64 fields, data descriptor
_ZIP_END_BYTES = 22 + 56 + 20  # end of the central directory, and its zip64 form with locator


class Reservation:
    """A part of scratch that belongs to its owner until it is released; releasing it again does nothing.

    What is written within it has to be recorded, else it counts twice: as reserved, and as no longer free.
    """

    def __init__(
        self,
        owner: str,
        size_bytes: int,
        on_write: Callable[[Reservation, int], None],
        on_release: Callable[[Reservation], None],
    ) -> None:
        self.owner = owner
        self.size_bytes = size_bytes
        self.written_bytes = 0
        self._on_write = on_write
        self._on_release = on_release

    def record_write(self, size_bytes: int) -> None:
        """Record that bytes were written. Call it after the write, so that nothing counts as free too early."""
        self._on_write(self, size_bytes)

    def record_removal(self, size_bytes: int) -> None:
        """Record that bytes are about to be removed. Call it before the removal, for the same reason."""
        self._on_write(self, -size_bytes)

    def release(self) -> None:
        self._on_release(self)

    @property
    def outstanding_bytes(self) -> int:
        """What may still be written."""
        return max(0, self.size_bytes - self.written_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Ledger:
    """The reservations that are held. Not safe between threads: its user holds a lock."""

    def __init__(self) -> None:
        self._held: dict[int, Reservation] = {}

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._held.values())

    def add(self, reservation: Reservation) -> None:
        self._held[id(reservation)] = reservation

    def remove(self, reservation: Reservation) -> int:
        """Remove a reservation and return the bytes written within it; 0 when it is not held."""
        return reservation.written_bytes if self._held.pop(id(reservation), None) else 0

    def without(self, reservation: Reservation | None) -> Ledger:
        """The same reservations but for one."""
        others = Ledger()
        others._held = {key: each for key, each in self._held.items() if each is not reservation}
        return others

    def outstanding_bytes(self) -> int:
        """Reserved, and not yet written."""
        return sum(each.outstanding_bytes for each in self)

    def written_bytes(self) -> int:
        return sum(each.written_bytes for each in self)

    def by_owner(self) -> dict[str, int]:
        """Reserved bytes by owner."""
        held: dict[str, int] = {}
        for each in self:
            held[each.owner] = held.get(each.owner, 0) + each.size_bytes
        return held

    def used_by(self, used_bytes: int) -> dict[str, int]:
        """Bytes by owner, reserved or written, whichever is more; the rest of `used_bytes` belongs to OTHERS."""
        held: dict[str, int] = {}
        for each in self:
            held[each.owner] = held.get(each.owner, 0) + max(each.size_bytes, each.written_bytes)
        return {**held, OTHERS: max(0, used_bytes - self.written_bytes())}


class Sized(Protocol):
    """A file with a known size: an entry of an archive's listing, for instance."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class SizedFile:
    """Name and size of a file in an archive or on disk.

    `is_large` says whether it has a file of its own when it is staged, where the size, a packed one, does not.
    """

    name: str
    size_bytes: int
    is_large: bool | None = None


def space_needed(what: Path | str | Iterable[Sized], operation: str, block_bytes: int) -> int:
    """Disk space in bytes that `operation` takes for `what`.

    Exact for the listing of an archive and for a folder, up to what the file system adds; for the path of a gzip
    archive UNPACKED_PER_PACKED times its size. Operations: `extract` puts every member on the disk, `standard` and
    `sequential` do so with small ones in files that they share, `zip` writes a ZIP of the files, `streaming` and
    `partial` take nothing.

    Raises RequestError for another operation, StoreError when the path cannot be read.
    """
    rule = _OPERATIONS.get(operation)
    if rule is None:
        raise RequestError(
            f"There is no operation {printable(operation)!r}.",
            next_step=f"Name one of {', '.join(_OPERATIONS)}.",
            field="operation",
            found=printable(operation),
        )
    return rule(_files(Path(what)) if isinstance(what, str | Path) else what, block_bytes)


def _nothing(_: Iterable[Sized], __: int) -> int:
    return 0


def _extracted(files: Iterable[Sized], block_bytes: int) -> int:
    return sum(_on_disk(each.size_bytes, block_bytes) for each in files)


def _staged(files: Iterable[Sized], block_bytes: int) -> int:
    """As `packager.limits.staging` fills files: small members share one until it is full or a large one follows."""
    total, shared_bytes = 0, -1
    for each in files:
        is_large = getattr(each, "is_large", None)
        is_large = each.size_bytes >= LARGE_BYTES if is_large is None else is_large
        if is_large or shared_bytes >= SHARED_FILE_BYTES:
            total += _on_disk(shared_bytes, block_bytes)
            shared_bytes = -1
        if is_large:
            total += _on_disk(each.size_bytes, block_bytes)
        else:
            shared_bytes = max(0, shared_bytes) + each.size_bytes
    return total + _on_disk(shared_bytes, block_bytes)


def _on_disk(size_bytes: int, block_bytes: int) -> int:
    """Whole blocks, and one for the file's name and attributes; nothing for a file that there is not (-1)."""
    return (-(-size_bytes // block_bytes) + 1) * block_bytes if size_bytes >= 0 else 0


def _zipped(files: Iterable[Sized], block_bytes: int) -> int:
    """Deflate never adds more than 5 bytes to a stored block of 16 KiB or more, and one such block to an empty file."""
    total = _ZIP_END_BYTES
    for each in files:
        total += (
            each.size_bytes + 5 * (each.size_bytes // (1 << 14) + 2) + _ZIP_HEADER_BYTES + 2 * len(each.name.encode())
        )
    return -(-total // block_bytes) * block_bytes


_OPERATIONS: dict[str, Callable[[Iterable[Sized], int], int]] = {
    "streaming": _nothing,
    "partial": _nothing,
    "extract": _extracted,
    "standard": _staged,
    "sequential": _staged,
    "zip": _zipped,
}


def _files(path: Path) -> list[SizedFile]:
    with map_os_errors("look at", path):
        if path.is_dir():
            found = (each for each in path.rglob("*") if each.is_file())
            return [SizedFile(str(each.relative_to(path)), each.lstat().st_size) for each in found]
        with path.open("rb") as file:
            packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        return [SizedFile(path.name, path.stat().st_size * (UNPACKED_PER_PACKED if packed else 1))]
