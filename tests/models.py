"""Realistic models of any size, made quickly and the same every time; for the demo, the benchmark and tests.

trained(folder / "model.tar.gz", 100 << 20)
neo(folder / "jetson-xavier.tar.gz", 100 << 20)
"""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MIB = 1 << 20
BLOCK_BYTES = 4 * MIB
"""What is made, and packed, at a time."""

WINDOW_BYTES = 1 << 15
AARCH64, X86_64 = 183, 62
"""Machines, by their numbers in ELF."""

_SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ter",
    "ver",
    "an",
    "de",
    "sto",
    "ri",
    "el",
    "un",
    "pro",
    "con",
    "ta",
    "ly",
    "ing",
    "er",
    "ment",
)
INPUT_SHAPE = [1, 3, 224, 224]
STAGE = "mochi"
MANIFEST = {
    "model_graph": {
        "model_graph_type": "single_stage_model_graph",
        "stages": [
            {
                "type": STAGE,
                "input_shape": INPUT_SHAPE,
                "threshold": 0.5,
                "image_width": 224,
                "image_height": 224,
                "image_range_scale": True,
                "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            }
        ],
    },
    "input_shape": INPUT_SHAPE,
}
CONFIG = b"dataset:\n  image_width: 224\n  image_height: 224\n"

Content = tuple[str, int, "Iterable[bytes]"]
"""Name, size in bytes and blocks of one file."""


def trained(path: Path, size_bytes: int = 64 << 10, seed: str = "trained") -> Path:
    """A trained model whose weights have `size_bytes` in all: a checkpoint, and half as much in its export."""
    checkpoint = size_bytes * 2 // 3
    return archive(
        path,
        [
            small("config.yaml", CONFIG),
            ("mochi.pt", checkpoint, weights(checkpoint, seed)),
            small("mochi.json", graph(40)),
            ("export_artifacts/mochi.pt", size_bytes - checkpoint, weights(size_bytes - checkpoint, f"{seed} export")),
            small("export_artifacts/manifest.json", json.dumps(MANIFEST, indent=2).encode()),
        ],
    )


def neo(path: Path, size_bytes: int = 64 << 10, seed: str = "neo", machine: int = AARCH64) -> Path:
    """A model as SageMaker Neo compiles it: library, weights of `size_bytes`, graph and metadata."""
    return archive(
        path,
        [
            small(
                "compiled.meta", b'{"Requirements": {"TargetDevice": "LIB"}, "Model": {"Inputs": [{"name": "input"}]}}'
            ),
            ("compiled.params", size_bytes, weights(size_bytes, seed)),
            ("compiled.so", size_bytes // 64, machine_code(size_bytes // 64, seed, machine)),
            small("compiled_model.json", graph(200)),
            ("libdlr.so", 1 << 16, machine_code(1 << 16, "runtime", machine)),
        ],
    )


def onnx_export(path: Path, size_bytes: int = 64 << 10, seed: str = "onnx") -> Path:
    """A compilation job's ONNX export."""
    return archive(path, [("export/model.onnx", size_bytes, weights(size_bytes, seed))])


def imported_onnx(path: Path, size_bytes: int = 64 << 10, seed: str = "imported") -> Path:
    """A trained artifact that is an imported ONNX model and needs no compilation."""
    manifest = {**MANIFEST, "runtime": "onnx", "runtime_artifact": "model.onnx"}
    return archive(
        path,
        [
            small("config.yaml", CONFIG),
            small("export_artifacts/manifest.json", json.dumps(manifest).encode()),
            ("export_artifacts/model.onnx", size_bytes, weights(size_bytes, seed)),
        ],
    )


def weights(size_bytes: int, seed: str) -> Iterator[bytes]:
    """Float32 weights: random mantissas, and the few exponents of a normal distribution. Gzip ratio about 0.92."""
    for noise in _noise(size_bytes, seed):
        block = bytearray(noise)
        block[3::4] = block[3::4].translate(_EXPONENTS)
        yield bytes(block)


def sparse_weights(size_bytes: int, seed: str) -> Iterator[bytes]:
    """Float32 weights of which every other one, by chance, was pruned to zero."""
    for block, noise in zip(weights(size_bytes, seed), _noise(size_bytes, f"{seed} kept"), strict=True):
        kept = bytearray(len(block))
        for plane in range(4):
            kept[plane::4] = noise[::4].translate(_HALF)[: len(kept[plane::4])]
        yield (int.from_bytes(block) & int.from_bytes(kept)).to_bytes(len(block))


def quantized(size_bytes: int, seed: str) -> Iterator[bytes]:
    """Int8 weights, normally distributed."""
    return (noise.translate(_INT8) for noise in _noise(size_bytes, seed))


def text(size_bytes: int, seed: str) -> Iterator[bytes]:
    """Sentences whose words are as unequally frequent as in a language; no line comes back where gzip would see it."""
    draw = random.Random(seed)
    words = _words(draw, 6000)
    frequencies = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
    yield from _lines(
        [" ".join(draw.choices(words, cum_weights=frequencies, k=9)) for _ in range(40_000)], size_bytes, draw
    )


def json_records(size_bytes: int, seed: str) -> Iterator[bytes]:
    """Annotations, one JSON record a line."""
    draw = random.Random(seed)
    labels = _words(draw, 80)
    records = (
        {
            "image": f"{draw.randrange(10**6):06d}.png",
            "label": draw.choice(labels),
            "score": round(draw.random(), 6),
            "box": [round(draw.uniform(0, 2048), 2) for _ in range(4)],
        }
        for _ in range(20_000)
    )
    yield from _lines([json.dumps(record) for record in records], size_bytes, draw)


def _words(draw: random.Random, count: int) -> list[str]:
    return ["".join(draw.choices(_SYLLABLES, k=draw.choice((1, 2, 2, 3)))) for _ in range(count)]


def _lines(lines: list[str], size_bytes: int, draw: random.Random) -> Iterator[bytes]:
    encoded = [f"{line}\n".encode() for line in lines]
    shortest = min(map(len, encoded))
    left = size_bytes
    while left:
        block = b"".join(draw.choices(encoded, k=BLOCK_BYTES // shortest))[: min(left, BLOCK_BYTES)]
        left -= len(block)
        yield block


def machine_code(size_bytes: int, seed: str, machine: int = AARCH64) -> Iterator[bytes]:
    """What a shared library looks like: an ELF head that says the machine, and a small alphabet of instructions."""
    head = (b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x03\0" + machine.to_bytes(2, "little"))[:size_bytes]
    yield head
    yield from quantized(size_bytes - len(head), seed)


def graph(nodes: int) -> bytes:
    """A graph in JSON with so many nodes."""
    listed = [{"op": "tvm_op", "name": f"fused_conv2d_{each}", "inputs": [[each, 0, 0]]} for each in range(nodes)]
    return json.dumps({"nodes": listed, "heads": [[nodes, 0, 0]]}).encode()


def small(name: str, data: bytes) -> Content:
    return name, len(data), [data]


def archive(path: Path, files: Iterable[Content]) -> Path:
    """Write a tar.gz of the files, dated 1970, packed as `gzip -6` packs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        for chunk in gzipped(tar(files)):
            file.write(chunk)
    return beside.replace(path)


def tar(files: Iterable[Content]) -> Iterator[bytes]:
    """The bytes of a tar."""
    for name, size_bytes, blocks in files:
        header = tarfile.TarInfo(name)
        header.size = size_bytes
        yield header.tobuf(tarfile.GNU_FORMAT)
        yield from blocks
        yield bytes(-size_bytes % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def gzipped(data: Iterable[bytes], level: int = 6) -> Iterator[bytes]:
    """One gzip member, packed by two threads at once; each block sees the 32 KiB before it, so no ratio is lost."""
    checksum, size = 0, 0

    def windows() -> Iterator[tuple[bytes, bytes]]:
        nonlocal checksum, size
        before = b""
        for block in _in_blocks(data):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
            yield before, block
            before = block[-WINDOW_BYTES:]

    yield GZIP_HEAD
    with ThreadPoolExecutor(2) as pool:
        waiting: list = []
        for window in windows():
            waiting.append(pool.submit(_deflated, *window, level))
            if len(waiting) > 3:
                yield waiting.pop(0).result()
        for packed in waiting:
            yield packed.result()
    yield gzip_tail(checksum, size)


GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate, no name, no date


def gzip_tail(checksum: int, size_bytes: int) -> bytes:
    """An empty last deflate block, CRC-32 and length."""
    return b"\x03\0" + checksum.to_bytes(4, "little") + (size_bytes % 2**32).to_bytes(4, "little")


def _deflated(before: bytes, block: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, zdict=before) if before else zlib.compressobj(level, wbits=-15)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)


def _in_blocks(data: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in chain(data, [b""]):
        held += piece
        while len(held) >= BLOCK_BYTES or (held and not piece):
            yield bytes(held[:BLOCK_BYTES])
            del held[:BLOCK_BYTES]


def _noise(size_bytes: int, seed: str) -> Iterator[bytes]:
    for start in range(0, size_bytes, BLOCK_BYTES):
        yield hashlib.shake_128(f"{seed} {start}".encode()).digest(min(BLOCK_BYTES, size_bytes - start))


def _table(values: Iterable[int]) -> bytes:
    """What each of 256 equally likely bytes becomes."""
    table = bytes(values)
    assert len(table) == 256
    return table


_NORMAL = NormalDist(0, 0.05)


def _top_byte(quantile: float) -> int:
    value = _NORMAL.inv_cdf(quantile)
    exponent = 127
    while abs(value) * 2 ** (127 - exponent) < 1 and exponent > 1:
        exponent -= 1
    return (128 if value < 0 else 0) | exponent >> 1


_EXPONENTS = _table(_top_byte((each + 0.5) / 256) for each in range(256))
_INT8 = _table(round(NormalDist(0, 4).inv_cdf((each + 0.5) / 256)) % 256 for each in range(256))
_HALF = _table(255 if each < 128 else 0 for each in range(256))
