"""Extraction and inspection of archives, member by member."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packager.core.members import ArchiveReader
from packager.errors import ExtractionError, LimitExceededError, StagingNeededError, in_units, printable
from packager.limits import staging
from packager.limits.storage import StorageManager
from packager.os_errors import map_os_errors
from packager.results import Finding
from packager.settings import Settings, from_process_environment
from packager.stores import Stores
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mypy_boto3_s3 import S3Client

    from packager.core.members import Member
    from packager.limits.staging import ExtractedFile

SELECTED_LIMIT_BYTES = 64 << 20
"""Limit of what extract_selective holds in memory: it is for manifests and settings, not for weights."""


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
        packed_bytes, unpacked_bytes: its size, and the size of its files' contents, as far as it could be read.
        members: every member in order, folders and links too.
        findings: the faults that keep it from being packaged.
    """

    uri: str
    packed_bytes: int
    unpacked_bytes: int
    members: tuple[MemberInfo, ...]
    findings: tuple[Finding, ...]

    @property
    def ratio(self) -> float:
        """Unpacked bytes per packed byte."""
        return self.unpacked_bytes / self.packed_bytes if self.packed_bytes else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "uri": self.uri,
            "packed_bytes": self.packed_bytes,
            "unpacked_bytes": self.unpacked_bytes,
            "ratio": round(self.ratio, 3),
            "files": sum(member.kind == "file" for member in self.members),
            "members": [asdict(member) for member in self.members],
            "findings": [asdict(finding) for finding in self.findings],
        }


class StreamingExtractor:
    """Reads archives from S3 or files in one pass, never holding one whole, never writing to a path a member chose.

    Every method takes a URI or a path. Errors: ExtractionError and its kinds for the archive, StoreError and its
    kinds for the store. Memory: about 3 MiB, whatever the archive's size.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        stores: Stores | None = None,
        client: S3Client | None = None,
        endpoint_url: str | None = None,
    ) -> None:
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
                    for extracted in staging.extract_members(archive, folder, lambda _: None, copy_links=True):
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
        """Contents of the files whose path matches one of the shell-style patterns, by path; at most 64 MiB in all."""
        patterns = tuple(file_patterns)
        found: dict[str, bytes] = {}
        with observe(catalog.EXTRACT_ARCHIVE, source=str(archive_path)) as step, self._open(archive_path) as archive:
            left = SELECTED_LIMIT_BYTES
            for member in archive.files_and_links():
                if not any(fnmatchcase(member.path, pattern) for pattern in patterns):
                    continue
                left -= member.size_bytes
                if left < 0:
                    raise LimitExceededError(
                        f"The files that match exceed {in_units(SELECTED_LIMIT_BYTES)} at {printable(member.path)!r}.",
                        next_step="Select less, or extract to disk.",
                        limit=SELECTED_LIMIT_BYTES,
                        found=SELECTED_LIMIT_BYTES - left,
                    )
                content = bytearray(member.size_bytes)
                member.readinto(memoryview(content))
                found[member.path] = _content_of_link(found, member) if member.same_as else bytes(content)
            step.add(members=len(found), bytes_out=SELECTED_LIMIT_BYTES - left)
        return found

    def get_archive_info(
        self, archive_path: str | Path, progress_callback: Callable[[int], None] | None = None
    ) -> ArchiveInfo:
        """Read the whole archive and describe it; `progress_callback` is called with packed bytes read.

        The fault of a single member is a finding, and reading goes on; damage is a finding too, and ends it.
        """
        members: list[MemberInfo] = []
        findings: list[Finding] = []
        with observe(catalog.INSPECT_ARCHIVE, source=str(archive_path)) as step:
            with self._open(archive_path) as archive:
                try:
                    for entry in archive.entries():
                        members.append(MemberInfo(printable(entry.name, 4096), entry.size_bytes, entry.kind))
                        try:
                            archive.admit(entry)
                        except LimitExceededError:
                            raise
                        except ExtractionError as refused:
                            findings.append(_finding(refused))
                        if progress_callback:
                            progress_callback(archive.packed_bytes)
                except ExtractionError as damage:
                    findings.append(_finding(damage))
                packed_bytes = archive.packed_bytes
            step.add(members=len(members), findings=len(findings))
        unpacked_bytes = sum(member.size_bytes for member in members)
        return ArchiveInfo(str(archive_path), packed_bytes, unpacked_bytes, tuple(members), tuple(findings))

    @contextmanager
    def _open(self, archive_path: str | Path) -> Iterator[ArchiveReader]:
        with self._stores.source(str(archive_path)).open() as reader:
            yield ArchiveReader(reader, self._settings)


def _content_of_link(found: dict[str, bytes], link: Member) -> bytes:
    if link.same_as in found:
        return found[link.same_as]
    raise StagingNeededError(
        f"{printable(link.path)!r} is a hard link to {printable(link.same_as)!r}, which no pattern selects.",
        next_step="Select that file too, or extract to disk.",
        member=printable(link.path),
        link_target=printable(link.same_as),
    )


def _finding(error: ExtractionError) -> Finding:
    return Finding(type(error).__name__, error.message, error.next_step, str(error.figures.get("member", "")))
