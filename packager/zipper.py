"""ZIP files from files on disk, written incrementally, with the same bytes as a streamed package."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from packager.core.names import safe_path
from packager.core.pipeline import File, Lookahead, ReadInto, packed_files, zip_parts
from packager.core.zip import ZipEncoder
from packager.errors import CompressionError, printable
from packager.os_errors import map_os_errors
from packager.stores import Stores
from telemetry import catalog, observe

if TYPE_CHECKING:
    from io import FileIO
    from types import TracebackType

    from packager.stores import Upload

ProgressCallback = Callable[[int, int], None]
"""Called with files done and bytes in."""


class IncrementalZipper:
    """Writes one ZIP file, never holding it, or any file, whole in memory; it appears when it is complete.

    Either `create_zip_streaming` for a folder, or a `with` block: `add_file_streaming` for each file, then
    `finalize`. Without it, or after an error, nothing is left. Memory: about 8 MiB. The same files in the same order
    give the same bytes. Errors: CompressionError for what cannot stand in a ZIP, StoreError and its kinds.
    """

    def __init__(self, zip_path: str | Path | None = None) -> None:
        self._zip_path = Path(zip_path) if zip_path is not None else None
        self._encoder = ZipEncoder()
        self._names: set[str] = set()
        self._stack = ExitStack()
        self._upload: Upload | None = None
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._stack.__exit__(kind, error, trace)

    def create_zip_streaming(
        self, source_dir: str | Path, zip_path: str | Path, progress_callback: ProgressCallback | None = None
    ) -> Path:
        """Zip every file below `source_dir`, in the order of their paths, into `zip_path`, and return it.

        CompressionError for links and devices: their content is not what a reader of the folder sees.
        """
        found = _files_below(Path(source_dir))
        encoder = ZipEncoder()
        with (
            observe(catalog.ZIP_COMPONENT) as step,
            _zip_file(Path(zip_path)) as upload,
            closing(zip_parts(_opened(found), encoder)) as parts,
        ):
            for part in parts:
                upload.write(part.data)
                if progress_callback:
                    progress_callback(encoder.files, encoder.bytes_in)
            upload.commit()
            step.add(files=encoder.files, bytes_in=encoder.bytes_in, bytes_out=encoder.bytes_out)
        return Path(zip_path)

    def add_file_streaming(self, file_path: str | Path, archive_name: str) -> None:
        """Add one file under a relative path, which passes the same rule as an archive's members."""
        path = Path(file_path)
        name = safe_path(archive_name)
        if not name:
            raise CompressionError("A file in a ZIP needs a name.", next_step="Give a relative path.")
        found = [(name, path, _size_of_plain_file(path))]
        with self._writing() as upload:
            if name in self._names:
                raise CompressionError(f"The file name {printable(name)!r} comes twice.", name=printable(name))
            self._names.add(name)
            with closing(packed_files(_opened(found), Lookahead())) as items:
                for item in items:
                    upload.write(self._encoder.add(item).data)

    def finalize(self) -> Path:
        """Write the directory, make the ZIP visible, and return its path."""
        with self._writing() as upload:
            for part in self._encoder.finish():
                upload.write(part.data)
            stored = upload.commit()
            self._step.add(
                files=self._encoder.files, bytes_in=self._encoder.bytes_in, bytes_out=self._encoder.bytes_out
            )
        self.__exit__(None, None, None)
        return Path(stored.uri)

    @contextmanager
    def _writing(self) -> Iterator[Upload]:
        """The upload to write to. After an error it holds half a file, so that it is given up at once."""
        try:
            yield self._begun()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def _begun(self) -> Upload:
        if self._ended or self._zip_path is None:
            raise CompressionError(
                "There is no ZIP to write to: none was named, or it is complete, or was given up after an error.",
                next_step="Make an IncrementalZipper with a path for each ZIP.",
            )
        if self._upload is None:
            self._step = self._stack.enter_context(observe(catalog.ZIP_COMPONENT))
            self._upload = self._stack.enter_context(_zip_file(self._zip_path))
        return self._upload


@contextmanager
def _zip_file(path: Path) -> Iterator[Upload]:
    with Stores().sink(str(path.absolute().parent)).open(lambda: (path.name, "")) as upload:
        yield upload


def _files_below(folder: Path) -> list[tuple[str, Path, int]]:
    found = []
    with map_os_errors("list", folder):
        for parent, folders, names in os.walk(folder, onerror=_raise):
            for name in (*names, *(each for each in folders if (Path(parent) / each).is_symlink())):
                path = Path(parent, name)
                found.append((safe_path(path.relative_to(folder).as_posix()), path, _size_of_plain_file(path)))
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _size_of_plain_file(path: Path) -> int:
    with map_os_errors("look at", path):
        status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise CompressionError(
            f"{printable(path)} is no plain file; a component holds nothing else.",
            next_step="Copy what it points to in its place, or leave it out.",
            path=printable(path),
        )
    return status.st_size


def _opened(found: list[tuple[str, Path, int]]) -> Iterator[File]:
    for name, path, size in found:
        with map_os_errors("read", path), path.open("rb", buffering=0) as file:
            yield File(name, size, _reading(path, file))
            now = os.fstat(file.fileno()).st_size
        if now != size:
            raise CompressionError(
                f"{printable(path)} had {size} bytes and has {now}: it was changed while it was being packed.",
                next_step="Package again once the file no longer changes.",
                path=printable(path),
                announced_bytes=size,
                found_bytes=now,
            )


def _reading(path: Path, file: FileIO) -> ReadInto:
    def readinto(buffer: memoryview) -> int:
        with map_os_errors("read", path):
            return file.readinto(buffer)

    return readinto
