"""An artifact read as an archive: gunzip, tar, and the rules that every member passes before its bytes are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from sys import getsizeof
from typing import TYPE_CHECKING, NamedTuple, Protocol

from packager.core.gunzip import Gunzip, PackedCount, check_ratio
from packager.core.names import MOST_NUMBER, NameTable, is_root, safe_path
from packager.core.pipeline import File
from packager.core.tar import Entry, TarGzReader
from packager.errors import StagingNeededError, UnsafeArchiveError, printable, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.core.ports import Reader
    from packager.core.splice import End, Part
    from packager.settings import Settings

APPLE_DOUBLE_MAGIC = b"\x00\x05\x16\x07"
"""RFC 1740, appendix A: what macOS keeps in `._name` beside `name` begins with it."""

_OF_MACOS = frozenset({".DS_Store", "__MACOSX"})
_NAMES_SHOWN = 20


class Member(NamedTuple):
    """A file of an archive, admitted by every rule.

    Attributes:
        path: safe relative path.
        size_bytes: size of its content; for a hard link, of the content it shares.
        readinto: gives the content's next bytes, 0 at its end; valid until the next member is asked for. A hard
            link's has gone by.
        splice: gives the content as the parts of a deflate stream instead, where nothing of it has been read.
        same_as: for a hard link, the path of the earlier file whose content it shares; else empty.
    """

    path: str
    size_bytes: int
    readinto: Callable[[memoryview], int]
    splice: Callable[[], Iterator[Part | End]] | None = None
    same_as: str = ""

    def as_file(self, name: str) -> File:
        """The same as a file for a ZIP, under a name there."""
        return File(name, self.size_bytes, self.readinto, self.splice)

    def read(self) -> bytes:
        """The whole content, in memory: for small files."""
        content = memoryview(bytearray(self.size_bytes))
        filled = 0
        while count := self.readinto(content[filled:]):
            filled += count
        return bytes(content)


@dataclass(slots=True)
class LeftOut:
    """Members that are no part of the model: how many there are, and the first few by name."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _NAMES_SHOWN:
            self.names.append(printable(name))


class Admission:
    """The rules every member passes before its bytes are used: safe path, plain kind, unique name, within limits.

    Memory: 32 to 64 bytes a file, and the names of folders, links and what is left out, up to MAX_NAMES_BYTES.
    """

    def __init__(self, settings: Settings, is_excluded: Callable[[str], bool] = lambda _: False) -> None:
        self._settings = settings
        self._is_excluded = is_excluded
        self._sizes = NameTable()
        self._originals: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._folders: set[str] = {""}
        self._names_bytes = 0
        self.members = 0
        self.unpacked_bytes = 0

    def admit(self, entry: Entry) -> str | None:
        """The safe path of a file, folder or hard link; None when it is left out.

        Raises UnsafeArchiveError or LimitExceededError for what must not be used.
        """
        self.members += 1
        within("MAX_ARCHIVE_MEMBERS", self._settings.max_members, self.members)
        self._keep(entry.name)
        if entry.link_target:
            self._keep(entry.link_target)
        self._unpack(entry.size_bytes)
        if entry.kind == "directory" and is_root(entry.name):
            return ""
        path = safe_path(entry.name)
        if self._is_left_out(entry, path):
            self.leave_out(path)
            return None
        if entry.kind in ("device", "symbolic link"):
            raise _unsafe(entry, f"is a {entry.kind}; components hold plain files only")
        if entry.kind == "directory":
            if self._sizes.get(path) is not None:
                raise _unsafe(entry, "is a folder, and a file of that name came before")
            self._take_folder(entry, path)
            return path
        self._take_file(entry, path)
        return path

    def leave_out(self, path: str) -> None:
        """Count an admitted file as left out: nothing may share its content."""
        self._left_out.add(path)
        self._keep(path)

    def size_bytes(self, path: str) -> int:
        """The size of an admitted file's content, also of a hard link's."""
        return self._sizes.get(path) or 0

    def original(self, path: str) -> str:
        """The file whose content a hard link shares, through any number of links."""
        return self._originals.get(path, path)

    def _is_left_out(self, entry: Entry, path: str) -> bool:
        if self._is_excluded(path):
            return True
        if entry.kind in ("device", "symbolic link"):
            return False
        is_companion = entry.kind == "hard link" and path.rpartition("/")[2].startswith("._")
        if is_companion and self._target(entry) in self._left_out:
            return True
        return not _OF_MACOS.isdisjoint(path.split("/"))

    def _take_file(self, entry: Entry, path: str) -> None:
        if not path:
            raise _unsafe(entry, "has no file name")
        if self._sizes.get(path) is not None:
            raise _unsafe(entry, "comes twice")
        if path in self._folders:
            raise _unsafe(entry, "is a file, and a folder of that name came before")
        size_bytes = entry.size_bytes
        if entry.kind == "hard link":
            size_bytes = self._take_link(entry, path)
        self._take_folder(entry, path.rpartition("/")[0])
        self._sizes.add(path, min(size_bytes, MOST_NUMBER))
        self._keep(path)

    def _take_link(self, entry: Entry, path: str) -> int:
        target = self._target(entry)
        if target in self._left_out:
            raise _unsafe(entry, f"links to {printable(target)!r}, which is left out", "Leave out both, or neither.")
        size_bytes = self._sizes.get(target)
        if size_bytes is None:
            raise _unsafe(entry, f"links to {printable(entry.link_target)!r}, which does not stand before it")
        self._originals[path] = self.original(target)
        self._unpack(size_bytes)
        return size_bytes

    def _target(self, link: Entry) -> str:
        try:
            return safe_path(link.link_target)
        except UnsafeArchiveError as error:
            raise _unsafe(link, f"links to {printable(link.link_target)!r}, which {error.reason}") from None

    def _take_folder(self, entry: Entry, folder: str) -> None:
        while folder not in self._folders:
            if self._sizes.get(folder) is not None:
                raise _unsafe(entry, f"lies below {printable(folder)!r}, which is a file")
            self._folders.add(folder)
            self._keep(folder)
            folder = folder.rpartition("/")[0]

    def _keep(self, name: str) -> None:
        # A short archive of deep paths would otherwise need many gigabytes: each folder above a file is a name too.
        self._names_bytes += getsizeof(name) if name else 0
        within("MAX_NAMES_BYTES", self._settings.max_names_bytes, self._names_bytes, "Memory for the archive's names")

    def _unpack(self, size_bytes: int) -> None:
        self.unpacked_bytes += size_bytes
        within("MAX_UNPACKED_BYTES", self._settings.max_unpacked_bytes, self.unpacked_bytes)


