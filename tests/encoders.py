"""Everything that packs a model.tar.gz in the field: zlib in all its ways, and the compressors of other people.

for name, encoder in ENCODERS.items():
    if not encoder.missing:
        archive = encoder.pack(tar)
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import shutil
import subprocess
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isal import isal_zlib

from tests import archives

if TYPE_CHECKING:
    from collections.abc import Callable

GZIP = 16
"""What is added to zlib's window bits for a gzip header and trailer."""

_BGZF_BYTES = 0xFF00
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True)
class Encoder:
    """Packs bytes as gzip. `needs` is the program or, as `package:NAME`, the Python package that it takes."""

    pack: Callable[[bytes], bytes]
    needs: str = ""
    usual: bool = True
    """Whether it is tried on every run: neither slow nor much like one that is."""

    @property
    def missing(self) -> str | None:
        """What to install, when it is not there."""
        kind, _, package = self.needs.partition(":")
        found = not self.needs or (importlib.util.find_spec(package) if package else shutil.which(kind))
        return None if found else self.needs


def _zlib(level: int = 6, window: int = 15, memory: int = 8, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> Encoder:
    def pack(data: bytes) -> bytes:
        packer = zlib.compressobj(level, zlib.DEFLATED, GZIP + window, memory, strategy)
        return packer.compress(data) + packer.flush()

    return Encoder(pack)


def _flushed(*ways: int) -> Encoder:
    """Flushed every now and then, at uneven places, in one of the ways."""

    def pack(data: bytes) -> bytes:
        draw = random.Random(len(data))
        packer, packed, at = zlib.compressobj(6, wbits=GZIP + 15), b"", 0
        while at < len(data):
            size = draw.randint(1, 90_000)
            packed += packer.compress(data[at : at + size]) + packer.flush(draw.choice(ways))
            at += size
        return packed + packer.flush()

    return Encoder(pack)


def _igzip(level: int) -> Encoder:
    def pack(data: bytes) -> bytes:
        packer = isal_zlib.compressobj(level, isal_zlib.DEFLATED, GZIP + 15)
        return bytes(packer.compress(data) + packer.flush())

    return Encoder(pack)


def _program(*command: str) -> Encoder:
    def pack(data: bytes) -> bytes:
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, timeout=300).stdout

    return Encoder(pack, command[0])


def _libdeflate(level: int) -> Encoder:
    def pack(data: bytes) -> bytes:
        return bytes(importlib.import_module("deflate").gzip_compress(data, level))

    return Encoder(pack, "package:deflate")


def _zopfli(data: bytes) -> bytes:
    packed = importlib.import_module("zopfli.gzip").compress(data, numiterations=1)
    return bytes(packed)


def _bgzip(data: bytes) -> bytes:
    """Blocks of at most 64 KiB, each a gzip member that tells its size (SAM specification, section 4.1)."""
    pieces = (data[at : at + _BGZF_BYTES] for at in range(0, len(data), _BGZF_BYTES))
    return b"".join(map(_bgzf_block, pieces)) + _BGZF_END


def _bgzf_block(piece: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=-15)
    packed = packer.compress(piece) + packer.flush()
    size = 18 + len(packed) + 8
    head = bytes.fromhex("1f8b08040000000000ff060042430200") + (size - 1).to_bytes(2, "little")
    return head + packed + zlib.crc32(piece).to_bytes(4, "little") + len(piece).to_bytes(4, "little")


def _members(data: bytes) -> bytes:
    """Gzip members that begin anywhere, empty ones among them, and zeros behind."""
    draw = random.Random(len(data))
    cuts = [draw.randint(0, len(data)) for _ in range(6)]
    return archives.gz(data, [*cuts, cuts[0], cuts[0]], levels=(6, 0, 9, 1), padding=700)


_USUAL = {
    **{f"zlib, level {level}": _zlib(level) for level in (1, 6, 9)},
    "zlib, stored": _zlib(0),
    "zlib, fixed codes": _zlib(strategy=zlib.Z_FIXED),
    "zlib, runs": _zlib(strategy=zlib.Z_RLE),
    "zlib, Huffman codes only": _zlib(strategy=zlib.Z_HUFFMAN_ONLY),
    "zlib, window of 512 bytes": _zlib(window=9),
    "zlib, blocks of 128 symbols": _zlib(memory=1),
    "zlib, every flush": _flushed(zlib.Z_PARTIAL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK),
    "gzip members": Encoder(_members),
    "bgzip": Encoder(_bgzip),
    "igzip, level 0": _igzip(0),
    "igzip, level 2": _igzip(2),
    "gzip --rsyncable": _program("gzip", "--rsyncable"),
    "pigz": _program("pigz", "-b", "128"),
    "pigz -i": _program("pigz", "-i", "-b", "128"),
    **{f"libdeflate, level {level}": _libdeflate(level) for level in (1, 12)},
}
_OTHERS = {
    "zlib, level 3": _zlib(3),
    "zlib, filtered": _zlib(strategy=zlib.Z_FILTERED),
    "zlib, window of 4 KiB": _zlib(window=12),
    "zlib, blocks of 32,768 symbols": _zlib(9, memory=9),
    "zlib, sync flushes": _flushed(zlib.Z_SYNC_FLUSH),
    "zlib, full flushes": _flushed(zlib.Z_FULL_FLUSH),
    **{f"igzip, level {level}": _igzip(level) for level in (1, 3)},
    **{f"gzip -{level}": _program("gzip", f"-{level}") for level in (1, 6, 9)},
    "pigz --rsyncable": _program("pigz", "-R"),
    "pigz -11": _program("pigz", "-11", "-I", "1"),
    "7z": _program("7z", "a", "-tgzip", "-si", "-so", "-mx5", "a"),
    "libdeflate, level 6": _libdeflate(6),
    "zopfli": Encoder(_zopfli, "package:zopfli"),
}
ENCODERS = {**_USUAL, **{name: replace(each, usual=False) for name, each in _OTHERS.items()}}
"""By what packs, and how."""
