"""The files of a finished component by path, with what its directory says of each."""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING

from packager.core.names import safe_path
from packager.device.component_zip import ComponentZip
from packager.errors import within
from packager.stores.archive import COMPONENT, naming
from packager.stores.zip_directory import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.settings import Settings
    from packager.stores import Source
    from packager.stores.zip_directory import DirectoryRecord


class ComponentFiles:
    """A component's files and folders by path below its root; only its directory has been read.

    ExtractionError, which names the component, for a ZIP that is damaged, that names a path outside its root, or a path
    twice; LimitExceededError; StoreError and its kinds.

    Attributes:
        source: where the ZIP is read.
        size_bytes: size of the ZIP.
        files: the directory's record of each file.
        folders: every folder that unpacking makes, but the root.
    """

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source = source
        with naming(source, COMPONENT):
            self.size_bytes = source.size_bytes()
            self._zip = ComponentZip(source.read_range, self.size_bytes, settings)
            self.files, self.folders = _by_path(self._zip.records, settings)

    def contents(self, path: str) -> Iterator[bytes]:
        """The unpacked bytes of a file, checked against its size and checksum while they are read."""
        with naming(self.source, COMPONENT):
            yield from self._zip.contents(self.files[path])


def _by_path(records: list[DirectoryRecord], settings: Settings) -> tuple[dict[str, DirectoryRecord], set[str]]:
    files: dict[str, DirectoryRecord] = {}
    folders = {""}
    names_bytes = 0
    for record in records:
        path = safe_path(record.name, "entry")
        if not record.raw_name.endswith(b"/"):
            if not path or path in files:
                damaged("its path is there more than once" if path else "its path is the root itself", record)
            files[path] = record
            names_bytes += getsizeof(path)
            path = path.rpartition("/")[0]
        while path not in folders:
            folders.add(path)
            names_bytes += getsizeof(path)
            path = path.rpartition("/")[0]
        # Each folder above a file is a name too, so that a few MB of deep paths would take gigabytes.
        within("MAX_NAMES_BYTES", settings.max_names_bytes, names_bytes, "Memory for the names of the ZIP")
    for path in files.keys() & folders:
        damaged("it is both a file and a folder", files[path])
    return files, folders - {""}
