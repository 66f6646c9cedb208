"""A component that was unpacked on a device, held against its ZIP: is this what was shipped."""

from __future__ import annotations

import os
import stat
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from packager.deadline import raise_if_late
from packager.device.component_files import ComponentFiles
from packager.errors import ExtractionError, PackagerError, printable, within
from packager.os_errors import map_os_errors
from packager.stores.archive import Exclusions, patterns
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from packager.settings import Settings
    from packager.stores import Source

MAX_LISTED = 1000
"""How many deviations are listed; the rest is counted."""

_READ_BYTES = 1 << 20

DeviationKind = Literal["missing", "extra", "changed", "wrong_kind", "unreadable"]

_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Deviation:
    """One path at which a folder and a component differ; `detail` says how, with its numbers."""

    path: str
    kind: DeviationKind
    detail: str


@dataclass(frozen=True, slots=True)
class UnpackedComparison:
    """How a folder deviates from the component that was unpacked there.

    Attributes:
        folder, uri: what was compared.
        deviations: the first MAX_LISTED by path; `deviations_in_all` counts all of them.
        files: how many files of the component are there with the same bytes; `bytes_compared` is their size.
    """

    folder: str
    uri: str
    deviations: tuple[Deviation, ...]
    deviations_in_all: int
    files: int
    bytes_compared: int

    @property
    def equal(self) -> bool:
        return not self.deviations_in_all

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "deviations": [asdict(each) for each in self.deviations], "equal": self.equal}


def verify_unpacked(
    folder: Path, component: Source, settings: Settings, exclude: Sequence[str] = ()
) -> UnpackedComparison:
    """Compare every file below `folder`, byte for byte, with the component, but for what patterns of `exclude` cover.

    Symbolic links are never followed, pipes and devices never opened; folders that the component does not have are not
    looked into. Memory: two buffers of 1 MiB, and the component's directory. Errors: as for ComponentFiles for the
    component, StoreError and its kinds for the folder itself; whatever lies below it is a deviation, never an error.
    ExtractionError when there is no file to compare, which says nothing of the device.
    """
    exclusions = Exclusions(patterns(exclude))
    with observe(catalog.VERIFY_UNPACKED, source=component.uri) as step:
        result = _verified(folder, component, settings, exclusions)
        step.add(files=result.files, bytes_read=result.bytes_compared, differences=result.deviations_in_all)
    return result


def _verified(folder: Path, component: Source, settings: Settings, exclusions: Exclusions) -> UnpackedComparison:
    shipped = ComponentFiles(component, settings)
    unpacked = sum(each.size_bytes for each in shipped.files.values())
    within("MAX_UNPACKED_BYTES", settings.max_unpacked_bytes, unpacked, "The unpacked component")
    comparing = _Comparing(shipped, exclusions)
    with _opened_root(folder) as root:
        comparing.compare_folder(root)
    result = comparing.result(str(folder))
    if result.equal and not result.files:
        raise ExtractionError(
            f"Nothing was compared: none of the component's {len(shipped.files)} files is left.",
            next_step="Leave out fewer files with --exclude.",
            files=len(shipped.files),
        )
    return result


