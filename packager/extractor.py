"""Extraction and inspection of archives, member by member."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packager.core.members import LeftOut
from packager.errors import ExtractionError, LimitExceededError, PackagerError, StagingNeededError, printable, within
from packager.limits import staging
from packager.limits.storage import StorageManager
from packager.model.any_files import check_layout
from packager.os_errors import map_os_errors
from packager.results import Finding
from packager.settings import FILES_LAYOUT, MODEL_LAYOUT, Settings, from_process_environment
from packager.stores import Stores
from packager.stores.archive import Archive, patterns
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from packager.core.members import ArchiveReader, Member
    from packager.core.tar import Entry
    from packager.limits.staging import ExtractedFile

FINDINGS_KEPT = 1000
NAMES_KEPT_BYTES = 16 << 20
"""What get_archive_info keeps of an archive; beyond, it counts. 100,000 names of usual length need less."""

_LONGEST_NAME = 4096


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member as an archive describes it; `name` has its control characters escaped."""

    name: str
    size_bytes: int
    kind: str


@dataclass(frozen=True, slots=True)
class ArchiveInfo:
    """The members of an archive, and its faults.

    Attributes:
        uri: where it lies.
        packed_bytes, unpacked_bytes: its size, and the size of its files' contents, hard links included, as far as it
            could be read.
        members: the members in order, folders and links too, as far as their names take no more than NAMES_KEPT_BYTES.
        findings: what would keep it from being packaged, at most FINDINGS_KEPT of them.
        files: how many of all members are files or hard links that would be used.
        left_out: members that packaging passes over, the first few by name.
        members_in_all, findings_in_all, left_out_in_all: how many there are, kept here or not.
    """

    uri: str
    packed_bytes: int
    unpacked_bytes: int
    members: tuple[MemberInfo, ...]
    findings: tuple[Finding, ...]
    files: int
    left_out: tuple[str, ...]
    members_in_all: int
    findings_in_all: int
    left_out_in_all: int

    @property
    def ratio(self) -> float:
        """Unpacked bytes per packed byte."""
        return self.unpacked_bytes / self.packed_bytes if self.packed_bytes else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": round(self.ratio, 3)}


class StreamingExtractor:
    """Reads archives from S3 or files in one pass, never holding one whole, never writing to a path a member chose.

    Every method takes a URI or a path: of a tar.gz, or in the layout `files` of whatever `package` takes as a model
    there. Errors: ExtractionError and its kinds for the archive, StoreError and its
    kinds for the store. Memory: about 3 MiB, whatever the archive's size.
    """

    def __init__(  # noqa: PLR0913  every choice, by name
        self,
        settings: Settings | None = None,
        *,
        stores: Stores | None = None,
        client: S3Client | None = None,
        endpoint_url: str | None = None,
        exclude: Sequence[str] = (),
        layout: str = MODEL_LAYOUT,
    ) -> None:
        check_layout(layout)
        self._layout = layout
        self._exclude = patterns(exclude)
        self._settings = settings or from_process_environment()
        self._stores = (stores or Stores(client, endpoint_url)).with_scratch(StorageManager(self._settings))

    def extract_streaming(
        self,
        archive_path: str | Path,
        extract_path: str | Path,
        cleanup_callback: Callable[[ExtractedFile], None] | None = None,
    ) -> list[ExtractedFile]:
        """Write every file of the archive into `extract_path`, one at a time, under names that we choose.

        `cleanup_callback` is called with each file as soon as it is whole, to use it and remove it before the next
        one takes space. Hard links become copies. After an error every file written so far is removed again.
        """
        folder = Path(extract_path)
        done: list[ExtractedFile] = []
        with observe(catalog.EXTRACT_ARCHIVE, source=str(archive_path)) as step:
            try:
                with map_os_errors("extract into", folder):
                    folder.mkdir(parents=True, exist_ok=True)
                with self._open(archive_path) as archive:
                    for extracted in staging.extract_members(archive, folder):
                        done.append(extracted)
                        if cleanup_callback:
                            cleanup_callback(extracted)
            except BaseException:
                for extracted in done:
                    extracted.path.unlink(missing_ok=True)
                raise
            step.add(members=len(done), bytes_out=sum(each.size_bytes for each in done))
        return done

    def extract_selective(self, archive_path: str | Path, file_patterns: Iterable[str]) -> dict[str, bytes]:
        """Contents, by path, of the files that match one of the shell-style patterns; within MAX_SELECTED_BYTES."""
        patterns = tuple(file_patterns)
        found: dict[str, bytes] = {}
        limit_bytes, selected_bytes = self._settings.max_selected_bytes, 0
        with observe(catalog.EXTRACT_ARCHIVE, source=str(archive_path)) as step, self._open(archive_path) as archive:
            for member in archive.files_and_links():
                if not any(fnmatchcase(member.path, pattern) for pattern in patterns):
                    continue
                selected_bytes += member.size_bytes
                within("MAX_SELECTED_BYTES", limit_bytes, selected_bytes, "What the patterns select")
                found[member.path] = _content_of_link(found, member) if member.same_as else member.read()
            step.add(members=len(found), bytes_out=selected_bytes)
        return found

    def get_archive_info(
        self, archive_path: str | Path, progress_callback: Callable[[int], None] | None = None
    ) -> ArchiveInfo:
        """Read the whole archive and describe it; `progress_callback` is called with packed bytes read.

        The fault of a single member is a finding, and reading goes on; damage is a finding too, and ends it.
        """
        seen, archive = Inspection(), None
        with observe(catalog.INSPECT_ARCHIVE, source=str(archive_path)) as step:
            try:
                with self._open(archive_path) as archive:
                    for entry in archive.entries():
                        seen.take(entry, archive)
                        if progress_callback:
                            progress_callback(archive.packed_bytes)
            except ExtractionError as damage:
                seen.find(damage)
            step.add(members=seen.members_in_all, findings=seen.findings_in_all)
        return seen.info(str(archive_path), archive)

    @contextmanager
    def _open(self, archive_path: str | Path) -> Iterator[ArchiveReader]:
        of_files, uri = self._layout == FILES_LAYOUT, str(archive_path)
        source = self._stores.model(uri, self._settings) if of_files else self._stores.source(uri)
        archive_file = Archive(source, exclude=self._exclude, of_any_kind=of_files)
        with archive_file.open(self._settings) as archive:
            yield archive


