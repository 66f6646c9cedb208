"""One component of a plan: its artifact read, arranged and packed as `package` does it, with nothing written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from packager.core.pipeline import File, zip_parts
from packager.core.zip import LARGE_BYTES, ZipEncoder
from packager.errors import ExtractionError, RequestError
from packager.extractor import Inspection
from packager.limits.reservations import SizedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.core.members import ArchiveReader, Member
    from packager.model.layouts import Component
    from packager.results import Finding
    from packager.settings import Settings


@dataclass(frozen=True, slots=True)
class PlannedComponent:
    """One component of a plan.

    Attributes:
        targets: those it serves.
        uri: its artifact.
        bytes_in: packed bytes of that.
        bytes_unpacked: bytes of its files, the manifest aside.
        bytes_out: bytes of the ZIP: exact, where its artifact has no faults.
        files: how many it has, the manifest aside.
        findings: faults of the artifact.
    """

    targets: tuple[str, ...]
    uri: str
    bytes_in: int
    bytes_unpacked: int
    bytes_out: int
    files: int
    findings: tuple[Finding, ...]


class Survey:
    """What making one component takes, learned by making it for nobody.

    Attributes:
        has_links: whether a stream alone cannot serve it.
    """

    def __init__(self, component: Component, settings: Settings, report: Callable[[int], None]) -> None:
        self._members_seen: list[Member] = []
        self._links: list[Member] = []
        self._component = component
        self._report = report
        self._seen = Inspection()
        self._encoder = ZipEncoder()
        self._packed_bytes = 0
        self._head = 0
        try:
            self._make(settings)
        except (ExtractionError, RequestError) as fault:
            self._seen.find(fault)

    @property
    def staged(self) -> list[SizedFile]:
        """Every file of the artifact, as staging would hold it: packed, and hard links take no space.

        A file that is no part of the component was not packed, and counts as it is.
        """
        packed = self._packed_sizes()
        return [
            SizedFile(each.path, 0, is_large=False)
            if each.same_as
            else SizedFile(each.path, packed.get(each.path, each.size_bytes), is_large=each.size_bytes >= LARGE_BYTES)
            for each in self._members_seen
        ]

    @property
    def has_links(self) -> bool:
        return bool(self._links)

    def planned(self) -> PlannedComponent:
        entries = [*self._encoder.entries][self._head :]
        return PlannedComponent(
            targets=tuple(target.name for target in self._component.targets),
            uri=self._component.source.uri,
            bytes_in=self._packed_bytes,
            bytes_unpacked=sum(each.size_bytes for each in entries) + sum(each.size_bytes for each in self._links),
            bytes_out=self._encoder.bytes_out + self._shared_bytes(),
            files=len(entries),
            findings=self._seen.findings,
        )

    def _make(self, settings: Settings) -> None:
        contents = self._component.contents(settings)
        self._head = len(contents.head)
        head = [File.of(name, data) for name, data in contents.head]
        with self._component.archive.open(settings) as archive:
            files = contents.files(self._members(archive))
            try:
                with closing(zip_parts(chain(head, files), self._encoder)) as parts:
                    for _ in parts:
                        pass
            finally:
                self._packed_bytes = archive.packed_bytes

    def _members(self, archive: ArchiveReader) -> Iterator[Member]:
        """Every file; a hard link as an empty one, since its content has gone by. Refused members are findings."""
        for entry in archive.entries():
            member = self._seen.take(entry, archive)
            self._report(archive.packed_bytes)
            if member is None:
                continue
            self._members_seen.append(member)
            if member.same_as:
                self._links.append(member)
                member = member._replace(size_bytes=0)
            yield member

    def _shared_bytes(self) -> int:
        """Packed bytes of the content that hard links share: it is packed again for each of them."""
        packed = self._packed_sizes()
        return sum(packed.get(each.same_as, each.size_bytes) for each in self._links)

    def _packed_sizes(self) -> dict[str, int]:
        above = self._component.folders_above
        return {each.name.split("/", above)[-1]: each.packed_bytes for each in self._encoder.entries}
