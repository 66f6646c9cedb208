"""Standard input as an artifact and standard output as a sink: each goes by once, and nothing of it is kept."""

from __future__ import annotations

import errno
import hashlib
import select
import threading
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from packager.core.ports import Identity, StoredComponent
from packager.deadline import LOOKS_EVERY_S, raise_if_late
from packager.errors import StoreError
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.core.ports import Reader, Source, Upload

STREAM = "-"
"""What stands for standard input, and for standard output."""

_HEAD_BYTES = 1 << 16
_OPENED_WITHIN_S = 60.0
_TO_A_FILE = "Write it to a file first, and name that."


class StandardInput:
    """An artifact that is piped in. It can be read once, from first to last byte; its identity is known after that.

    Memory: the first 64 KiB, which tell what it is.
    """

    identity_is_at_hand = False
    uri = STREAM

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._head = self._ahead = b""  # the first bytes, and those of them that nobody has taken yet
        self._bytes_read = 0
        self._opened = threading.Event()
        self._ended = threading.Event()
        self._identity: Identity | None = None

    def size_bytes(self) -> int:
        """Bytes read so far: how many will come is not known."""
        return self._bytes_read

    def identity(self) -> Identity:
        """Waits until all of it has been read by somebody; StoreError when they stop before."""
        began = time.monotonic()
        while not self._ended.wait(LOOKS_EVERY_S):
            raise_if_late()
            if not self._opened.is_set() and time.monotonic() - began > _OPENED_WITHIN_S:
                raise _refused("is known only when it has been read")
        if self._identity is None:
            raise _refused("was not read to its end")
        return self._identity

    def read_range(self, first: int, length: int) -> bytes:
        if first or length > _HEAD_BYTES:
            raise _refused("cannot be read here and there")
        while not self._bytes_read and len(self._head) < length:
            more = _read(self._stream, length - len(self._head))
            if not more:
                break
            self._head += more
            self._ahead += more
        return self._head[:length]

    @contextmanager
    def open(self) -> Iterator[Reader]:
        if self._opened.is_set():
            raise _refused("cannot be read twice")
        self._opened.set()
        with observe(catalog.READ_ARTIFACT, store="file", source=STREAM, requests=1, resumed=0) as step:
            reader = _StreamReader(self)
            try:
                yield reader
            finally:
                step.add(bytes_read=self._bytes_read)
                self._ended.set()

    def take(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        if taken:
            return taken
        data = _read(self._stream, size)
        self._head += data[: _HEAD_BYTES - len(self._head)]
        return data

    def count(self, data: bytes, digest: str) -> None:
        """Note what was read; no data is the end, at which `digest` is the SHA-256 of it all."""
        self._bytes_read += len(data)
        if not data:
            self._identity = Identity(self._bytes_read, (("sha256", digest), ("size", str(self._bytes_read))))
            self._ended.set()


class _StreamReader:
    def __init__(self, source: StandardInput) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.take(size if size >= 0 else _HEAD_BYTES)
        self._sha256.update(data)
        self._source.count(data, self._sha256.hexdigest())
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        if not len(buffer):
            return 0
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class StandardOutput:
    """A sink for one component, which leaves as it is made: one that fails is cut short, and no ZIP."""

    uri = STREAM

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._opened = False

    def find(self, key: str) -> StoredComponent | None:  # noqa: ARG002  nothing lies there
        return None

    def sweep(self, older_than_s: float) -> int:  # noqa: ARG002  same
        return 0

    @contextmanager
    def open(self, key: Callable[[], tuple[str, str]], source: Source | None = None) -> Iterator[Upload]:  # noqa: ARG002  the port's
        if self._opened:
            raise StoreError(
                "Standard output takes one component, and has begun with one.",
                next_step="Give an output folder or bucket.",
                operation="write",
                uri=STREAM,
                code="EBUSY",
            )
        self._opened = True
        upload = _StreamUpload(self._stream, key)
        with observe(catalog.WRITE_COMPONENT, store="file", aborted=0) as step:
            try:
                yield upload
            except BaseException:
                step.add(aborted=1)
                raise
            finally:
                step.add(bytes_written=upload.bytes_written, parts=1)


class _StreamUpload:
    def __init__(self, stream: IO[bytes], key: Callable[[], tuple[str, str]]) -> None:
        self._stream = stream
        self._key = key
        self._sha256 = hashlib.sha256()
        self.bytes_written = 0

    def write(self, data: bytes | bytearray | memoryview, /, origin: int = -1) -> None:  # noqa: ARG002  the port's
        try:
            self._stream.write(data)
        except OSError as error:
            raise _not_written(error) from error
        self._sha256.update(data)
        self.bytes_written += len(data)

    def commit(self) -> StoredComponent:
        _, identity = self._key()
        try:
            self._stream.flush()
        except OSError as error:
            raise _not_written(error) from error
        return StoredComponent(STREAM, self.bytes_written, identity, self._sha256.hexdigest())


def _read(stream: IO[bytes], size: int) -> bytes:
    """What is there already, at most `size`: a slow pipe is not waited for until it has filled a buffer."""
    file = getattr(stream, "raw", None)  # below the buffer, which would hide from `select` what it holds
    try:
        if file is None:
            return stream.read(size)
        data: bytes | None = None
        while data is None:
            if select.select([file], [], [], LOOKS_EVERY_S)[0]:
                data = file.read(size)
            else:
                raise_if_late()
    except OSError as error:
        raise StoreError(
            f"Standard input cannot be read: {error.strerror}.",
            next_step=_TO_A_FILE,
            operation="read",
            uri=STREAM,
            code=errno.errorcode.get(error.errno or 0, "unknown"),
        ) from error
    return data


def _refused(what: str) -> StoreError:
    return StoreError(f"Standard input {what}.", next_step=_TO_A_FILE, operation="read", uri=STREAM, code="ESPIPE")


def _not_written(error: OSError) -> StoreError:
    return StoreError(
        f"Standard output cannot be written: {error.strerror}.",
        next_step="Look at what reads it, or give an output folder or bucket.",
        operation="write",
        uri=STREAM,
        code=errno.errorcode.get(error.errno or 0, "unknown"),
    )
