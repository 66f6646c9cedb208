"""Small objects through a caller's S3 client that knows only whole files (`download_file`, `upload_file`)."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from packager.core.ports import Identity, StoredComponent
from packager.errors import ArtifactChangedError, StoreError, in_units
from packager.os_errors import FULL, convert_os_error
from packager.stores.folder import FolderSink
from packager.stores.s3_errors import map_s3_errors
from telemetry import add, catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from io import BufferedReader
    from pathlib import Path

    from packager.core.ports import Reader, Source, Upload

MOST_BYTES = 64 << 20
"""Size of the largest object that is staged on scratch for a client that cannot stream."""


class Space(Protocol):
    """Reserved space on scratch."""

    def record_write(self, size_bytes: int) -> None: ...


class Scratch(Protocol):
    """Where whole files are staged: `packager.limits.storage.StorageManager`, which stores may not import."""

    def reserved_folder(self, size_bytes: int, owner: str = "") -> AbstractContextManager[tuple[Path, Space]]:
        """Reserve space and make a folder, both for the block; InsufficientStorageError when it does not fit."""


class CanDownload(Protocol):
    """What a client needs for reading."""

    def download_file(self, bucket: str, key: str, path: str, /) -> object: ...


class CanUpload(Protocol):
    """What a client needs for writing."""

    def upload_file(self, path: str, bucket: str, key: str, /) -> object: ...


class WholeFileSource:
    """One object, downloaded to scratch whenever it is read. StoreError above `MOST_BYTES`."""

    def __init__(self, bucket: str, key: str, client: CanDownload, scratch: Scratch) -> None:
        self._bucket = bucket
        self._key = key
        self._client = client
        self._scratch = scratch
        self._lock = threading.Lock()
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
        with self._lock:
            if self._identity is None:
                with observe(catalog.IDENTIFY_ARTIFACT, source=self.uri) as step, self._downloaded() as file:
                    self._identity = _identity(file)
                    step.add(bytes_hashed=self._identity.size_bytes, sha256=dict(self._identity.marks)["sha256"])
            return self._identity

    def read_range(self, first: int, length: int) -> bytes:
        with self._downloaded() as file:
            self._check_unchanged(file)
            file.seek(first)
            return file.read(length)

    @contextmanager
    def open(self) -> Iterator[Reader]:
        with (
            observe(catalog.READ_ARTIFACT, store="s3", source=self.uri, bucket=self._bucket, key=self._key) as step,
            self._downloaded() as file,
        ):
            self._check_unchanged(file)
            file.seek(0)
            try:
                yield file
            finally:
                step.add(bytes_read=file.tell(), requests=1, resumed=0)

    @contextmanager
    def _downloaded(self) -> Iterator[BufferedReader]:
        with self._scratch.reserved_folder(MOST_BYTES, self._key) as (folder, space):
            path = folder / "artifact"
            with _mapped_errors("download_file", self.uri, path):
                self._client.download_file(self._bucket, self._key, str(path))
                size_bytes = path.stat().st_size
                file = path.open("rb")
            space.record_write(size_bytes)
            with file:
                _check_size(size_bytes, "download_file", self.uri)
                yield file

    def _check_unchanged(self, file: BufferedReader) -> None:
        now = _identity(file)
        with self._lock:
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

    def __init__(self, bucket: str, prefix: str, client: CanUpload, scratch: Scratch) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client
        self._scratch = scratch

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def find(self, key: str) -> StoredComponent | None:  # noqa: ARG002  the protocol's; this client cannot look
        return None

    def sweep(self, older_than_s: float) -> int:  # noqa: ARG002  the protocol's; this client leaves nothing half-written
        return 0

    @contextmanager
    def open(self, key: Callable[[], tuple[str, str]], source: Source | None = None) -> Iterator[Upload]:  # noqa: ARG002  the port's
        def prefixed() -> tuple[str, str]:
            below, identity = key()
            return self._prefix + below, identity

        with (
            self._scratch.reserved_folder(MOST_BYTES, "component") as (folder, space),
            FolderSink(folder).open(prefixed) as staged,
        ):
            add(store="s3", bucket=self._bucket)  # to the step of the folder's sink, which cannot know
            yield _WholeFileUpload(staged, space, lambda stored: self._send(stored, folder))

    def _send(self, stored: StoredComponent, folder: Path) -> StoredComponent:
        key = stored.uri.removeprefix(f"{folder}/")
        uri = f"s3://{self._bucket}/{key}"
        with _mapped_errors("upload_file", uri, folder):
            self._client.upload_file(stored.uri, self._bucket, key)
        return replace(stored, uri=uri)


class _WholeFileUpload:
    """A component that is staged in a folder and then sent."""

    def __init__(self, staged: Upload, space: Space, send: Callable[[StoredComponent], StoredComponent]) -> None:
        self._staged = staged
        self._space = space
        self._send = send
        self._size_bytes = 0

    def write(self, data: bytes | bytearray | memoryview, /, origin: int = -1) -> None:  # noqa: ARG002  the port's
        size_bytes = memoryview(data).nbytes
        self._size_bytes += size_bytes
        _check_size(self._size_bytes, "upload_file", "the component")
        self._staged.write(data)
        self._space.record_write(size_bytes)

    def commit(self) -> StoredComponent:
        return self._send(self._staged.commit())


@contextmanager
def _mapped_errors(operation: str, uri: str, path: Path) -> Iterator[None]:
    """Turn a full disk, which the client met at `path`, into InsufficientStorageError; others as map_s3_errors does."""
    try:
        with map_s3_errors(operation, uri):
            yield
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise convert_os_error(cause, operation, path) from cause
        raise


def _identity(file: BufferedReader) -> Identity:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    size_bytes = file.tell()
    return Identity(size_bytes, (("sha256", digest), ("size", str(size_bytes))))


def _check_size(size_bytes: int, operation: str, uri: str) -> None:
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
