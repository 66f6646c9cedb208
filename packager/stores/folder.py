"""Components written below a folder."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from packager.core.ports import TEMPORARY_PREFIX, StoredComponent
from packager.errors import CleanupFailedError, RequestError, printable
from packager.locks import Lock, lock
from packager.os_errors import FULL, convert_os_error, map_os_errors, storage_error
from packager.stores.leftovers import remove_leftovers
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from packager.core.ports import Source, Upload

T = TypeVar("T")

KEPT_ATTRIBUTE = "user.edge-model-packager.component"
"""Extended attribute of a component: identity and SHA-256, with the size and date at which they held."""

_WRITE_BUFFER_BYTES = 1 << 18
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_ATTEMPTS = 5
_NOTHING_KEPT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODATA, errno.ENOTSUP})
_CANNOT_KEEP = frozenset({errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.E2BIG})


class FolderSink:
    """Components below a folder, which is made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def uri(self) -> str:
        return str(self._folder)

    def find(self, key: str) -> StoredComponent | None:
        path = _below(self._folder, key)
        try:
            kept = _kept(path)
        except OSError as error:
            if error.errno in _NOTHING_KEPT:
                return None
            raise convert_os_error(error, "look at", path) from error
        return StoredComponent(str(path), kept["size"], kept["identity"], kept["sha256"]) if kept else None

    @contextmanager
    def open(self, key: Callable[[], tuple[str, str]], source: Source | None = None) -> Iterator[Upload]:  # noqa: ARG002  the port's
        upload = _FolderUpload(self._folder, key)
        with observe(catalog.WRITE_COMPONENT, store="file", aborted=0) as step:
            try:
                upload.begin()
                yield upload
            except BaseException as error:
                step.add(aborted=1)
                for failure in upload.discard():
                    error.add_note(f"{failure['path']} could not be removed: {failure['cause']}")
                raise
            else:
                if failures := upload.discard():
                    raise CleanupFailedError(failures)
            finally:
                step.add(bytes_written=upload.bytes_written, parts=1)
                if upload.committed:
                    step.add(key=upload.key, sha256=upload.sha256)

    def sweep(self, older_than_s: float) -> int:  # noqa: ARG002  locks tell, whatever the age
        try:
            ours = [each for each in self._folder.iterdir() if each.name.startswith(TEMPORARY_PREFIX)]
        except OSError:
            return 0
        return remove_leftovers(ours, _remove_if_dead)


def _temporary(folder: Path) -> Path:
    return folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}.zip"


def _remove_if_dead(file: Path) -> int:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or lock(descriptor, file) is not Lock.TAKEN:
            return 0
        file.unlink()
    finally:
        os.close(descriptor)
    return status.st_size


