"""A model of several files that are no archive: a folder, or the objects below a prefix, listed once."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from packager.core.ports import Identity
from packager.core.tar import Entry
from packager.errors import ExtractionError, StoreError, printable, within
from packager.os_errors import map_os_errors
from packager.stores.file import FileSource
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from packager.core.ports import Reader
    from packager.core.tar import Kind


class CountedReader(Protocol):
    """A Reader that counts what it has asked for."""

    @property
    def bytes_read(self) -> int: ...

    @property
    def requests(self) -> int: ...

    def readinto(self, buffer: memoryview, /) -> int: ...


class ListedSource(Protocol):
    """A source that is one of many: a model of a thousand files is one step, and not a thousand."""

    def size_bytes(self) -> int: ...

    def identity_unobserved(self) -> Identity: ...

    def open_unobserved(self) -> AbstractContextManager[CountedReader]: ...


class Listed(NamedTuple):
    """What was listed; `source` is None for what is no file."""

    entry: Entry
    source: ListedSource | None


class FileCollection:
    """Files that are one model, in the order of their names' bytes, each read as it was when it was listed.

    Args:
        uri: of them all.
        list_files: lists them; called once.
        max_members: MAX_ARCHIVE_MEMBERS.
        identity_is_at_hand: whether their identities are known without reading them.
    """

    def __init__(
        self, uri: str, list_files: Callable[[], Iterable[Listed]], *, max_members: int, identity_is_at_hand: bool
    ) -> None:
        self.uri = uri
        self._list_files = list_files
        self._max_members = max_members
        self._at_hand = identity_is_at_hand
        self._listing = threading.Lock()
        self._identifying = threading.Lock()
        self._files: list[Listed] | None = None
        self._identity: Identity | None = None

    @property
    def identity_is_at_hand(self) -> bool:
        return self._at_hand or self._identity is not None

    def listed(self) -> Sequence[Entry]:
        """The files, and what else is there. ExtractionError when there is nothing, LimitExceededError for too many."""
        return [each.entry for each in self._all()]

    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.listed())

    def identity(self) -> Identity:
        with self._identifying:
            if self._identity is None:
                with observe(catalog.IDENTIFY_ARTIFACT, source=self.uri, bytes_hashed=0) as step:
                    self._identity = self._identified()
                    step.add(bytes_hashed=0 if self._at_hand else self._identity.size_bytes)
            return self._identity

    def _identified(self) -> Identity:
        digest = hashlib.sha256()
        for entry, source in self._all():
            marks = source.identity_unobserved().marks if source else ()
            digest.update(f"{(entry.kind, entry.name, marks)!a}\n".encode("ascii"))
        size_bytes = self.size_bytes()
        return Identity(size_bytes, (("files", digest.hexdigest()), ("size", str(size_bytes))))

    def read_range(self, first: int, length: int) -> bytes:  # noqa: ARG002  the port's
        raise StoreError(
            f"{printable(self.uri, 1000)} is no file, and not read here and there.",
            next_step="Name a file.",
            operation="read",
            uri=self.uri,
            code="EISDIR",
        )

    @contextmanager
    def open(self) -> Iterator[Reader]:
        store = "s3" if self.uri.startswith("s3://") else "file"
        counts = {"resumed": 0, "retries": 0, "throttles": 0}
        with observe(catalog.READ_ARTIFACT, store=store, source=self.uri, **counts) as step, ExitStack() as opened:
            reader = _Concatenated([source for _, source in self._all() if source], opened)
            try:
                yield reader
            finally:
                step.add(bytes_read=reader.bytes_read, requests=reader.requests)

    def _all(self) -> list[Listed]:
        with self._listing:
            if self._files is None:
                found: list[Listed] = []
                for each in self._list_files():
                    found.append(each)
                    within("MAX_ARCHIVE_MEMBERS", self._max_members, len(found))
                if not found:
                    raise ExtractionError(
                        f"There are no files in {printable(self.uri, 1000)}.",
                        next_step="Look at the path: a prefix ends in a slash, and a key is an exact one.",
                    )
                self._files = sorted(found, key=lambda listed: os.fsencode(listed.entry.name))
            return self._files


class _Concatenated:
    """The bytes of several sources, one behind the other; each is open only while it is read."""

    def __init__(self, sources: Sequence[ListedSource], opened: ExitStack) -> None:
        self._waiting = iter(sources)
        self._opened = opened
        self._reader: CountedReader | None = None
        self.bytes_read = 0
        self._requests = 0

    @property
    def requests(self) -> int:
        """Of all readers so far."""
        return self._requests + (self._reader.requests if self._reader else 0)

    def readinto(self, buffer: memoryview, /) -> int:
        while True:
            if self._reader is None:
                source = next(self._waiting, None)
                if source is None:
                    return 0
                self._reader = self._opened.enter_context(source.open_unobserved())
            if count := self._reader.readinto(buffer):
                self.bytes_read += count
                return count
            self._requests, self._reader = self.requests, None
            self._opened.close()

    def read(self, size: int = -1, /) -> bytes:
        room = memoryview(bytearray(size if size >= 0 else 1 << 20))
        return bytes(room[: self.readinto(room)])


def local_folder(folder: Path, max_members: int) -> FileCollection:
    """The files below a folder.

    A link to a file of the same folder is that file; any other link is listed as one, and refused where it is used.
    """
    path = folder.absolute()
    return FileCollection(str(path), lambda: _walk(path), max_members=max_members, identity_is_at_hand=False)


def _walk(root: Path) -> Iterator[Listed]:
    with map_os_errors("list", root):
        real_root = root.resolve()
        above = len(os.path.join(real_root, ""))  # noqa: PTH118  as long as what scandir puts before a name
        waiting = [str(real_root)]
        while waiting:
            with os.scandir(waiting.pop()) as found:
                for each in found:
                    if each.is_dir(follow_symlinks=False):
                        waiting.append(each.path)
                    else:
                        yield _found(each, each.path[above:], real_root)


def _found(file: os.DirEntry[str], name: str, root: Path) -> Listed:
    path, kind = Path(file.path), _kind(file, root)
    if kind != "file":
        return Listed(Entry(name, 0, kind), None)
    # No folder above it is a link, so that only a link has to be resolved: that takes a call for each folder.
    source = FileSource(path.resolve() if file.is_symlink() else path)
    return Listed(Entry(name, source.size_bytes(), kind), source)


def _kind(file: os.DirEntry[str], root: Path) -> Kind:
    if file.is_symlink() and not (file.is_file() and Path(file.path).resolve().is_relative_to(root)):
        return "symbolic link"
    return "file" if file.is_file() else "device"