class _Comparing:
    """One comparison, and what it has found so far."""

    def __init__(self, shipped: ComponentFiles, exclusions: Exclusions) -> None:
        self._shipped = shipped
        self._exclusions = exclusions
        self._files = {path: each for path, each in shipped.files.items() if not exclusions.cover(path)}
        self._folders = {path for path in shipped.folders if not exclusions.cover(path)}
        self._wrong: set[str] = set()
        self._found: list[Deviation] = []
        self._found_in_all = 0
        self._same_files = 0
        self._same_bytes = 0

    def result(self, folder: str) -> UnpackedComparison:
        ordered = tuple(sorted(self._found, key=lambda each: each.path))
        uri = self._shipped.source.uri
        return UnpackedComparison(folder, uri, ordered, self._found_in_all, self._same_files, self._same_bytes)

    def compare_folder(self, root: int) -> None:
        """Look through the folders of the component that are there; everything else there is extra."""
        there = set(self._entries(root, ""))
        for path in sorted(self._folders):
            if path in there:
                there.update(self._inside(root, path))
        self._report_missing(there)
        for path in sorted(there & self._files.keys()):
            self._compare_file(root, path)

    def _report_missing(self, there: set[str]) -> None:
        """Of a folder that is not there, or something else, only the folder is reported."""
        missing = (self._folders | self._files.keys()) - there - self._wrong
        present = there | {""}
        topmost = sorted(path for path in missing if path.rpartition("/")[0] in present)
        below = Counter(above for path in self._files for above in _folders_above(path) if above in missing)
        for path in topmost:
            files = f", with {below[path]} files" if below[path] else ""
            self._report(path, "missing", f"it is not there{files}")

    def _inside(self, root: int, path: str) -> Iterator[str]:
        with self._readable(path), _opened(root, path, os.O_DIRECTORY) as folder:
            yield from self._entries(folder, f"{path}/")

    def _entries(self, folder: int, above: str) -> Iterator[str]:
        """The paths of the component's files and folders that are in an open folder and of the right kind."""
        with os.scandir(folder) as entries:
            for entry in entries:
                path = above + entry.name
                if not self._exclusions.cover(path) and self._is_expected(path, entry):
                    yield path

    def _is_expected(self, path: str, entry: os.DirEntry[str]) -> bool:
        is_file = path in self._files
        kind, wanted = _kind(entry), "a file" if is_file else "a folder"
        if not is_file and path not in self._folders:
            self._report(path, "extra", f"it is {kind} that the component does not have")
        elif kind != wanted:
            self._wrong.add(path)
            self._report(path, "wrong_kind", f"it is {kind} instead of {wanted}")
        else:
            return True
        return False

    def _compare_file(self, root: int, path: str) -> None:
        with self._readable(path), _opened(root, path, 0) as file:
            self._compare_content(file, path)

    @contextmanager
    def _readable(self, path: str) -> Iterator[None]:
        """Report what cannot be read of the folder; errors of the component pass."""
        try:
            yield
        except PackagerError:
            raise
        except OSError as error:
            self._report(path, "unreadable", os.strerror(error.errno or 0))

    def _compare_content(self, file: int, path: str) -> None:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            self._report(path, "wrong_kind", "it is no file any more")
            return
        wanted_bytes = self._files[path].size_bytes
        if found.st_size != wanted_bytes:
            self._report(path, "changed", f"it has {found.st_size} bytes instead of {wanted_bytes}")
            return
        compared = _same_bytes(file, self._shipped.contents(path))
        if compared == wanted_bytes:
            self._same_files += 1
            self._same_bytes += wanted_bytes
        else:
            self._report(path, "changed", f"its bytes differ after the first {compared}")

    def _report(self, path: str, kind: DeviationKind, detail: str) -> None:
        self._found_in_all += 1
        if len(self._found) < MAX_LISTED:
            self._found.append(Deviation(printable(path, 400), kind, detail))


@contextmanager
def _opened_root(folder: Path) -> Iterator[int]:
    with map_os_errors("read", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def _opened(root: int, path: str, flags: int) -> Iterator[int]:
    """Open what lies at `path` below the open folder `root`, one segment at a time: no link in it is followed."""
    descriptors = []
    try:
        at = root
        *above, last = path.split("/")
        for segment, wanted in (*((each, os.O_DIRECTORY) for each in above), (last, flags)):
            # O_NONBLOCK: a pipe that was put there meanwhile would be waited for.
            at = os.open(segment, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | wanted, dir_fd=at)
            descriptors.append(at)
        yield at
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _folders_above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        return _KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), "something else")
    except OSError:
        return "something"


def _same_bytes(file: int, contents: Iterator[bytes]) -> int:
    """How many bytes of an open file are those of the contents, from the first on.

    The contents are read to their end all the same: a damaged component is told by that, not taken for the truth.
    """
    same, differs = 0, False
    for chunk in contents:
        raise_if_late()
        if not differs:
            common = _common(_read(file, len(chunk)), chunk)
            same += common
            differs = common < len(chunk)
    return same


def _read(file: int, length: int) -> bytes:
    pieces = []
    while length and (piece := os.read(file, min(length, _READ_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes at the beginning are the same."""
    if one == other:
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (left, right) in pairs if left != right), min(len(one), len(other)))
