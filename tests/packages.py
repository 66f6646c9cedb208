"""Small packages for tests: artifacts of any files, with hard links or without, and what came of them; no pytest.

with ground() as here:
    result = package(here.trained, {"arm64-cpu": here.compiled(Model({"compiled.so": 5000}))}, here.out)
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from packager.core.zip import LARGE_BYTES
from tests import archives

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packager.results import PackageResult

BLOCK_BYTES = 4096
"""What file systems of tests give out space in."""

TARGETS = (
    "jetson-xavier",
    "arm64-cpu",
    "jetson-xavier-jp5",
    "jetson-xavier-jp6",
    "jetson-xavier-jp7",
    "x86_64-cpu",
    "x86_64-cuda",
)


@dataclass(frozen=True)
class Model:
    """A compiled artifact: its files by name and size, and behind them the hard links (name: target)."""

    sizes_bytes: Mapping[str, int]
    links: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def files(self) -> dict[str, bytes]:
        return {
            name: content(size, self.seed + at, archives.elf() if name.endswith(".so") else b"")
            for at, (name, size) in enumerate(self.sizes_bytes.items())
        }

    @property
    def with_links(self) -> dict[str, bytes]:
        """Every file, links as copies."""
        return {**self.files, **{name: self.files[target] for name, target in self.links.items()}}

    @property
    def packed_sizes_bytes(self) -> dict[str, int]:
        """What the packed form of each file takes, which is what is staged."""
        packed = archives.reference_packed(self.files, self.archive())
        return {name: len(data) for name, (_, data) in zip(self.files, packed, strict=True)}

    @property
    def staged_bytes(self) -> int:
        """What it takes on scratch: whole blocks of each file there, and one more for its name; small members share."""
        packed_bytes, held = self.packed_sizes_bytes, [-1]
        for name in [*self.files, *self.links]:
            size = packed_bytes.get(name, 0)
            if name in self.files and len(self.files[name]) >= LARGE_BYTES:
                held += [size, -1]
            elif held[-1] >= 1 << 20:
                held.append(size)
            else:
                held[-1] = max(0, held[-1]) + size
        return sum((-(-size // BLOCK_BYTES) + 1) * BLOCK_BYTES for size in held if size >= 0)

    def archive(self) -> bytes:
        """The tar.gz; each link is a member without content, as tar writes it."""
        return archives.gz(tar(self.files, self.links), levels=(1,))

    def component(self, result: PackageResult) -> bytes:
        """The component as a plain implementation makes it, with the manifest of the result; links are copies."""
        manifest = {"manifest.json": json.dumps(result.manifest, indent=2).encode()}
        files = {**manifest, **{f"mochi/{name}": data for name, data in self.with_links.items()}}
        return archives.reference_zip(files, self.archive(), "mochi/")


@dataclass(frozen=True)
class Ground:
    """Artifacts and output of one package, on a disk where space is no question."""

    root: Path
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def trained(self) -> str:
        path = self.root / "trained.tar.gz"
        if not path.exists():
            path.write_bytes(_trained())
        return str(path)

    @property
    def out(self) -> str:
        return str(self.root / "out")

    def compiled(self, model: Model) -> str:
        path = self.root / f"compiled-{next(self._numbers)}.tar.gz"
        path.write_bytes(model.archive())
        return str(path)

    def each_compiled(self, models: Iterable[Model]) -> dict[str, str]:
        """An artifact for one target after the other."""
        return dict(zip(TARGETS, map(self.compiled, models), strict=False))

    def published(self) -> set[str]:
        """Every file and every empty folder below the output."""
        found = Path(self.out).rglob("*")
        return {str(each) for each in found if not each.is_dir() or not any(each.iterdir())}


@contextmanager
def ground() -> Iterator[Ground]:
    shared_memory = Path("/dev/shm")  # noqa: S108  a place without a disk's waiting, where there is one
    with tempfile.TemporaryDirectory(dir=shared_memory if os.access(shared_memory, os.W_OK) else None) as root:
        yield Ground(Path(root))


@cache
def _trained() -> bytes:
    return archives.trained_model()


def tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def content(size_bytes: int, seed: int = 0, head: bytes = b"") -> bytes:
    """Noise behind a head, as weights nearly are; each seed gives other bytes."""
    return (head + Random(seed).randbytes(size_bytes))[:size_bytes]
