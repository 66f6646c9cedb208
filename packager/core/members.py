"""An artifact read as an archive: gunzip, tar, and the rules that every member passes before its bytes are used."""

from __future__ import annotations

from dataclasses import dataclass
from sys import getsizeof
from typing import TYPE_CHECKING

from packager.core.gunzip import Gunzip, PackedCount
from packager.core.names import safe_path
from packager.core.tar import Entry, TarReader
from packager.errors import LimitExceededError, StagingNeededError, UnsafeArchiveError, in_units, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.core.ports import Reader
    from packager.settings import Settings

MAX_NAMES_BYTES = 64 << 20
"""Memory that the names of one archive may take: 100,000 files of usual depth need a fourth of it. A short archive of
deep paths would otherwise need many gigabytes, since each folder above a file is a name of its own."""


class Admission:
    """The rules every member passes before its bytes are used: safe path, plain kind, unique name, within limits.

    Keeps the names seen: memory grows with the number of members, up to MAX_NAMES_BYTES, never with their size.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: set[str] = set()
        self._folders: set[str] = {""}
        self._names_bytes = 0
        self.members = 0
        self.unpacked_bytes = 0

    def admit(self, entry: Entry) -> str:
        """The safe path of a file, folder or hard link; raises UnsafeArchiveError or LimitExceededError otherwise."""
        self.members += 1
        self.unpacked_bytes += entry.size_bytes
        self._within("MAX_ARCHIVE_MEMBERS", self._settings.max_members, self.members)
        self._within("MAX_UNPACKED_BYTES", self._settings.max_unpacked_bytes, self.unpacked_bytes)
        path = safe_path(entry.name)
        if entry.kind == "directory":
            if path in self._files:
                raise _unsafe(entry, "is a folder, and a file of that name came before")
            self._take_folder(entry, path)
            return path
        if entry.kind in ("device", "symbolic link"):
            raise _unsafe(entry, f"is a {entry.kind}; components hold plain files only")
        if not path:
            raise _unsafe(entry, "has no file name")
        if path in self._files:
            raise _unsafe(entry, "comes twice")
        if path in self._folders:
            raise _unsafe(entry, "is a file, and a folder of that name came before")
        if entry.kind == "hard link" and safe_path(entry.link_target) not in self._files:
            raise _unsafe(entry, f"links to {printable(entry.link_target)!r}, which does not stand before it")
        self._take_folder(entry, path.rpartition("/")[0])
        self._files.add(path)
        self._keep(path)
        return path

    def _take_folder(self, entry: Entry, folder: str) -> None:
        while folder not in self._folders:
            if folder in self._files:
                raise _unsafe(entry, f"lies below {printable(folder)!r}, which is a file")
            self._folders.add(folder)
            self._keep(folder)
            folder = folder.rpartition("/")[0]

    def _keep(self, name: str) -> None:
        self._names_bytes += getsizeof(name)
        if self._names_bytes > MAX_NAMES_BYTES:
            raise LimitExceededError(
                f"The names of the archive's files and folders take more than {in_units(MAX_NAMES_BYTES)} of memory.",
                next_step="Make the archive again with shorter paths or fewer folders.",
                setting="MAX_NAMES_BYTES",
                limit=MAX_NAMES_BYTES,
                found=self._names_bytes,
            )

    def _within(self, setting: str, limit: int, found: int) -> None:
        if found > limit:
            raise LimitExceededError(
                f"The archive exceeds {setting} = {limit} (found {found} or more).",
                next_step=f"If the archive is to be trusted, raise {setting}.",
                setting=setting,
                limit=limit,
                found=found,
            )


def _unsafe(entry: Entry, why: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"The member {printable(entry.name)!r} {why}.",
        next_step="Make the archive again with each file once, as a plain file.",
        member=printable(entry.name),
        kind=entry.kind,
        reason=why,
    )


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive, admitted by every rule.

    Attributes:
        path: safe relative path.
        size_bytes: size of its content.
        readinto: gives the content's next bytes, 0 at its end; valid until the next member is asked for.
        same_as: for a hard link, the path of the earlier file whose content it shares; else empty.
    """

    path: str
    size_bytes: int
    readinto: Callable[[memoryview], int]
    same_as: str = ""


class ArchiveReader:
    """Reads a tar.gz once, front to back. `packed_bytes` and `members` say how far it is.

    Errors while iterating: ExtractionError and its kinds, and whatever the store raises.
    """

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._packed = PackedCount(reader)
        self._stream = Gunzip(self._packed, settings)
        self._tar = TarReader(self._stream, settings)
        self._admission = Admission(settings)

    @property
    def packed_bytes(self) -> int:
        return self._packed.bytes_read

    @property
    def unpacked_bytes(self) -> int:
        return self._stream.bytes_read

    @property
    def members(self) -> int:
        return self._admission.members

    def entries(self) -> Iterator[Entry]:
        """Every member as it stands there, not judged; for those who look and do not use."""
        return iter(self._tar)

    def admit(self, entry: Entry) -> str:
        """The safe path of an entry, or the error that refuses it."""
        return self._admission.admit(entry)

    def files_and_links(self) -> Iterator[Member]:
        """Files in the archive's order, hard links among them."""
        for entry in self._tar:
            path = self._admission.admit(entry)
            if entry.kind == "file":
                yield Member(path, entry.size_bytes, self._tar.readinto)
            elif entry.kind == "hard link":
                yield Member(path, 0, self._tar.readinto, same_as=safe_path(entry.link_target))

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
