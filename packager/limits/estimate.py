"""How much disk an operation takes, before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from packager.errors import RequestError, printable
from packager.os_errors import map_os_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

UNPACKED_PER_PACKED = 4
"""Bytes taken to come out of each byte of an unlisted archive. Weights give 1.1, text and JSON 2 to 3."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_HEADER_BYTES = 30 + 46 + 2 * 28 + 16  # local and central header, both zip64 fields, data descriptor
_ZIP_END_BYTES = 22 + 56 + 20  # end of the central directory, and its zip64 form with locator


class Listed(Protocol):
    """A member of an archive's listing."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    size_bytes: int


def space_needed(what: Path | str | Iterable[Listed], operation: str, block_bytes: int) -> int:
    """Disk space in bytes that `operation` takes for `what`.

    Exact for the listing of an archive and for a folder, up to what the file system adds; for the path of a gzip
    archive UNPACKED_PER_PACKED times its size. Operations: `extract`, `standard` and `sequential` put every member
    on the disk, `zip` writes a ZIP of the files, `streaming` and `partial` take nothing.

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


def _nothing(_: Iterable[Listed], __: int) -> int:
    return 0


def _staged(files: Iterable[Listed], block_bytes: int) -> int:
    """Whole blocks for every file, and one for its name and attributes."""
    return sum((-(-each.size_bytes // block_bytes) + 1) * block_bytes for each in files)


def _zipped(files: Iterable[Listed], block_bytes: int) -> int:
    """Deflate never adds more than 5 bytes to a stored block of 16 KiB or more, and one such block to an empty file."""
    total = _ZIP_END_BYTES
    for each in files:
        total += (
            each.size_bytes + 5 * (each.size_bytes // (1 << 14) + 2) + _ZIP_HEADER_BYTES + 2 * len(each.name.encode())
        )
    return -(-total // block_bytes) * block_bytes


_OPERATIONS: dict[str, Callable[[Iterable[Listed], int], int]] = {
    "streaming": _nothing,
    "partial": _nothing,
    "extract": _staged,
    "standard": _staged,
    "sequential": _staged,
    "zip": _zipped,
}


def _files(path: Path) -> list[_File]:
    with map_os_errors("look at", path):
        if path.is_dir():
            return [
                _File(str(each.relative_to(path)), each.lstat().st_size) for each in path.rglob("*") if each.is_file()
            ]
        with path.open("rb") as file:
            packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        return [_File(path.name, path.stat().st_size * (UNPACKED_PER_PACKED if packed else 1))]
