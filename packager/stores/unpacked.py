"""A tar unpacked on its way, by any of the compressions that people use besides gzip, within the same limits."""

from __future__ import annotations

import bz2
import lzma
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from packager.core.gunzip import PackedCount, check_ratio
from packager.errors import ExtractionError, LimitExceededError, RequestError, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from packager.settings import Settings

_PIECE_BYTES = 1 << 18
_FIRST_BYTES = 1 << 10
"""What a stream is given at first: it copies what lies behind its end, and a file can be a million tiny streams."""

_TINY_BYTES = 1 << 9
"""Streams that hold less on the average, a block of tar, are counted: to begin one takes longer than to unpack it."""

_HEADER_BYTES = 18
"""The longest header of a frame of zstd. Of xz, a stream's header and a block's up to the dictionary take as much."""

_WINDOW_LOGS = range(10, 32)
"""What zstd takes as the greatest window: 1 KiB to 2 GiB, as powers of two."""


class Decompressor(Protocol):
    """One compressed stream, as the standard library's `bz2`, `lzma` and `compression.zstd` unpack it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


if TYPE_CHECKING:
    NewStream = Callable[[bytes], Decompressor]


class Unpacked:
    """The bytes of a tar, as exact reads; `bytes_read` counts them.

    `new` begins a stream, and is given its first bytes; without it the tar is not compressed. ExtractionError for
    anything but one or more whole streams, followed by nothing but zeros; LimitExceededError beyond
    `max_unpacked_bytes` or `max_ratio`, and for a stream that takes too much memory.
    """

    def __init__(self, packed: PackedCount, settings: Settings, new: NewStream | None, name: str) -> None:
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

    def _begin(self, new: NewStream) -> bool:
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
        self._stream, self._next_bytes = new(self._header()), _FIRST_BYTES
        return True

    def _header(self) -> bytes:
        """The first bytes of the next stream, also when a piece of the file ends in them."""
        if len(self._input) - self._at < _HEADER_BYTES:
            self._input, self._at = self._input[self._at :] + self._packed.read(_PIECE_BYTES), 0
        return self._input[self._at : self._at + _HEADER_BYTES]

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
        except LimitExceededError:
            raise
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


def new_bzip2(_: bytes) -> Decompressor:
    return bz2.BZ2Decompressor()


def xz(settings: Settings) -> NewStream:
    """Begins streams of xz that take MAX_XZ_MEMORY_BYTES at most."""
    return partial(_Xz, settings.max_xz_memory_bytes)


class _Xz:
    """One stream of xz. LimitExceededError when a block of it takes more memory."""

    def __init__(self, limit_bytes: int, header: bytes) -> None:
        self._limit_bytes = limit_bytes
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limit_bytes)
        self._found_bytes = max(_dictionary_bytes(header), limit_bytes + 1)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return self._stream.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            return self._stream.decompress(data, max_length)
        except lzma.LZMAError as error:
            if "Memory usage limit" not in str(error):
                raise
            what = "Memory to unpack the archive"
            raise LimitExceededError("MAX_XZ_MEMORY_BYTES", self._limit_bytes, self._found_bytes, what) from error


def _dictionary_bytes(header: bytes) -> int:
    """The dictionary of a stream's first block, where that has LZMA2 alone and no sizes, as `xz` writes it; else 0.

    https://tukaani.org/xz/xz-file-format.txt, 3.1 and 5.3.1
    """
    flags, lzma2, bits = header[13:14], header[14:16], header[16:17]
    if flags != b"\0" or lzma2 != b"\x21\x01" or not bits or bits[0] > 40:  # noqa: PLR2004  40 is 4 GiB
        return 0
    return (2 | bits[0] & 1) << (bits[0] // 2 + 11)


ZSTD_MODULE = "backports.zstd" if sys.version_info < (3, 14) else "compression.zstd"
"""Python's own module for zstd; before 3.14 it comes with an extra of the package."""


def zstd(settings: Settings) -> NewStream:
    """Begins streams of zstd, whose window MAX_ZSTD_WINDOW_BYTES bounds. RequestError without the extra."""
    try:
        library: Any = import_module(ZSTD_MODULE)
    except ModuleNotFoundError as error:
        raise RequestError(
            "Archives that are packed with zstd need a library that is not installed.",
            next_step="Install the package with its extra `zstd`, or pack the archive with gzip.",
            field="model",
        ) from error
    limit_bytes = settings.max_zstd_window_bytes
    log = min(max((limit_bytes - 1).bit_length(), _WINDOW_LOGS[0]), _WINDOW_LOGS[-1])
    options = {library.DecompressionParameter.window_log_max: log}

    def new(header: bytes) -> Decompressor:
        within("MAX_ZSTD_WINDOW_BYTES", limit_bytes, _window_bytes(header), "The window of the archive")
        return cast("Decompressor", library.ZstdDecompressor(options=options))

    return new


def _window_bytes(header: bytes) -> int:
    """The window of a frame of zstd; 0 for one to be skipped, and for what is no frame.

    https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.1
    """
    if not header.startswith(b"\x28\xb5\x2f\xfd") or len(header) < 6:  # noqa: PLR2004  magic, descriptor, window
        return 0
    descriptor = header[4]
    if not descriptor & 0x20:
        exponent, mantissa = divmod(header[5], 8)
        return (1 << exponent + 10) // 8 * (8 + mantissa)
    at = 5 + (0, 1, 2, 4)[descriptor & 3]  # a single segment has no window but its content, behind the dictionary's id
    width = (1, 2, 4, 8)[descriptor >> 6]
    size_bytes = int.from_bytes(header[at : at + width], "little")
    return size_bytes + 256 if width == 2 else size_bytes  # noqa: PLR2004  the two bytes leave out the first 256
