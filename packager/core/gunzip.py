"""Gzip inflated within limits: every member, block, checksum and length is checked, up to the last byte of the file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from packager.core.buffers import Pool
from packager.core.native import DAMAGE, WINDOW_BYTES, Before, Inflate, InflateStop, address_of
from packager.errors import ExtractionError, within

if TYPE_CHECKING:
    from packager.core.ports import Reader
    from packager.settings import Settings

AHEAD_BYTES = WINDOW_BYTES
"""How much is inflated at most without having been asked for. It must not be more than what splicing packs anew at the
front of a file: blocks that begin in it go by unseen."""

_ROOM_BYTES = 1 << 18  # for inflated bytes: stays in the cache of a core
_READ_BYTES = 1 << 19
_CARRY_BYTES = 1 << 10  # more than what a call may leave unread for the next one: a block's header
_FIELD_BYTES = 1 << 16  # of a name or comment in a gzip header

_HAS_CHECKSUM, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT, _RESERVED = 2, 4, 8, 16, 0xE0


class PackedCount:
    """A reader that counts what has been read of it: progress, ratio and telemetry look at `bytes_read`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.bytes_read = 0

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        self.bytes_read += count
        return count

    def read(self, size: int = -1) -> bytes:
        data = self._reader.read(size)
        self.bytes_read += len(data)
        return data


class _DamageError(Exception):
    """What is wrong with the gzip; made an ExtractionError where the figures are known."""


class _NoHeaderError(_DamageError):
    """Where a gzip member has to begin, something else stands."""


class _Input:
    """Packed bytes, one buffer at a time, with their place in the file."""

    def __init__(self, packed: PackedCount) -> None:
        self._packed = packed
        self._pool = Pool(_CARRY_BYTES + _READ_BYTES)
        self.view = memoryview(b"")
        self.address = self.at = self.base = 0
        """The view's address, how far it has been read, and where in the file it begins."""

    def refill(self) -> bool:
        """Read on into another buffer, what was left of this one in front; False when the file has ended."""
        left = self.view[self.at :]
        self.base += self.at
        view, address = self._pool.take()
        start = _CARRY_BYTES - len(left)
        view[start:_CARRY_BYTES] = left
        count = self._packed.readinto(view[_CARRY_BYTES:])
        self.view, self.address, self.at = view[start : _CARRY_BYTES + count], address + start, 0
        return count > 0

    def take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            if self.at == len(self.view) and not self.refill():
                raise EOFError
            piece = bytes(self.view[self.at : self.at + count - len(taken)])
            self.at += len(piece)
            taken += piece
        return taken

    def take_text(self) -> bytes:
        """Up to a NUL, which is part of it."""
        text = b""
        while not text.endswith(b"\0"):
            if self.at == len(self.view) and not self.refill():
                raise EOFError
            piece = bytes(self.view[self.at : self.at + 1024])
            text += piece[: piece.find(b"\0") + 1 or len(piece)]
            self.at += piece.find(b"\0") + 1 or len(piece)
            if len(text) > _FIELD_BYTES:
                raise _DamageError(f"a name in its header is longer than {_FIELD_BYTES} bytes")
        return text

    def skip_zeros(self) -> bool:
        """Go to the next byte that is none; False when there is no such byte."""
        while True:
            piece = bytes(self.view[self.at : self.at + 1024])
            self.at += len(piece) - len(piece.lstrip(b"\0"))
            if piece.strip(b"\0"):
                return True
            if self.at == len(self.view) and not self.refill():
                return False


