"""An artifact opened as an archive; what is wrong with it is said with its name, and with what it is instead."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING

from packager.core.members import ArchiveReader, tar_gz
from packager.errors import ExtractionError, LimitExceededError, PackagerError, RequestError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from packager.core.ports import Source
    from packager.settings import Settings
    from packager.stores.containers import OpenEntries

TRAINED, COMPILED, ARCHIVE, COMPONENT = "trained artifact", "compiled artifact", "archive", "component"
"""What a file is to a call: `role` of its errors."""

MAX_PATTERNS, MAX_PATTERN_LENGTH = 100, 256

_FIRST_HEADER_BYTES = 512


class Exclusions:
    """Shell-style patterns of what to leave out; a folder that matches goes with all that lies below it.

    A pattern with a slash is held against whole paths, another against each segment.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        plain = [glob.removeprefix("./").rstrip("/") for glob in globs]
        self._paths = _any_of(glob for glob in plain if "/" in glob)
        self._segments = _any_of(glob for glob in plain if "/" not in glob)

    def cover(self, path: str) -> bool:
        segments = path.split("/")
        if self._segments and any(map(self._segments.match, segments)):
            return True
        if not self._paths:
            return False
        return any(self._paths.match("/".join(segments[: n + 1])) for n in range(len(segments)))


def _any_of(globs: Iterable[str]) -> re.Pattern[str] | None:
    pattern = "|".join(map(translate, globs))
    return re.compile(pattern) if pattern else None


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive to be read.

    Attributes:
        source: where its bytes come from.
        role: what it is to the call.
        exclude: patterns of members to leave out.
        of_any_kind: whether it may be any archive, several files or a single one, and not a tar.gz alone.
    """

    source: Source
    role: str = ARCHIVE
    exclude: tuple[str, ...] = ()
    of_any_kind: bool = False

    def marks(self) -> tuple[tuple[str, str], ...]:
        """What makes it the same archive: equal marks mean equal members."""
        with naming(self.source, self.role):
            marks = self.source.identity().marks
            if not self.of_any_kind:
                return marks
            from packager.stores.containers import file_name, is_one_file  # noqa: PLC0415  a tar.gz needs none of them

            return (*marks, ("name", file_name(self.source))) if is_one_file(self.source) else marks

    def _entries(self) -> OpenEntries:
        if not self.of_any_kind:
            return tar_gz
        from packager.stores.containers import entries_of  # noqa: PLC0415  as above

        return entries_of(self.source)

    @contextmanager
    def open(self, settings: Settings) -> Iterator[ArchiveReader]:
        """Read the archive. Errors of the block that are about it name it.

        A file that is no tar.gz is ExtractionError that says what it is, and how to make a tar.gz of it.
        """
        with naming(self.source, self.role), self.source.open() as reader:
            entries = self._entries()
            archive = ArchiveReader(reader, settings, Exclusions(self.exclude).cover, entries)
            try:
                yield archive
            except ExtractionError as error:
                begun = archive.members or archive.unpacked_bytes > _FIRST_HEADER_BYTES
                if begun or isinstance(error, LimitExceededError):
                    raise
                told = self._no_tar_inside(error) if self.of_any_kind else self._told_apart()
                raise (told or error) from error.__cause__

    def _no_tar_inside(self, error: ExtractionError) -> ExtractionError | None:
        """The error for a file that is compressed, and no tar: `error` came of its first bytes as such."""
        figures = error.figures
        if "packed_bytes" in figures or "unpacked_bytes" not in figures:  # it is damaged, and cannot be unpacked
            return None
        from packager.stores.formats import HEAD_BYTES, packed_file  # noqa: PLC0415  only to explain an error

        with suppress(PackagerError):
            return packed_file(self.source.read_range(0, HEAD_BYTES), self.source.uri)
        return None

    def _told_apart(self) -> ExtractionError | None:
        from packager.stores.formats import HEAD_BYTES, container, recognized  # noqa: PLC0415  only to explain an error

        with suppress(PackagerError):
            head = self.source.read_range(0, HEAD_BYTES)
            if found := recognized(head):
                other = (
                    "The layout `files` takes it as it is. Else: " if self.role == ARCHIVE and container(head) else ""
                )
                return ExtractionError(
                    f"This is {found.name}, no tar archive packed with gzip.",
                    next_step=f"{other}{found.step_for(self.source.uri)}",
                    format=found.name,
                )
        return None


def patterns(exclude: Sequence[str]) -> tuple[str, ...]:
    """The patterns of what to leave out, in order and each once. RequestError for what is no list of patterns."""
    whole = not isinstance(exclude, str) and len(exclude) <= MAX_PATTERNS
    if not whole or not all(isinstance(each, str) and 0 < len(each) <= MAX_PATTERN_LENGTH for each in exclude):
        raise RequestError(
            "`exclude` is no list of shell-style patterns.",
            next_step=f"Give at most {MAX_PATTERNS} patterns of at most {MAX_PATTERN_LENGTH} characters, like *.txt.",
            field="exclude",
        )
    return tuple(sorted(set(exclude)))


@contextmanager
def naming(source: Source, role: str) -> Iterator[None]:
    """Name the artifact, by its role and URI, in errors of the block that are about it and do not name one yet."""
    try:
        yield
    except ExtractionError as error:
        error.name_artifact(role, source.uri)
        raise
    except RequestError as error:
        if error.figures.get("field") == "model_file":  # several models, or none of the name that was asked for
            error.name_artifact(role, source.uri)
        raise
    except StoreError as error:
        if error.figures.get("uri") == source.uri:
            error.name_artifact(role, source.uri)
        raise
