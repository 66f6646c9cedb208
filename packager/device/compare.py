"""What changed between two components: files by their directories, and the fields of their manifests."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from packager.device.component_files import ComponentFiles
from packager.errors import LimitExceededError, ManifestError, within
from packager.model.manifest import MANIFEST
from packager.model.strict import read_json, values_at_most
from packager.stores.archive import COMPONENT
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.settings import Settings
    from packager.stores import Source
    from packager.stores.zip_directory import DirectoryRecord

MAX_LISTED = 1000
"""How many differences of each kind are listed; the rest is counted."""

ABSENT = object()
"""Stands for the value of a manifest's field on the side that does not have it."""

FileChange = Literal["added", "removed", "changed", "moved"]


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of one component: size unpacked and packed, CRC-32 and, when asked for, SHA-256, in hexadecimal."""

    size_bytes: int
    packed_bytes: int
    crc32: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A file that the two components do not share; `moved_from` is its path in A when only the path changed."""

    path: str
    change: FileChange
    a: FileState | None
    b: FileState | None
    moved_from: str | None = None


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field of the manifests that differs, by its JSON pointer (RFC 6901); a side without it has ABSENT."""

    field: str
    a: Any
    b: Any

    def as_dict(self) -> dict[str, Any]:
        sides = {side: value for side, value in (("a", self.a), ("b", self.b)) if value is not ABSENT}
        return {"field": self.field, **sides}


@dataclass(frozen=True, slots=True)
class ComponentComparison:
    """What changed from component A to B. Files count as equal when their sizes and CRC-32 are.

    Attributes:
        a, b: URI, size in bytes and number of files of each.
        files: the first MAX_LISTED files that differ, by path; `files_in_all` counts all of them.
        fields: the first MAX_LISTED fields of the manifests that differ; `fields_in_all` counts all of them.
        unchanged: how many files both have; `repacked` of them have another packed size.
    """

    a: dict[str, Any]
    b: dict[str, Any]
    files: tuple[FileDifference, ...]
    files_in_all: int
    fields: tuple[FieldDifference, ...]
    fields_in_all: int
    unchanged: int
    repacked: int

    @property
    def equal(self) -> bool:
        return not self.files_in_all

    def as_dict(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "equal": self.equal,
            "files": [asdict(each) for each in self.files],
            "files_in_all": self.files_in_all,
            "manifest": [each.as_dict() for each in self.fields],
            "manifest_in_all": self.fields_in_all,
            "unchanged": self.unchanged,
            "repacked": self.repacked,
        }


def compare_components(a: Source, b: Source, settings: Settings, *, digests: bool = False) -> ComponentComparison:
    """Compare two components by their directories; with `digests` also give the SHA-256 of what differs.

    Reads the directories, the manifests when they differ and, for digests, the files that do: of S3 by ranges.
    Memory: the directories and the manifests. Errors: as for ComponentFiles; ManifestError for a manifest that is no
    JSON.
    """
    with observe(catalog.COMPARE_COMPONENTS, source=a.uri) as step:
        compared = _compared(a, b, settings, digests=digests)
        step.add(differences=compared.files_in_all)
    return compared


def _compared(a: Source, b: Source, settings: Settings, *, digests: bool) -> ComponentComparison:
    first, second = ComponentFiles(a, settings), ComponentFiles(b, settings)
    files = list(_file_differences(first, second))
    fields = _manifest_differences(first, second, settings)
    listed = tuple(_with_digests(each, first, second) if digests else each for each in files[:MAX_LISTED])
    shared = first.files.keys() & second.files.keys()
    unchanged = [path for path in shared if _content(first.files[path]) == _content(second.files[path])]
    return ComponentComparison(
        a=_about(first),
        b=_about(second),
        files=listed,
        files_in_all=len(files),
        fields=tuple(fields[:MAX_LISTED]),
        fields_in_all=len(fields),
        unchanged=len(unchanged),
        repacked=sum(first.files[path].compressed_bytes != second.files[path].compressed_bytes for path in unchanged),
    )


def _about(component: ComponentFiles) -> dict[str, Any]:
    return {"uri": component.source.uri, "size_bytes": component.size_bytes, "files": len(component.files)}


def _content(record: DirectoryRecord) -> tuple[int, int]:
    return record.size_bytes, record.crc32


def _file_differences(a: ComponentFiles, b: ComponentFiles) -> Iterator[FileDifference]:
    """Every file that differs, by path. One that is only in B is moved when A alone has its content elsewhere."""
    gone = defaultdict[tuple[int, int], list[str]](list)
    for path in sorted(a.files.keys() - b.files.keys(), reverse=True):
        gone[_content(a.files[path])].append(path)
    moved = {
        path: gone[_content(b.files[path])].pop()
        for path in sorted(b.files.keys() - a.files.keys())
        if b.files[path].size_bytes and gone.get(_content(b.files[path]))
    }
    for path in sorted((a.files.keys() | b.files.keys()) - set(moved.values())):
        before, after = a.files.get(moved.get(path, path)), b.files.get(path)
        if path in moved:
            yield FileDifference(path, "moved", _state(before), _state(after), moved[path])
        elif before is None or after is None:
            yield FileDifference(path, "removed" if before else "added", _state(before), _state(after))
        elif _content(before) != _content(after):
            yield FileDifference(path, "changed", _state(before), _state(after))


def _state(record: DirectoryRecord | None) -> FileState | None:
    if record is None:
        return None
    return FileState(record.size_bytes, record.compressed_bytes, f"{record.crc32:08x}")


def _with_digests(each: FileDifference, a: ComponentFiles, b: ComponentFiles) -> FileDifference:
    before = _digested(each.a, a, each.moved_from or each.path)
    after = _digested(each.b, b, each.path)
    return FileDifference(each.path, each.change, before, after, each.moved_from)


def _digested(state: FileState | None, component: ComponentFiles, path: str) -> FileState | None:
    if state is None:
        return None
    digest = hashlib.sha256()
    for chunk in component.contents(path):
        digest.update(chunk)
    return FileState(state.size_bytes, state.packed_bytes, state.crc32, digest.hexdigest())


def _manifest_differences(a: ComponentFiles, b: ComponentFiles, settings: Settings) -> list[FieldDifference]:
    sides = [component.files.get(MANIFEST) for component in (a, b)]
    if not any(sides) or (all(sides) and len({_content(each) for each in sides if each}) == 1):
        return []
    return list(_field_differences("", _manifest(a, settings), _manifest(b, settings)))


def _manifest(component: ComponentFiles, settings: Settings) -> Any:  # noqa: ANN401  any JSON value
    record = component.files.get(MANIFEST)
    if record is None:
        return ABSENT
    what = f"The component's {MANIFEST}"
    try:
        within("MAX_MANIFEST_BYTES", settings.max_manifest_bytes, record.size_bytes, what)
        data = b"".join(component.contents(MANIFEST))
        within("MAX_MANIFEST_VALUES", settings.max_manifest_values, values_at_most(data), what)
        return read_json(data, MANIFEST)
    except (ManifestError, LimitExceededError) as error:
        error.name_artifact(COMPONENT, component.source.uri)
        raise


def _field_differences(pointer: str, a: Any, b: Any) -> Iterator[FieldDifference]:  # noqa: ANN401  any JSON values
    if isinstance(a, dict) and isinstance(b, dict):
        for key in chain(a, (key for key in b if key not in a)):
            below = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from _field_differences(below, a.get(key, ABSENT), b.get(key, ABSENT))
    elif isinstance(a, list) and isinstance(b, list):
        for number in range(max(len(a), len(b))):
            sides = (side[number] if number < len(side) else ABSENT for side in (a, b))
            yield from _field_differences(f"{pointer}/{number}", *sides)
    elif type(a) is not type(b) or a != b:
        yield FieldDifference(pointer, a, b)