class Gunzip:
    """The inflated bytes of a gzip file, as exact reads. `bytes_read` counts them.

    Raises ExtractionError for anything but one or more whole gzip members, with nothing but zeros behind each, and
    LimitExceededError beyond `max_unpacked_bytes` or `max_ratio`. Deflate is read as strictly as zlib reads it. Memory:
    0.8 MiB, and 0.5 MiB for each further buffer of which somebody keeps a view.
    """

    def __init__(self, packed: PackedCount, settings: Settings) -> None:
        self._packed = packed
        self._settings = settings
        self._input = _Input(packed)
        self._inflate = Inflate()
        self._window = memoryview(bytearray(WINDOW_BYTES + _ROOM_BYTES))
        self._address = address_of(self._window)
        self._start = self._end = WINDOW_BYTES  # of what is inflated and not yet read
        self._is_begun = self._is_inside = False
        self._crc = self._size = 0  # of the gzip member so far
        self._allowed_bytes = 0  # as many are within the limits, whatever else is read
        self.bytes_read = 0

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the file."""
        if size <= self._end - self._start:
            data = bytes(self._window[self._start : self._start + size])
            self._start += size
            self._count(size)
            return data
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: self.readinto_exactly(buffer)])

    def readinto_exactly(self, buffer: memoryview) -> int:
        """Fill `buffer`; the count is smaller than its length only at the end of the file."""
        filled, size = 0, len(buffer)
        while filled < size:
            if self._start == self._end and not self._inflate_ahead(size - filled):
                break
            count = min(size - filled, self._end - self._start)
            buffer[filled : filled + count] = self._window[self._start : self._start + count]
            self._start += count
            filled += count
        self._count(filled)
        return filled

    def inflate(self, most: int, before: Before, whole_bytes: int) -> tuple[memoryview, InflateStop]:
        """The next bytes, `most` of them or fewer, valid until the next call; and why there are no more.

        At NEED_INPUT, `packed` has given what it can, and `refill` comes next. At BLOCK the position is in
        front of a block as `before` says; a stored one of more than `whole_bytes` is never COPYABLE.
        """
        stop = InflateStop.OUT_FULL
        if self._start == self._end:
            if not self._is_inside and not self._begin_member():
                raise self._damaged(EOFError())
            stop = self._run(most, before, whole_bytes)
        data = self._window[self._start : min(self._end, self._start + most)]
        self._start += len(data)
        self._count(len(data))
        return data, stop

    def refill(self) -> None:
        """Go on to further input."""
        if not self._input.refill():
            raise self._damaged(EOFError())

    @property
    def position(self) -> tuple[int, int]:
        """The byte of the file, and the bit of it, that inflating has come to: in front of a whole symbol or block."""
        return self._input.base + self._input.at, self._inflate.call.bit

    @property
    def half_match(self) -> bytes:
        """The last bytes inflated, as many as come from the symbol behind the position, which gives more."""
        return bytes(self._window[self._end - self._inflate.call.match_made : self._end])

    @property
    def end_of_block(self) -> tuple[int, int]:
        """The code that ends the block at the position, first bit lowest, and its length; 0 between blocks."""
        return self._inflate.call.end_code, self._inflate.call.end_bits

    def packed(self, first: int, end: int) -> memoryview:
        """Bytes of the file that inflating has gone through since the last refill, or is in the midst of."""
        return self._input.view[first - self._input.base : end - self._input.base]

    def _inflate_ahead(self, wanted: int) -> bool:
        """Inflate a byte or more, up to AHEAD_BYTES beyond what is wanted; False at the checked end of the file."""
        while self._start == self._end:
            if not self._is_inside and not self._begin_member():
                return False
            if self._run(wanted + AHEAD_BYTES, Before.NONE, 0) == InflateStop.NEED_INPUT and self._start == self._end:
                self.refill()
        return True

    def _run(self, room: int, before: Before, whole_bytes: int) -> InflateStop:
        if len(self._window) - self._end < min(room, _ROOM_BYTES // 2):
            self._slide()
        call, source = self._inflate.call, self._input
        call.input, call.input_bytes = source.address + source.at, len(source.view) - source.at
        call.output, call.output_bytes = self._address + self._end, min(room, len(self._window) - self._end)
        call.history, call.stop, call.whole_bytes = min(self._size, WINDOW_BYTES), before, whole_bytes
        result = self._inflate.run()
        source.at += call.used
        made = self._window[self._end : self._end + call.made]
        self._end += len(made)
        self._size += len(made)
        self._crc = crc32(made, self._crc)
        if result < 0:
            raise self._damaged(_DamageError(DAMAGE[result]))
        if result == InflateStop.END:
            self._end_member()
        return InflateStop(result)

    def _slide(self) -> None:
        """Bring what matches can refer to in front of the window's room; everything inflated has been read."""
        kept = min(self._size, WINDOW_BYTES)
        self._window[WINDOW_BYTES - kept : WINDOW_BYTES] = self._window[self._end - kept : self._end]
        self._start = self._end = WINDOW_BYTES

    def _begin_member(self) -> bool:
        try:
            if self._is_begun and not self._input.skip_zeros():
                return False
            _check_header(self._input)
        except (EOFError, _DamageError) as error:
            raise self._damaged(error) from error
        self._is_begun = self._is_inside = True
        self._crc = self._size = 0
        return True

    def _end_member(self) -> None:
        call, source = self._inflate.call, self._input
        source.at += bool(call.bit)
        call.bit = 0
        try:
            found = source.take(8)
        except EOFError as error:
            raise self._damaged(error) from error
        if found != struct.pack("<II", self._crc, self._size & 0xFFFFFFFF):
            raise self._damaged(_DamageError("the checksum or length of what was inflated is wrong"))
        self._is_inside = False

    def _count(self, count: int) -> None:
        self.bytes_read += count
        if self.bytes_read <= self._allowed_bytes:
            return
        settings, packed_bytes = self._settings, self._packed.bytes_read
        within("MAX_UNPACKED_BYTES", settings.max_unpacked_bytes, self.bytes_read)
        check_ratio(settings, packed_bytes, self.bytes_read)
        by_ratio = max(settings.ratio_grace_bytes, settings.max_ratio * packed_bytes)
        self._allowed_bytes = min(settings.max_unpacked_bytes, by_ratio)

    def _damaged(self, error: Exception) -> ExtractionError:
        what = "ends too early" if isinstance(error, EOFError) else f"is damaged or not gzip ({error})"
        if isinstance(error, _NoHeaderError) and self._is_begun:
            what = "is followed by data that is neither zeros nor gzip (trailing garbage)"
        return ExtractionError(
            f"The archive {what}: {self._packed.bytes_read} packed bytes read, {self.bytes_read} inflated.",
            next_step="Copy or make the archive again; `gzip -t` shows whether a file is whole.",
            packed_bytes=self._packed.bytes_read,
            unpacked_bytes=self.bytes_read,
        )


