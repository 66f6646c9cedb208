"""The ports of the packager. One test suite runs over every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

TEMPORARY_PREFIX = ".edge-model-packager-"
"""What the name of every temporary file of ours begins with, so that a later sweep knows it."""

KEYS_BEGIN_WITH = "model_artifacts/model-"
"""What the key of every component of ours begins with, so that a later sweep knows its upload."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes an artifact the same artifact: equal identities mean equal bytes.

    Attributes:
        size_bytes: packed size.
        marks: names and values that change when the bytes do, sorted by name (S3: `etag`, `size`, and
            `checksum` where S3 keeps one; a file: `sha256`, `size`).
    """

    size_bytes: int
    marks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StoredComponent:
    """A component that is already there. `uri` is an s3:// URI or an absolute path; `sha256` is hexadecimal."""

    uri: str
    size_bytes: int
    identity: str
    sha256: str


class Reader(Protocol):
    """An artifact's packed bytes, read once from first to last, by one thread at a time."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the front of `buffer` with one byte or more, return how many; 0 at the end only."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, all that is left without one; empty at the end only."""


class Source(Protocol):
    """One artifact; any thread may ask.

    Errors: ArtifactNotFoundError, AccessDeniedError, ArtifactChangedError, StoreError.
    """

    @property
    def uri(self) -> str: ...

    @property
    def identity_is_at_hand(self) -> bool:
        """Whether `identity` answers without reading the artifact."""

    def size_bytes(self) -> int:
        """Packed size, without reading the artifact (S3: one HEAD, remembered)."""

    def identity(self) -> Identity:
        """The identity; S3 answers from the remembered HEAD, a file is read once and hashed."""

    def read_range(self, first: int, length: int) -> bytes:
        """`length` bytes from `first`, for those who look into a file here and there; shorter at its end only."""

    def open(self) -> AbstractContextManager[Reader]:
        """Read the artifact; leaving the block frees every buffer and connection, also half-way."""


class Upload(Protocol):
    """A component on its way: invisible until `commit`, gone without a trace otherwise."""

    def write(self, data: bytes | bytearray | memoryview, /, origin: int = -1) -> None:
        """Take the next bytes; `data` may be reused as soon as this returns. `origin`: their place in the artifact."""

    def commit(self) -> StoredComponent:
        """Make the component visible under its key, whole, with its identity and SHA-256 kept beside it."""


class Sink(Protocol):
    """A folder or a bucket with an optional prefix. Errors as for Source; a full disk is InsufficientStorageError."""

    @property
    def uri(self) -> str: ...

    def find(self, key: str) -> StoredComponent | None:
        """What lies under `key`, or None when nothing does or its identity or SHA-256 is not known."""

    def sweep(self, older_than_s: float) -> int:
        """Remove what killed runs left half-written here, and return how many; never what a live run writes.

        A folder tells by locks, which die with the process. S3 cannot: there, uploads begun longer ago are dead.
        Never raises a failure: what cannot be swept now waits for the next run, or a lifecycle rule.
        """

    def open(self, key: Callable[[], tuple[str, str]], source: Source | None = None) -> AbstractContextManager[Upload]:
        """Begin a component; leaving the block without a commit removes every trace of it.

        `key` gives the key below this sink and the full identity. It is called once, when the store needs it: S3
        before the first part goes out, a folder at commit, so that a file can be hashed while it is packaged.
        `source` is what bytes that are written with an `origin` lie in; a store may copy them from there.
        """