class Inspection:
    """Members and faults of an archive as they are read, within bounds: a few MB packed can be gigabytes of names."""

    def __init__(self) -> None:
        self._members: list[MemberInfo] = []
        self._findings: list[Finding] = []
        self._names_bytes = 0
        self._files = 0
        self._unpacked_bytes = 0
        self.members_in_all = 0
        self.findings_in_all = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings)

    def take(self, entry: Entry, archive: ArchiveReader) -> Member | None:
        """Judge one entry, as the archive does; a refusal is a finding, but LimitExceededError is raised."""
        member = None
        try:
            member = archive.judge(entry)
        except LimitExceededError:
            raise
        except ExtractionError as refused:
            self.find(refused)
        finally:
            self._list(entry, member.size_bytes if member else entry.size_bytes)
        self._files += member is not None
        return member

    def find(self, error: PackagerError) -> None:
        self.findings_in_all += 1
        if len(self._findings) < FINDINGS_KEPT:
            member = str(error.figures.get("member", ""))
            self._findings.append(Finding(type(error).__name__, error.message, error.next_step, member))

    def info(self, uri: str, archive: ArchiveReader | None) -> ArchiveInfo:
        """What was seen; `archive` is None when it could not even be begun."""
        left_out = archive.left_out if archive else LeftOut()
        return ArchiveInfo(
            uri=uri,
            packed_bytes=archive.packed_bytes if archive else 0,
            unpacked_bytes=self._unpacked_bytes,
            members=tuple(self._members),
            findings=self.findings,
            files=self._files,
            left_out=tuple(left_out.names),
            members_in_all=self.members_in_all,
            findings_in_all=self.findings_in_all,
            left_out_in_all=left_out.count,
        )

    def _list(self, entry: Entry, size_bytes: int) -> None:
        self.members_in_all += 1
        self._unpacked_bytes += size_bytes
        if self._names_bytes <= NAMES_KEPT_BYTES:  # escaping takes its time, too
            name = printable(entry.name, _LONGEST_NAME)
            self._names_bytes += len(name)
            self._members.append(MemberInfo(name, size_bytes, entry.kind))


def _content_of_link(found: dict[str, bytes], link: Member) -> bytes:
    if link.same_as in found:
        return found[link.same_as]
    raise StagingNeededError(
        f"{printable(link.path)!r} is a hard link to {printable(link.same_as)!r}, which no pattern selects.",
        next_step="Select that file too, or extract to disk.",
        member=printable(link.path),
        link_target=printable(link.same_as),
    )
