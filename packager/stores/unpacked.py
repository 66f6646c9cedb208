"""A tar unpacked on its way, by any of the compressions that people use besides gzip, within the same limits."""

from __future__ import annotations

import bz2
import lzma
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from packager.core.gunzip import PackedCount, check_ratio
from packager.errors import ExtractionError, RequestError, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from packager.settings import Settings

_PIECE_BYTES = 1 << 18
_FIRST_BYTES = 1 << 10
"""What a stream is given at first: it copies what lies behind its end, and a file can be a million tiny streams."""

_TINY_BYTES = 1 << 9
"""Streams that hold less on the average, a block of tar, are counted: to begin one takes longer than to unpack it."""

_XZ_MEMORY_BYTES = 96 << 20
"""`xz -9` takes 65 MiB to unpack."""

_ZSTD_WINDOW_LOG = 27
"""128 MiB: what `zstd` itself unpacks without being told to."""


class Decompressor(Protocol):
    """One compressed stream, as the standard library's `bz2`, `lzma` and `compression.zstd` unpack it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Unpacked:
    """The bytes of a tar, as exact reads; `bytes_read` counts them.

    `new` begins a stream; without it the tar is not compressed. ExtractionError for anything but one or more whole
    streams, followed by nothing but zeros; LimitExceededError beyond `max_unpacked_bytes` or `max_ratio`.
    """

    def __init__(
        self, packed: PackedCount, settings: Settings, new: Callable[[], Decompressor] | None, name: str
    ) -> None:
        self._packed = packed
        self._settings = settings
        self._new = new
        self._name = name
        self._stream: Decompressor | None = None
        self._input, self._at = b"", 0
        self._streams, self._next_bytes = 0, _FIRST_BYTES
        self._ready = memoryview(b"")
        self.bytes_read = 0

    def read_exactly(self, size: int) -> bytes:
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: self.readinto_exactly(buffer)])

    def readinto_exactly(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._ready and not self._fill():
                break
            count = min(len(self._ready), len(buffer) - filled)
            buffer[filled : filled + count] = self._ready[:count]
            self._ready = self._ready[count:]
            filled += count
        self.bytes_read += filled
        within("MAX_UNPACKED_BYTES", self._settings.max_unpacked_bytes, self.bytes_read)
        check_ratio(self._settings, self._packed.bytes_read, self.bytes_read)
        return filled

    def _fill(self) -> bool:
        """Unpack a piece; False at the end of the file."""
        if self._new is None:
            self._ready = memoryview(self._packed.read(_PIECE_BYTES))
            return bool(self._ready)
        while not self._ready:
            if self._stream is None and not self._begin(self._new):
                return False
            self._unpack()
        return True

    def _begin(self, new: Callable[[], Decompressor]) -> bool:
        """Begin the next stream, behind zeros; False when there is none."""
        while True:
            piece = self._input[self._at : self._at + _FIRST_BYTES]
            self._at += len(piece) - len(piece.lstrip(b"\0"))
            if piece.strip(b"\0"):
                break
            if self._at == len(self._input) and not self._refill():
                return False
        self._streams += 1
        tiny = self._streams - self.bytes_read // _TINY_BYTES
        within("MAX_ARCHIVE_MEMBERS", self._settings.max_members, tiny, f"The number of tiny {self._name} streams")
        self._stream, self._next_bytes = new(), _FIRST_BYTES
        return True

    def _refill(self) -> bool:
        self._input, self._at = self._packed.read(_PIECE_BYTES), 0
        return bool(self._input)

    def _unpack(self) -> None:
        stream = self._stream
        if stream is None:
            return
        given = b""
        if stream.needs_input:
            if self._at == len(self._input) and not self._refill():
                raise self._damaged("ends too early")
            given = self._input[self._at : self._at + self._next_bytes]
            self._at, self._next_bytes = self._at + len(given), _PIECE_BYTES
        try:
            self._ready = memoryview(stream.decompress(given, _PIECE_BYTES))
        except Exception as error:
            raise self._damaged(f"is damaged, or followed by other data ({error})") from error
        if stream.eof:
            # A stream is given nothing while it has something left: what it did not use is the end of the last input.
            self._at, self._stream = self._at - len(stream.unused_data), None

    def _damaged(self, what: str) -> ExtractionError:
        return ExtractionError(
            f"The archive {what}: {self._packed.bytes_read} packed bytes read, {self.bytes_read} unpacked.",
            next_step=f"Copy or make the archive again; `{self._name} -t` shows whether a file is whole.",
            packed_bytes=self._packed.bytes_read,
            unpacked_bytes=self.bytes_read,
        )


def new_bzip2() -> Decompressor:
    return bz2.BZ2Decompressor()


def new_xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


ZSTD_MODULE = "backports.zstd" if sys.version_info < (3, 14) else "compression.zstd"
"""Python's own module for zstd; before 3.14 it comes with an extra of the package."""


def zstd() -> Callable[[], Decompressor]:
    """Begins streams of zstd, with a window of 128 MiB at most. RequestError when the extra is not installed."""
    try:
        library: Any = import_module(ZSTD_MODULE)
    except ModuleNotFoundError as error:
        raise RequestError(
            "Archives that are packed with zstd need a library that is not installed.",
            next_step="Install the package with its extra `zstd`, or pack the archive with gzip.",
            field="model",
        ) from error
    options = {library.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return lambda: cast("Decompressor", library.ZstdDecompressor(options=options))
