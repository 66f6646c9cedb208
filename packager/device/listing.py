"""What a component holds, as plain data, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from posixpath import normpath
from typing import Any

from packager.errors import ManifestError
from packager.model.manifest import MANIFEST
from packager.model.strict import read_json

STORED, DEFLATED = 0, 8
ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a ZIP, as its central directory tells it. `method` and `flag_bits` are the format's own numbers."""

    name: str
    size_bytes: int
    compressed_bytes: int
    method: int = DEFLATED
    flag_bits: int = 0
    is_link: bool = False

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

    @property
    def leaves_root(self) -> bool:
        """Whether the name resolves to the root or above it, by any unarchiver's reading of separators."""
        path = self.name.replace("\\", "/")
        return path.startswith("/") or "\0" in path or normpath(path).split("/")[0] in {".", ".."}


@dataclass(frozen=True, slots=True)
class ComponentListing:
    """What a component holds, as far as the rules ask: from a finished ZIP, or from what was just written.

    Attributes:
        file_name: the last segment of its key or path.
        size_bytes: size of the ZIP.
        entries: in the order of the central directory.
        manifest: bytes of `manifest.json` at the root; None when there is none or it cannot be read.
    """

    file_name: str
    size_bytes: int
    entries: tuple[Entry, ...]
    manifest: bytes | None


@dataclass(frozen=True)
class Contents:
    """What follows from a listing, each part worked out once; empty where the manifest is unusable."""

    listing: ComponentListing

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
    def paths(self) -> tuple[str, ...]:
        """Where files land below the root, without those that would land outside."""
        inside = (each.name for each in self.listing.entries if not (each.is_folder or each.leaves_root))
        return tuple(normpath(name) for name in inside)

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """The files of each folder at the root: paths relative to the folder, by its name."""
        found: dict[str, list[str]] = {}
        for path in self.paths:
            folder, slash, rest = path.partition("/")
            if slash:
                found.setdefault(folder, []).append(rest)
        return found
