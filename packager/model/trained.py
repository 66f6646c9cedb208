"""The trained artifact, read once for the manifest of its components."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from packager.errors import ManifestError, OperationAbortedError, PackagerError, is_recoverable
from packager.model.manifest import TrainedFacts, TrainedFactsCollector, build_manifest
from packager.results import ProcessingState
from packager.stores.archive import TRAINED, Archive
from telemetry import add, catalog, traced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from packager.core.members import Member
    from packager.core.ports import Source
    from packager.settings import Settings


class ManifestSource(Protocol):
    """Where the manifest of a component comes from."""

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; ManifestError, ExtractionError or StoreError when it cannot be made."""

    @property
    def manifest_identity(self) -> Any:  # noqa: ANN401  JSON
        """A JSON value that is the same for the same manifest, known without reading an artifact."""

    @property
    def failure(self) -> PackagerError | None:
        """Why there is no manifest, once that is known."""


class GivenManifest:
    """A manifest that the caller already has."""

    failure: PackagerError | None = None

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.manifest = self.manifest_identity = dict(manifest)


class TrainedArtifact:
    """A trained artifact. Its manifest is made once, when a thread first asks for it; so is a failure that is final.

    The artifact is read to its checked end. Memory: the two files that are read of it, at most 9 MiB.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        model_type: str | None = None,
        report: Callable[[ProcessingState], None] = lambda _: None,
        exclude: Sequence[str] = (),
    ) -> None:
        self.archive = Archive(source, TRAINED, tuple(sorted(set(exclude))))
        self.settings = settings
        self._model_type = model_type
        self._report = report
        self._making = threading.Lock()
        self._made: tuple[dict[str, Any], str] | None = None
        self._not_identified: PackagerError | None = None
        self._not_made: PackagerError | None = None

    @property
    def failure(self) -> PackagerError | None:
        return self._not_identified or self._not_made

    @property
    def source(self) -> Source:
        return self.archive.source

    @property
    def manifest(self) -> dict[str, Any]:
        return self._manifest_and_name()[0]

    @property
    def model_file_name(self) -> str:
        """The file name of the model that the manifest speaks of."""
        return self._manifest_and_name()[1]

    @property
    def manifest_identity(self) -> dict[str, Sequence[Sequence[str]]]:
        try:
            marks = self.source.identity().marks
        except PackagerError as error:
            self._not_identified = None if isinstance(error, OperationAbortedError) else error
            raise
        self._not_identified = None
        left_out = {"exclude": self.archive.exclude} if self.archive.exclude else {}
        return {"trained": [list(mark) for mark in marks], **left_out}

    def _manifest_and_name(self) -> tuple[dict[str, Any], str]:
        with self._making:
            if self._not_made and not is_recoverable(self._not_made):
                raise self._not_made
            if not self._made:
                try:
                    self._made = build_manifest(self._facts())
                except OperationAbortedError:
                    raise  # nothing is wrong with the artifact
                except PackagerError as error:
                    if isinstance(error, ManifestError):
                        error.name_artifact(TRAINED, self.source.uri)
                    self._not_made = error
                    raise
                self._not_made = None
            return self._made

    @traced(catalog.CREATE_MANIFEST)
    def _facts(self) -> TrainedFacts:
        add(source=self.source.uri, model_type=self._model_type or "other")
        collector = TrainedFactsCollector(self.settings)
        links: dict[str, str] = {}

        def collect(member: Member) -> None:
            collector.see(member.path)
            if collector.wants(member.path, member.size_bytes):
                if member.same_as:
                    links[member.path] = member.same_as
                else:
                    collector.take(member.path, member.read())

        def collect_linked(member: Member) -> None:
            names = [name for name, original in links.items() if original == member.path]
            content = member.read() if names else b""
            for name in names:
                collector.take(name, content)

        self._read(collect)
        if links:  # what they share had gone by when they were seen
            self._read(collect_linked)
        return collector.facts()

    def _read(self, take: Callable[[Member], None]) -> None:
        """Give every file to `take`, to the checked end of the archive."""
        total_bytes = self.source.size_bytes()
        with self.archive.open(self.settings) as archive:
            for member in archive.files_and_links():
                take(member)
                self._report(
                    ProcessingState("reading_manifest", bytes_done=archive.packed_bytes, bytes_total=total_bytes)
                )
        add(bytes_read=archive.packed_bytes, members=archive.members)
