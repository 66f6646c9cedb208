"""What a component holds, as plain data, whoever tells it: a finished ZIP, or what has just been written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from packager.core.names import name_fault, plain_path
from packager.errors import ManifestError
from packager.model.manifest import MANIFEST
from packager.model.strict import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packager.model.targets import Target

STORED, DEFLATED = 0, 8
ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000

RESERVED_NAMES = frozenset({"model.py", "inference_runtimes.py"})
"""Names at the root that the device's converter wants for files of its own."""

MODEL_ENDINGS = (".so", ".params", ".json", ".meta", ".ro", ".onnx")
"""Of the files that a runtime looks for."""

HEAD_BYTES = 20
"""How much of a library's beginning the rules ask for: its ELF header up to the machine."""


@dataclass(frozen=True, slots=True)
class ComponentEntry:
    """One entry of a ZIP, as its central directory tells it. `method` and `flag_bits` are the format's own numbers.

    `head` is the beginning of a library, HEAD_BYTES of it; None when nobody looked.
    """

    name: str
    size_bytes: int
    compressed_bytes: int
    method: int = DEFLATED
    flag_bits: int = 0
    is_link: bool = False
    head: bytes | None = None

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flag_bits & ENCRYPTED_FLAGS)

    @property
    def is_readable(self) -> bool:
        """Whether every reader can unpack it: stored or deflated, not encrypted."""
        return self.method in (STORED, DEFLATED) and not self.is_encrypted

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def holds_head(name: str) -> bool:
    """Whether the rules ask for the beginning of an entry of this name."""
    return name.endswith(".so")


@dataclass(frozen=True, slots=True)
class ComponentListing:
    """What a component holds, as far as the rules ask: from a finished ZIP, or from what was just written.

    Attributes:
        file_name: the last segment of its key or path.
        size_bytes: size of the ZIP.
        entries: in the order of the central directory; gone through once.
        manifest: bytes of `manifest.json` at the root; None when there is none or it cannot be read.
        leading_bytes: how many stand before the first entry.
    """

    file_name: str
    size_bytes: int
    entries: Iterable[ComponentEntry]
    manifest: bytes | None
    leading_bytes: int = 0


@dataclass(frozen=True)
class CheckedComponent:
    """What follows from a listing, each part worked out once; empty where the manifest is unusable.

    `target` is the one that the component is held against, if any.
    """

    listing: ComponentListing
    target: Target | None = None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        try:
            value = read_json(self.listing.manifest or b"{}", MANIFEST)
        except ManifestError:
            return {}
        return value if isinstance(value, dict) else {}

    @cached_property
    def graph(self) -> dict[str, Any]:
        graph = self.manifest.get("model_graph")
        return graph if isinstance(graph, dict) else {}

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """The stages in order; an empty one stands for each that is no object."""
        stages = self.graph.get("stages")
        return [each if isinstance(each, dict) else {} for each in stages] if isinstance(stages, list) else []

    @cached_property
    def scan(self) -> EntryScan:
        return EntryScan(self.listing.entries, str(self.manifest.get("runtime_artifact")))


class EntryScan:
    """What the rules ask of all entries, from one look at each: of a million files little more than names is kept.

    Attributes:
        unpacked_bytes: the size of all entries.
        at_root: those of RESERVED_NAMES that something at the root has; folders count, also empty ones.
        unreadable: entries that not every reader can unpack.
        links: names of links.
        misplaced: names that are no paths below the root, and what is wrong with them.
        folders: the files of a model in each folder at the root, by path relative to the folder, by its name: those
            that a runtime looks for by their ending, and any called `model_file`.
    """

    def __init__(self, entries: Iterable[ComponentEntry], model_file: str) -> None:
        self.unpacked_bytes = 0
        self.at_root: set[str] = set()
        self.unreadable: list[ComponentEntry] = []
        self.links: list[str] = []
        self.misplaced: list[tuple[str, str]] = []
        self.folders: dict[str, dict[str, ComponentEntry]] = {}
        self._telling = (*MODEL_ENDINGS, model_file)
        self._paths: list[bytes] = []
        for entry in entries:
            self._see(entry)
        self._paths.sort()

    def clashes(self) -> Iterator[tuple[str, bool]]:
        """Paths of files, sorted, that another file has too, or (True) that are folders as well."""
        # Every folder above every path would be gigabytes, of a few MB of deep paths. But since a slash is written as
        # the least byte here, what lies below a path follows it.
        for path, following in pairwise(self._paths):
            is_folder = following.startswith(path + b"\0")
            if not path.endswith(b"\0") and (is_folder or following == path):
                yield path.decode().replace("\0", "/"), is_folder

    def _see(self, entry: ComponentEntry) -> None:
        self.unpacked_bytes += entry.size_bytes
        if not entry.is_readable:
            self.unreadable.append(entry)
        if entry.is_link:
            self.links.append(entry.name)
        path = plain_path(entry.name)
        if fault := name_fault(entry.name) or ("" if path else "is the root itself"):
            self.misplaced.append((entry.name, fault))
            return
        folder, slash, rest = path.partition("/")
        if folder in RESERVED_NAMES:
            self.at_root.add(folder)
        self._paths.append((f"{path}/" if entry.is_folder else path).encode().replace(b"/", b"\0"))
        if slash and not entry.is_folder:
            files = self.folders.setdefault(folder, {})
            if rest.endswith(self._telling):
                files[rest] = entry
