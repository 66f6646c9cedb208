"""An artifact read as an archive: gunzip, tar and the rules of admission in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packager.core.admission import Admission
from packager.core.gunzip import Gunzip, PackedCount
from packager.core.names import safe_path
from packager.core.tar import Entry, TarReader
from packager.errors import StagingNeededError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.settings import Settings
    from packager.stores import Reader


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