def check_ratio(settings: Settings, packed_bytes: int, unpacked_bytes: int, what: str = "The archive") -> None:
    """LimitExceededError when so many bytes come out of so few."""
    if unpacked_bytes > settings.ratio_grace_bytes:  # a small archive may be all zeros
        within("MAX_COMPRESSION_RATIO", settings.max_ratio, -(-unpacked_bytes // max(1, packed_bytes)), what)


def _check_header(source: _Input) -> None:
    """Read the header of a gzip member (RFC 1952, section 2.3)."""
    header = b""
    for expected in b"\x1f\x8b\x08":  # one by one: of something else there may be too few bytes for a header
        header += source.take(1)
        if header[-1] != expected:
            raise _NoHeaderError("there is no gzip header")
    header += source.take(7)
    flags = header[3]
    if flags & _RESERVED:
        raise _NoHeaderError("there is no gzip header")
    if flags & _HAS_EXTRA:
        size = source.take(2)
        header += size + source.take(int.from_bytes(size, "little"))
    for field in (_HAS_NAME, _HAS_COMMENT):
        if flags & field:
            header += source.take_text()
    if flags & _HAS_CHECKSUM and source.take(2) != struct.pack("<H", crc32(header) & 0xFFFF):
        raise _DamageError("the checksum of a gzip header is wrong")