class _FolderUpload:
    def __init__(self, folder: Path, key: Callable[[], tuple[str, str]]) -> None:
        self.committed = False
        self.bytes_written = 0
        self.key = ""
        self.sha256 = ""
        self._folder = folder
        self._key = key
        self._temporary = _temporary(folder)
        self._made: list[Path] = []
        self._sha256 = hashlib.sha256()

    def begin(self) -> None:
        with map_os_errors("write below", self._folder):
            descriptor = self._into(self._folder, lambda: os.open(self._temporary, _NEW_FILE, 0o666))
            while lock(descriptor, self._temporary) is Lock.LOST:  # to a sweep, which took it for a dead run's
                os.close(descriptor)
                self._temporary = _temporary(self._folder)
                descriptor = self._into(self._folder, lambda: os.open(self._temporary, _NEW_FILE, 0o666))
            self._file = io.BufferedWriter(io.FileIO(descriptor, "w"), _WRITE_BUFFER_BYTES)

    def write(self, data: bytes | bytearray | memoryview, /, origin: int = -1) -> None:  # noqa: ARG002  the port's
        try:
            self.bytes_written += self._file.write(data)
        except OSError as error:
            raise self._failure(error, "write", len(data)) from error
        self._sha256.update(data)

    def commit(self) -> StoredComponent:
        key, identity = self._key()
        final = _below(self._folder, key)
        sha256 = self._sha256.hexdigest()
        try:
            self._settle(identity, sha256)
            self._into(final.parent, lambda: self._temporary.replace(final))
        except OSError as error:
            raise self._failure(error, "commit", 0) from error
        self.committed, self.key, self.sha256 = True, key, sha256
        _persist(final.parent)
        return StoredComponent(str(final), self.bytes_written, identity, sha256)

    def discard(self) -> list[dict[str, str]]:
        """Without a commit, remove the file and the folders made for it; what could not be removed is returned."""
        if self.committed:
            return []
        file = getattr(self, "_file", None)
        if file is not None:
            with suppress(OSError):
                file.raw.close()
        failures = []
        try:
            self._temporary.unlink(missing_ok=True)
        except NotADirectoryError:
            pass
        except OSError as error:
            failures.append({"path": str(self._temporary), "cause": str(error)})
        for folder in reversed(self._made):
            with suppress(OSError):  # not empty: somebody else's component is below it by now
                folder.rmdir()
        return failures

    def _settle(self, identity: str, sha256: str) -> None:
        """Bring the bytes to the disk, and what is known of them into the file's attribute."""
        self._file.flush()
        descriptor = self._file.fileno()
        size_bytes, mtime_ns = _dated(os.fstat(descriptor))
        _keep(descriptor, {"identity": identity, "sha256": sha256, "size": size_bytes, "mtime_ns": mtime_ns})
        os.fsync(descriptor)
        self._file.close()

    def _into(self, folder: Path, act: Callable[[], T]) -> T:
        """Do something that needs `folder`, making it and its parents; another upload may be removing them again."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                self._make(folder)
                return act()
        self._make(folder)
        return act()

    def _make(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            with suppress(FileExistsError):
                each.mkdir()
                self._made.append(each)

    def _failure(self, error: OSError, operation: str, more_bytes: int) -> Exception:
        if error.errno in FULL:
            held_bytes = self._bytes_on_disk()
            lacking_bytes = self.bytes_written + more_bytes - held_bytes
            return storage_error(self._folder, held_bytes=held_bytes, more_bytes=lacking_bytes, code=error.errno)
        return convert_os_error(error, operation, self._folder)

    def _bytes_on_disk(self) -> int:
        """How much of what was written has left the buffer: the last of it can be as long as a small disk."""
        try:
            return os.fstat(self._file.fileno()).st_size
        except (OSError, ValueError):  # it is closed: everything has
            return self.bytes_written


def _below(folder: Path, key: str) -> Path:
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts or "\0" in key:
        raise RequestError(
            f"{printable(key)!r} is no key below a folder.",
            next_step="Give a relative path without `..`.",
            key=printable(key),
        )
    return folder.joinpath(*parts)


def _keep(descriptor: int, kept: dict[str, str | int]) -> None:
    """Keep what is known of the file beside it. Without it find() knows nothing: slower, never wrong."""
    with suppress(AttributeError):  # not every system offers extended attributes
        try:
            os.setxattr(descriptor, KEPT_ATTRIBUTE, json.dumps(kept).encode())
        except OSError as error:
            if error.errno not in _CANNOT_KEEP:
                raise


def _kept(path: Path) -> dict[str, Any] | None:
    """What is kept of the file, unless that was written about other bytes; OSError as the system raises it."""
    try:
        kept = json.loads(os.getxattr(path, KEPT_ATTRIBUTE))
        status = path.stat()
        trusted = stat.S_ISREG(status.st_mode) and (kept["size"], kept["mtime_ns"]) == _dated(status)
        return kept if trusted and {"identity", "sha256"} <= kept.keys() else None
    except (AttributeError, ValueError, KeyError, TypeError):
        return None


def _dated(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _persist(folder: Path) -> None:
    """Bring the new name to the disk; a file system that cannot do so for a folder keeps the component all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
