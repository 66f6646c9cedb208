"""Small objects through a caller's client that knows only whole files: `download_file`, `upload_file`."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from packager.core.ports import TEMPORARY_PREFIX, Identity, StoredComponent
from packager.errors import ArtifactChangedError, PackagerError, StoreError, in_units
from packager.locks import lock
from packager.os_errors import FULL, full
from packager.stores.s3_errors import map_s3_errors
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from packager.core.ports import Reader, Upload

MOST_BYTES = 64 << 20
"""What may lie in a temporary file for a client that cannot stream."""


class CanDownload(Protocol):
    """What is asked of a client to read with."""

    def download_file(self, bucket: str, key: str, path: str, /) -> object: ...


class CanUpload(Protocol):
    """What is asked of a client to write with."""

    def upload_file(self, path: str, bucket: str, key: str, /) -> object: ...


class WholeFileSource:
    """One object, downloaded to a temporary file whenever it is read. StoreError above `MOST_BYTES`."""

    def __init__(self, bucket: str, key: str, client: CanDownload) -> None:
        self._bucket = bucket
        self._key = key
        self._client = client
        self._looking = threading.Lock()
        self._identity: Identity | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    @property
    def identity_is_at_hand(self) -> bool:
        return True

    def size_bytes(self) -> int:
        return self.identity().size_bytes

    def identity(self) -> Identity:
        with self._looking:
            if self._identity is None:
                with observe(catalog.IDENTIFY_ARTIFACT, source=self.uri) as step, self._downloaded() as file:
                    self._identity = _identity(file)
                    step.add(bytes_hashed=self._identity.size_bytes, sha256=dict(self._identity.marks)["sha256"])
            return self._identity

    def read_range(self, first: int, length: int) -> bytes:
        with self._downloaded() as file:
            self._same(_identity(file))
            file.seek(first)
            return file.read(length)

    @contextmanager
    def open(self) -> Iterator[Reader]:
        with (
            observe(catalog.READ_ARTIFACT, store="s3", source=self.uri, bucket=self._bucket, key=self._key) as step,
            self._downloaded() as file,
        ):
            self._same(_identity(file))
            file.seek(0)
            try:
                yield file
            finally:
                step.add(bytes_read=file.tell(), requests=1, resumed=0)

    @contextmanager
    def _downloaded(self) -> Iterator[BufferedReader]:
        with _scratch() as folder:
            path = folder / "artifact"
            with _explained("download_file", self.uri, folder, MOST_BYTES):
                self._client.download_file(self._bucket, self._key, str(path))
                file = path.open("rb")
            with file:
                _small_enough(path.stat().st_size, "download_file", self.uri)
                yield file

    def _same(self, now: Identity) -> None:
        with self._looking:
            if self._identity is None:
                self._identity = now
            if self._identity == now:
                return
        raise ArtifactChangedError(
            f"{self.uri} was replaced while it was being read: {self._identity.size_bytes} bytes before, "
            f"{now.size_bytes} bytes now.",
            next_step="Package again when whoever writes it is done.",
            operation="download_file",
            uri=self.uri,
            code="changed",
        )


class WholeFileSink:
    """A bucket with an optional prefix, for components of at most `MOST_BYTES`; StoreError above.

    The client can keep no identity beside an object, so nothing is ever found and everything is packaged again.
    """

    def __init__(self, bucket: str, prefix: str, client: CanUpload) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def find(self, key: str) -> StoredComponent | None:  # noqa: ARG002  the protocol's; this client cannot look
        return None

    def sweep(self, older_than_s: float) -> int:  # noqa: ARG002  the protocol's; this client leaves nothing half-written
        return 0

    @contextmanager
    def open(self, key: Callable[[], tuple[str, str]]) -> Iterator[Upload]:
        with observe(catalog.WRITE_COMPONENT, store="s3", bucket=self._bucket) as step, _scratch() as folder:
            upload = _WholeFileUpload(folder, self._send, key)
            try:
                yield upload
            finally:
                upload.close()
                stored = upload.stored
                step.add(bytes_written=upload.bytes_written, parts=int(stored is not None), aborted=int(stored is None))
                if stored is not None:
                    step.add(key=stored.uri.removeprefix(f"s3://{self._bucket}/"), sha256=stored.sha256)

    def _send(self, path: Path, key: str) -> str:
        uri = f"{self.uri}{key}"
        with _explained("upload_file", uri, path.parent, 0):
            self._client.upload_file(str(path), self._bucket, self._prefix + key)
        return uri


class _WholeFileUpload:
    def __init__(self, folder: Path, send: Callable[[Path, str], str], key: Callable[[], tuple[str, str]]) -> None:
        self.bytes_written = 0
        self.stored: StoredComponent | None = None
        self._folder = folder
        self._path = folder / "component.zip"
        self._file = self._path.open("wb")
        self._send = send
        self._key = key
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        size_bytes = memoryview(data).nbytes
        _small_enough(self.bytes_written + size_bytes, "upload_file", "the component")
        with _explained("write", str(self._path), self._folder, size_bytes):
            self._file.write(data)
        self._sha256.update(data)
        self.bytes_written += size_bytes

    def commit(self) -> StoredComponent:
        key, identity = self._key()
        with _explained("write", str(self._path), self._folder, 0):
            self._file.close()
        uri = self._send(self._path, key)
        self.stored = StoredComponent(uri, self.bytes_written, identity, self._sha256.hexdigest())
        return self.stored

    def close(self) -> None:
        self._file.close()


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lock(descriptor, Path(folder))  # a sweep beside this run would take it for a dead run's
            yield Path(folder)
        finally:
            os.close(descriptor)


@contextmanager
def _explained(operation: str, uri: str, folder: Path, more_bytes: int) -> Iterator[None]:
    """Turn a full scratch disk into InsufficientStorageError, every other foreign error into ours."""
    try:
        with map_s3_errors(operation, uri):
            yield
    except PackagerError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise full(folder, held_bytes=0, more_bytes=more_bytes, code=cause.errno) from cause
        raise


def _identity(file: BufferedReader) -> Identity:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    size_bytes = file.tell()
    return Identity(size_bytes, (("sha256", digest), ("size", str(size_bytes))))


def _small_enough(size_bytes: int, operation: str, uri: str) -> None:
    if size_bytes <= MOST_BYTES:
        return
    raise StoreError(
        f"{uri} is {in_units(size_bytes)} ({size_bytes} bytes) or more; a client that knows only whole files may move "
        f"{in_units(MOST_BYTES)} ({MOST_BYTES} bytes).",
        next_step="Pass a client of boto3: it streams any size without scratch space.",
        operation=operation,
        uri=uri,
        code="EntityTooLarge",
        size_bytes=size_bytes,
        limit_bytes=MOST_BYTES,
    )
