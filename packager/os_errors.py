"""Mapping of the operating system's errors to the packager's, at the calls of the file system."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from packager.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    InsufficientStorageError,
    PackagerError,
    StoreError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a file system, or a user's quota on it, that is used up."""

_BLOCK_BYTES = 1 << 20
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_NEXT_STEPS = {
    errno.EISDIR: "Name a file, not a folder.",
    errno.EROFS: "Choose a folder on a file system that is mounted for writing.",
    errno.ENAMETOOLONG: "Choose a folder with a shorter path.",
    errno.EIO: "Look at the kernel's log: the device or the network file system failed.",
    errno.EMFILE: "Raise the limit of open files, or package fewer targets at once.",
}


class _Mapping:
    """A class, since each file of a folder is read within several of them, and generators take three times as long."""

    __slots__ = ("_operation", "_path")

    def __init__(self, operation: str, path: Path) -> None:
        self._operation, self._path = operation, path

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, PackagerError):
            raise convert_os_error(error, self._operation, self._path) from error


def map_os_errors(operation: str, path: Path) -> AbstractContextManager[None]:
    """Turn an OSError of the block into the fitting error with `operation`, `uri` and `code`; ours pass unchanged."""
    return _Mapping(operation, path)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path`, or replaces what is there, when the block is through; else nothing is left of it.

    Folders above it are made. Errors of the operating system as map_os_errors has them.
    """
    import tempfile  # noqa: PLC0415  no component is written this way

    with map_os_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".edge-model-packager-", delete=False) as file:
            temporary = path.parent / file.name
            try:
                yield file
                file.flush()
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def convert_os_error(error: OSError, operation: str, path: Path) -> PackagerError:
    """The packager's error for `error`, which `operation` on `path` raised."""
    number = error.errno or 0
    code = errno.errorcode.get(number, "unknown")
    figures = {"operation": operation, "uri": printable(path, 1000), "code": code}
    what = (
        f"Cannot {operation} {printable(path, 1000)}: {os.strerror(number) if number else printable(error)} ({code})."
    )
    if number in FULL:
        return storage_error(path.parent, held_bytes=0, more_bytes=_BLOCK_BYTES, code=number, what="The next block")
    if number in _ABSENT:
        return ArtifactNotFoundError(what, next_step="Check the path; nothing lies there.", **figures)
    if number in _DENIED:
        step = _NEXT_STEPS.get(number, "Give this process the right to it, or choose another path.")
        return AccessDeniedError(what, next_step=step, **figures)
    return StoreError(what, next_step=_NEXT_STEPS.get(number, ""), **figures)


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def storage_error(
    folder: Path,
    *,
    held_bytes: int,
    more_bytes: int,
    code: int,
    what: str = "The component, as far as it was written,",
) -> InsufficientStorageError:
    """The error when `more_bytes` do not fit after the `held_bytes` already written below `folder`."""
    try:
        # A used-up quota shows in no figure of the file system.
        free_bytes = _free_bytes(folder) if code == errno.ENOSPC else 0
    except OSError:
        free_bytes = 0
    return InsufficientStorageError(
        what,
        required_bytes=held_bytes + more_bytes,
        available_bytes=held_bytes + min(free_bytes, more_bytes - 1),
        path=folder,
        suggestions=("free space there", "give another folder", "stream to a bucket, which needs no disk"),
    )
