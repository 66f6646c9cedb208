"""Artifacts read from files."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from packager.core.ports import Identity
from packager.deadline import raise_if_late
from packager.errors import ArtifactChangedError, StoreError, printable
from packager.os_errors import map_os_errors
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

    from packager.core.ports import Reader

_HASHED_AT_ONCE_BYTES = 1 << 20

Signature = tuple[int, int, int, int]


class FileSource:
    """One artifact in a file. It must stay as it was when this object first looked at it.

    What counts as changed: device, inode, size and date of modification. Memory: one buffer of 1 MiB while hashing.
    """

    __slots__ = ("_first", "_hashing", "_identity", "_lock", "_path")  # a folder has a hundred thousand of them

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._first: Signature | None = None
        self._identity: Identity | None = None

    @property
    def uri(self) -> str:
        return str(self._path)

    @property
    def identity_is_at_hand(self) -> bool:
        return self._identity is not None

    def size_bytes(self) -> int:
        with map_os_errors("read", self._path):
            return self._unchanged(self._path.stat())

    def identity(self) -> Identity:
        with self._hashing:
            if self._identity is None:
                with observe(catalog.IDENTIFY_ARTIFACT, source=self.uri) as step:
                    self._identity = self._hashed()
                    step.add(bytes_hashed=self._identity.size_bytes, sha256=dict(self._identity.marks)["sha256"])
            return self._identity

    def identity_unobserved(self) -> Identity:
        """As identity, within the step of whoever takes several files as one artifact; not kept, for there are many."""
        with self._hashing:
            return self._identity or self._hashed()

    def read_range(self, first: int, length: int) -> bytes:
        with self._opened() as (file, _), map_os_errors("read", self._path):
            return os.pread(file.fileno(), length, first)

    @contextmanager
    def open(self) -> Iterator[Reader]:
        with (
            observe(catalog.READ_ARTIFACT, store="file", source=self.uri, requests=1, resumed=0) as step,
            self.open_unobserved() as reader,
        ):
            try:
                yield reader
            finally:
                step.add(bytes_read=reader.bytes_read)

    @contextmanager
    def open_unobserved(self) -> Iterator[FileReader]:
        """As open, within the step of whoever reads several files as one artifact."""
        with self._opened() as (file, size_bytes):
            reader = FileReader(file, self, size_bytes)
            yield reader
            if not reader.ended:
                self.check(file.fileno())

    def check(self, descriptor: int) -> int:
        """The size of the open file. ArtifactChangedError when that is no longer what was first seen."""
        with map_os_errors("read", self._path):
            return self._unchanged(os.fstat(descriptor))

    def _hashed(self) -> Identity:
        with self._opened() as (file, size_bytes), map_os_errors("read", self._path):
            sha256, left_bytes = hashlib.sha256(), size_bytes
            # No more room than is needed: 1 MiB for each of many small files takes longer than to read them.
            while left_bytes > 0 and (block := file.read(min(left_bytes, _HASHED_AT_ONCE_BYTES))):
                raise_if_late()  # a file of many gigabytes takes minutes
                sha256.update(block)
                left_bytes -= len(block)
            digest = sha256.hexdigest()
            self._unchanged(os.fstat(file.fileno()))
        return Identity(size_bytes, (("sha256", digest), ("size", str(size_bytes))))

    @contextmanager
    def _opened(self) -> Iterator[tuple[io.FileIO, int]]:
        """The open file, and its size."""
        with map_os_errors("read", self._path):
            # Without O_NONBLOCK a named pipe would be waited for before it could be refused.
            file = io.FileIO(self._path, opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
        with file:
            yield file, self.check(file.fileno())

    def _unchanged(self, now: os.stat_result) -> int:
        if not stat.S_ISREG(now.st_mode):
            kind = "a folder" if stat.S_ISDIR(now.st_mode) else "a pipe, socket or device"
            raise StoreError(
                f"Cannot read {printable(self._path, 1000)}: it is {kind}.",
                next_step="Name a regular file; it may have to be read twice.",
                operation="read",
                uri=self.uri,
                code="EISDIR" if stat.S_ISDIR(now.st_mode) else "EINVAL",
            )
        signature = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
        with self._lock:
            if self._first is None:
                self._first = signature
            if self._first == signature:
                return now.st_size
        raise ArtifactChangedError(
            f"{printable(self._path, 1000)} was changed while it was being read: {self._first[2]} bytes before, "
            f"{now.st_size} bytes now, another date or another file of that name.",
            next_step="Package again when whoever writes it is done.",
            operation="read",
            uri=self.uri,
            code="changed",
        )


class FileReader(io.RawIOBase):
    """The bytes of an open file, counted; the end is no end when the file has changed."""

    requests = 1

    def __init__(self, file: io.FileIO, source: FileSource, size_bytes: int) -> None:
        self._file = file
        self._source = source
        self._size_bytes = size_bytes
        self.bytes_read = 0
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = 0
        if self.bytes_read < self._size_bytes:  # else the size alone, held against the first, says that nothing follows
            with map_os_errors("read", Path(self._source.uri)):
                count = self._file.readinto(buffer)
        self.bytes_read += count
        if count == 0:
            self._source.check(self._file.fileno())
            self.ended = True
        return count
