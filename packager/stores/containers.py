"""What a model comes in, told by its first bytes: an archive of any usual kind, a folder, or one file."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from packager.core.members import tar_gz
from packager.core.tar import Entry, TarReader
from packager.errors import ExtractionError
from packager.stores import formats
from packager.stores.entries import PlainEntries, ZipEntries
from packager.stores.standard_streams import STREAM
from packager.stores.unpacked import Unpacked, new_bzip2, xz, zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from packager.core.gunzip import PackedCount
    from packager.core.members import Entries
    from packager.core.ports import Source
    from packager.settings import Settings
    from packager.stores.unpacked import NewStream

    OpenEntries = Callable[[PackedCount, Settings], Entries]

_ARCHIVE_NAME = re.compile(r"\.(tar|tgz|tbz2?|txz|tzst|zip|tar\.(gz|bz2|xz|zst))$", re.IGNORECASE)
_LONGEST_END_BYTES = 22 + 0xFFFF
"""The end record of a ZIP, with the longest comment."""

_VERSION = re.compile(r"\?versionId=[^?&=/#]+$")


@runtime_checkable
class Collection(Protocol):
    """A source of several files, whose bytes it gives one file behind the other."""

    def listed(self) -> Iterable[Entry]:
        """The files, and what else is there, in order."""


def entries_of(source: Source) -> OpenEntries:
    """How the members of the source are read.

    A ZIP is an archive when its name says so: under any other name it is what PyTorch, Keras and NumPy call a model.
    Anything that is no archive is one file. ExtractionError for what is named like an archive and is none, for an
    empty file and for a Git LFS pointer.
    """
    if isinstance(source, Collection):
        return lambda packed, _: PlainEntries(packed, source.listed())
    head = source.read_range(0, formats.HEAD_BYTES)
    known = formats.container(head)
    if known == "gzip":
        return tar_gz
    if _is_named_archive(source) and (known == "zip" or (not known and _ends_as_zip(source))):
        return partial(ZipEntries, source=source)
    if known in _TARS:
        return partial(_tar, begin=_TARS[known], name=known)
    if source.uri == STREAM:
        raise ExtractionError(
            "Standard input is no tar, and neither a ZIP nor a single file can be read from it.",
            next_step="Write it to a file first: its name says what it is.",
        )
    _refuse_no_model(source, head)
    return lambda packed, _: PlainEntries(packed, [Entry(file_name(source), source.size_bytes(), "file")])


def is_one_file(source: Source) -> bool:
    """Whether the source is neither an archive nor several files: its name is then part of the component."""
    if isinstance(source, Collection):
        return False
    known = formats.container(source.read_range(0, formats.HEAD_BYTES))
    return not known or (known == "zip" and not _is_named_archive(source))


def file_name(source: Source) -> str:
    """The last segment of the source's path or key."""
    uri = _VERSION.sub("", source.uri) if source.uri.startswith("s3://") else source.uri
    return uri.rsplit("/", 1)[-1]


def _is_named_archive(source: Source) -> bool:
    return bool(_ARCHIVE_NAME.search(file_name(source)))


def _ends_as_zip(source: Source) -> bool:
    """Whether it is a ZIP behind something else: its reader says what stands before it."""
    if source.uri == STREAM:
        return False
    size_bytes = source.size_bytes()
    start = max(0, size_bytes - _LONGEST_END_BYTES)
    return b"PK\x05\x06" in source.read_range(start, size_bytes - start)


def _tar(packed: PackedCount, settings: Settings, begin: Callable[[Settings], NewStream] | None, name: str) -> Entries:
    return TarReader(Unpacked(packed, settings, begin(settings) if begin else None, name), settings)


_TARS: dict[str, Callable[[Settings], NewStream] | None] = {
    "tar": None,
    "bzip2": lambda _: new_bzip2,
    "xz": xz,
    "zstd": zstd,
}
"""The compressions of a tar besides gzip, and what begins to unpack them."""


def _refuse_no_model(source: Source, head: bytes) -> None:
    found = formats.recognized(head)
    if found and (not head or found is formats.LFS_POINTER or _is_named_archive(source)):
        raise ExtractionError(
            f"This is {found.name}, no model.", next_step=found.step_for(source.uri), format=found.name
        )
    if _is_named_archive(source):
        raise ExtractionError(
            "This is no archive of a kind that its name stands for.",
            next_step="Look at it with `file`, and give it a name that says what it is.",
        )