def _unsafe(
    entry: Entry, why: str, next_step: str = "Make the archive again with each file once, as a plain file."
) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"The member {printable(entry.name)!r} {why}.",
        next_step=next_step,
        member=printable(entry.name),
        kind=entry.kind,
        reason=why,
    )


class Entries(Protocol):
    """The members of an archive, one after another; `readinto` and `splice` give the bytes of the current one."""

    @property
    def unpacked_bytes(self) -> int: ...

    @property
    def splice(self) -> Callable[[], Iterator[Part | End]] | None: ...

    def __iter__(self) -> Iterator[Entry]: ...

    def readinto(self, buffer: memoryview, /) -> int: ...


def tar_gz(packed: PackedCount, settings: Settings) -> Entries:
    """The members of a tar that is packed with gzip."""
    return TarGzReader(Gunzip(packed, settings), settings)


class ArchiveReader:
    """Reads an archive once, front to back: a tar.gz, or what `entries` makes of the packed bytes.

    `packed_bytes` and `members` say how far it is. `left_out` says what it passed over: what macOS puts beside the
    files of a model, and the paths that `is_excluded`. Errors while iterating: ExtractionError and its kinds,
    and whatever the store raises.
    """

    def __init__(
        self,
        reader: Reader,
        settings: Settings,
        is_excluded: Callable[[str], bool] = lambda _: False,
        entries: Callable[[PackedCount, Settings], Entries] = tar_gz,
    ) -> None:
        self._settings = settings
        self._packed = PackedCount(reader)
        self._tar = entries(self._packed, settings)
        self._admission = Admission(settings, is_excluded)
        self.left_out = LeftOut()

    @property
    def packed_bytes(self) -> int:
        return self._packed.bytes_read

    @property
    def unpacked_bytes(self) -> int:
        return self._tar.unpacked_bytes

    @property
    def members(self) -> int:
        return self._admission.members

    def entries(self) -> Iterator[Entry]:
        """Every member as it stands there, not judged; for those who look and do not use."""
        return iter(self._tar)

    def judge(self, entry: Entry) -> Member | None:
        """The current entry as a file to use, None for a folder and what is left out, or the error that refuses it."""
        path = self._admission.admit(entry)
        if path is None:
            self.left_out.add(entry.name)
            return None
        if entry.kind == "directory":
            return None
        if entry.kind == "hard link":
            return self._link(path)
        if path.rpartition("/")[2].startswith("._"):
            return self._unless_apple_double(path, entry.size_bytes)
        return Member(path, entry.size_bytes, self._tar.readinto, self._tar.splice)

    def files_and_links(self) -> Iterator[Member]:
        """Files in the archive's order, hard links among them."""
        for entry in self._tar:
            if member := self.judge(entry):
                yield member

    def files(self) -> Iterator[Member]:
        """Files in the archive's order. A hard link is StagingNeededError: its content has gone by."""
        for member in self.files_and_links():
            if member.same_as:
                raise StagingNeededError(
                    f"{printable(member.path)!r} is a hard link to {printable(member.same_as)!r}, "
                    "whose bytes have gone by in the stream.",
                    next_step="Use the strategy standard or auto, or make the archive with `tar --hard-dereference`.",
                    member=printable(member.path),
                    link_target=printable(member.same_as),
                )
            yield member

    def _link(self, path: str) -> Member:
        # A few hundred bytes of links can stand for gigabytes that were packed once.
        check_ratio(self._settings, self.packed_bytes, self._admission.unpacked_bytes)
        return Member(path, self._admission.size_bytes(path), lambda _: 0, same_as=self._admission.original(path))

    def _unless_apple_double(self, path: str, size_bytes: int) -> Member | None:
        head = bytearray(len(APPLE_DOUBLE_MAGIC))
        count = self._tar.readinto(memoryview(head))
        if head == APPLE_DOUBLE_MAGIC:
            self._admission.leave_out(path)
            self.left_out.add(path)
            return None
        return Member(path, size_bytes, _after(memoryview(head)[:count], self._tar.readinto))


def _after(head: memoryview, readinto: Callable[[memoryview], int]) -> Callable[[memoryview], int]:
    """Read `head` first, then what follows it."""
    left = head

    def read(buffer: memoryview) -> int:
        nonlocal left
        if not left:
            return readinto(buffer)
        count = min(len(left), len(buffer))
        buffer[:count] = left[:count]
        left = left[count:]
        return count

    return read
