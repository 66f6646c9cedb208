"""A model of several files that are no archive: a folder, or the objects below a prefix, listed once."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packager.core.ports import Identity
from packager.core.tar import Entry
from packager.errors import ExtractionError, StoreError, printable, within
from packager.os_errors import map_os_errors
from packager.stores.file import FileSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from packager.core.ports import Reader, Source
    from packager.core.tar import Kind


class Listed(NamedTuple):
    """What was listed; `source` is None for what is no file."""

    entry: Entry
    source: Source | None


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
                digest = hashlib.sha256()
                for entry, source in self._all():
                    marks = source.identity().marks if source else ()
                    digest.update(f"{(entry.kind, entry.name, marks)!a}\n".encode("ascii"))
                size_bytes = self.size_bytes()
                self._identity = Identity(size_bytes, (("files", digest.hexdigest()), ("size", str(size_bytes))))
            return self._identity

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
        with ExitStack() as opened:
            yield _Concatenated([source for _, source in self._all() if source], opened)

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

    def __init__(self, sources: Sequence[Source], opened: ExitStack) -> None:
        self._waiting = iter(sources)
        self._opened = opened
        self._reader: Reader | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        while True:
            if self._reader is None:
                source = next(self._waiting, None)
                if source is None:
                    return 0
                self._reader = self._opened.enter_context(source.open())
            if count := self._reader.readinto(buffer):
                return count
            self._reader = None
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
        waiting = [root]
        while waiting:
            with os.scandir(waiting.pop()) as found:
                for each in found:
                    path = Path(each.path)
                    if each.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    else:
                        yield _found(path, path.relative_to(root).as_posix(), real_root)


def _found(path: Path, name: str, root: Path) -> Listed:
    kind = _kind(path, root)
    if kind != "file":
        return Listed(Entry(name, 0, kind), None)
    source = FileSource(path.resolve())
    return Listed(Entry(name, source.size_bytes(), kind), source)


def _kind(path: Path, root: Path) -> Kind:
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
        return "symbolic link"
    return "file" if stat.S_ISREG(path.stat().st_mode) else "device"
