"""What is packaged: made here, and kept, since packing a gibibyte as gzip does takes longer than most measurements."""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from tests import models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
GIB = 1 << 30
KEPT = Path("build/bench")
FORMAT_VERSION = 1
"""Part of the names of kept inputs: raise it when their contents change."""

SMALL_FILES, SMALL_FILE_BYTES = 20_000, 4096
REPEATED_BYTES = 32 * MIB
MANY = 1_000_000
LIMITS_OF_MANY = {
    "MAX_ARCHIVE_MEMBERS": str(MANY + 2000),
    "MAX_NAMES_BYTES": str(512 * MIB),
    "MAX_ZIP_DIRECTORY_BYTES": str(512 * MIB),
}


@dataclass(frozen=True)
class Input:
    """One compiled artifact. `make` writes it; `kept` says whether it is worth its disk space afterwards."""

    name: str
    what: str
    make: Callable[[Path], Path]
    kept: bool = True

    def at(self, folder: Path) -> Path:
        """The artifact, made on the first call."""
        path = (KEPT if self.kept else folder) / f"{self.name}-{FORMAT_VERSION}.tar.gz"
        if not path.exists():
            self.make(path)
        return path


def measured(size_bytes: int) -> list[Input]:
    """The inputs a, c and d; d has the same 20,000 files at any size."""
    size = f"{size_bytes // MIB} MiB"
    return [
        Input(f"a-{size_bytes // MIB}", f"float32 weights, {size}", lambda path: _weights(path, size_bytes)),
        Input(f"c-{size_bytes // MIB}", f"text, JSON, int8, sparse, {size}", lambda path: _mixture(path, size_bytes)),
        Input("d", f"{SMALL_FILES:,} files of 4 KiB", _small_files),
    ]


def of_size(size_bytes: int) -> Input:
    """One file of any size, made in seconds: a packed piece of the mixture, over and over."""
    return Input(
        f"memory-{size_bytes // MIB}",
        f"one file, {size_bytes // MIB} MiB",
        lambda path: _repeated(path, size_bytes),
        kept=False,
    )


def many_members() -> Input:
    """A million small files, which no default limit allows."""
    return Input("members", f"{MANY:,} files of a few bytes", _members_of_few_bytes)


def _members_of_few_bytes(path: Path) -> Path:
    numbers = ((f"layers/{each // 1000:04d}/{each % 1000:03d}.bin", b"%d" % (each * each)) for each in range(MANY))
    return models.archive(path, (models.small(*each) for each in numbers))


def _weights(path: Path, size_bytes: int) -> Path:
    return models.archive(path, [*_neo_files(), ("compiled.params", size_bytes, models.weights(size_bytes, "a"))])


def _mixture(path: Path, size_bytes: int) -> Path:
    return models.archive(path, [*_neo_files(), *_mixed(size_bytes)])


def _mixed(size_bytes: int) -> Iterator[models.Content]:
    quantized, sparse, lines = size_bytes * 40 // 100, size_bytes * 30 // 100, size_bytes * 20 // 100
    rest = size_bytes - quantized - sparse - lines
    yield "compiled.params", quantized, models.quantized(quantized, "c")
    yield "sparse.bin", sparse, models.sparse_weights(sparse, "c")
    yield "training.log", lines, models.text(lines, "c")
    yield "annotations.jsonl", rest, models.json_records(rest, "c")


def _small_files(path: Path) -> Path:
    return models.archive(path, _many())


def _many() -> Iterator[models.Content]:
    half = SMALL_FILE_BYTES // 2
    every = SMALL_FILES * half
    numbers = b"".join(models.weights(every, "d"))
    lines = b"".join(models.json_records(every, "d"))
    for each in range(SMALL_FILES):
        part = slice(each * half, (each + 1) * half)
        yield models.small(f"layers/{each // 200:03d}/{each:05d}.bin", numbers[part] + lines[part])


def _neo_files() -> Iterator[models.Content]:
    yield models.small("compiled.meta", b"{}")
    yield models.small("compiled_model.json", models.graph(200))
    yield "compiled.so", MIB, models.machine_code(MIB, "bench")


def _repeated(path: Path, size_bytes: int) -> Path:
    piece = b"".join(chain.from_iterable(blocks for _, _, blocks in _mixed(REPEATED_BYTES)))
    packer = zlib.compressobj(6, wbits=-15)
    packed = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)  # it refers to nothing before it
    header = tarfile.TarInfo("compiled.params")
    header.size = size_bytes // REPEATED_BYTES * REPEATED_BYTES
    first, last = header.tobuf(tarfile.GNU_FORMAT), bytes(2 * tarfile.BLOCKSIZE)
    count = header.size // REPEATED_BYTES
    checksum = 0
    for each in chain([first], repeat(piece, count), [last]):
        checksum = zlib.crc32(each, checksum)
    with path.open("wb") as file:
        file.write(models.GZIP_HEAD)
        file.write(_stored(first))
        for each in repeat(packed, count):
            file.write(each)
        file.write(_stored(last))
        file.write(models.gzip_tail(checksum, len(first) + header.size + len(last)))
    return path


def _stored(data: bytes) -> bytes:
    packer = zlib.compressobj(0, wbits=-15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
