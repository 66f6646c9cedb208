"""A large file's content as a deflate stream that is, for the most part, copied from the artifact as it stands.

What one deflate block refers to lies at most 32 KiB back. So a block that begins 32 KiB or more behind the front of a
file can follow the same bytes anywhere, whatever packed those. Copying starts with such a block. It goes on to the end
of the file, through that block's last symbol which lies wholly in it, or to the last block of a gzip member, which
ends a stream, or a stored block that goes beyond the file. All else is packed anew, in pieces of PIECE_BYTES.

Blocks begin on any bit: empty blocks in front of them lead to the same bit of a byte, so that copying is copying bytes.
What is copied is a function of the artifact alone, not of how it is read; all of this is part of the output format.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, NamedTuple

from isal.isal_zlib import crc32

from packager.core.native import WINDOW_BYTES, Before, InflateStop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.core.gunzip import Gunzip

PIECE_BYTES = 1 << 18


class Part(NamedTuple):
    """The next bytes of a deflate stream, or of content that has to be packed first (`to_pack`).

    `origin` is where in the artifact the very same bytes lie, or -1. A part to pack that is not the `last` one gives
    whole bytes, which others follow.
    """

    data: bytes | bytearray | memoryview
    to_pack: bool = False
    last: bool = False
    origin: int = -1


class End(NamedTuple):
    """The end of a file's parts."""

    crc32: int


def splice(stream: Gunzip, size_bytes: int) -> Iterator[Part | End]:
    """The parts of a file whose content `stream` gives next. A view in them stays valid for as long as it is kept."""
    splicer = _Splicer(stream, size_bytes)
    yield from splicer.parts()
    yield End(splicer.crc32)


class _Bits:
    """Bits in the order of deflate, from the lowest of each byte on."""

    def __init__(self, value: int = 0, count: int = 0) -> None:
        self.value, self.count = value, count

    def put(self, value: int, count: int) -> None:
        self.value |= value << self.count
        self.count += count

    def store(self, data: bytes) -> None:
        """A stored block: ends on a byte."""
        self.count += -(self.count + 3) % 8 + 3
        self.put(int.from_bytes(pack("<HH", len(data), len(data) ^ 0xFFFF) + data, "little"), 32 + 8 * len(data))

    def to_bytes(self) -> bytes:
        return self.value.to_bytes((self.count + 7) // 8, "little")


def _empty_dynamic_block() -> _Bits:
    """95 bits: a literal and the end of block with a bit each, two distances with a bit each, and the end."""
    bits = _Bits()
    for value, count in ((0b100, 3), (0, 5), (1, 5), (15, 4)):
        bits.put(value, count)
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15):
        bits.put(int(symbol in (1, 18)), 3)
    # The lengths 1, 138 and 117 zeros, 1, 1, 1; 18 has the code 1, and seven bits that say how many beyond 11.
    for value, count in ((0, 1), (1, 1), (127, 7), (1, 1), (106, 7), (0, 1), (0, 1), (0, 1)):
        bits.put(value, count)
    bits.put(1, 1)
    return bits


def _leading_to(bit: int) -> _Bits:
    """Empty blocks that end on this bit of a byte, having begun on one: of 95 bits, and of 10, with fixed codes."""
    bits = _empty_dynamic_block() if bit % 2 else _Bits()
    while bits.count % 8 != bit:
        bits.put(0b010, 10)
    return bits


_LEADING = [_leading_to(bit) for bit in range(8)]
_LAST_BLOCK = 0b011, 10  # empty, with fixed codes


class _Splicer:
    def __init__(self, stream: Gunzip, size_bytes: int) -> None:
        self._stream = stream
        self._left = size_bytes
        self._pending = bytearray()
        self.crc32 = 0

    def parts(self) -> Iterator[Part]:
        yield from self._pack(Before.NONE, max(0, self._left - WINDOW_BYTES))
        while self._left:
            yield from self._pack(Before.COPYABLE, 0)
            if self._pending:
                yield self._packed(last=not self._left)
            if self._left:
                yield from self._copy()

    def _pack(self, before: Before, left: int) -> Iterator[Part]:
        """Take what is to be packed, until so much of the file is left or such a block begins."""
        while self._left > left:
            data, stop = self._take(self._left - left, before)
            while len(self._pending) + len(data) > PIECE_BYTES:
                room = PIECE_BYTES - len(self._pending)
                self._pending += data[:room]
                data = data[room:]
                yield self._packed(last=False)
            self._pending += data
            if stop == InflateStop.BLOCK:
                return
            if stop == InflateStop.NEED_INPUT:
                self._stream.refill()

    def _packed(self, *, last: bool) -> Part:
        part, self._pending = Part(self._pending, to_pack=True, last=last), bytearray()
        return part

    def _take(self, most: int, before: Before) -> tuple[memoryview, InflateStop]:
        data, stop = self._stream.inflate(most, before, self._left)
        self._left -= len(data)
        self.crc32 = crc32(data, self.crc32)
        return data, stop

    def _copy(self) -> Iterator[Part]:
        stream = self._stream
        done, bit = stream.position
        leading = _LEADING[bit]
        yield Part(leading.to_bytes()[: leading.count // 8])
        first = leading.value >> (leading.count - bit)  # the bits of the first byte that are not copied
        while True:
            stop = self._take(self._left, Before.OTHERS)[1]
            end, end_bit = stream.position
            if end > done and bit:  # the byte that is not all copied
                yield Part(bytes([first | stream.packed(done, done + 1)[0] >> bit << bit]))
                done, first, bit = done + 1, 0, 0
            if end > done:
                yield Part(stream.packed(done, end), origin=done)
                done = end
            if stop == InflateStop.BLOCK or not self._left:
                break
            if stop == InflateStop.NEED_INPUT:
                stream.refill()
        half = stream.packed(end, end + 1)[0] & ((1 << end_bit) - 1) if end_bit else 0
        yield self._end_of_copy(_Bits(first | half >> bit << bit, end_bit))

    def _end_of_copy(self, bits: _Bits) -> Part:
        """What ends the block at hand, brings the bytes of a symbol that goes beyond the file, and ends on a byte."""
        bits.put(*self._stream.end_of_block)
        if self._left:
            bits.store(b"")
            return Part(bits.to_bytes())
        if half := self._stream.half_match:  # more than the last call has given, perhaps
            bits.store(half)
        bits.put(*_LAST_BLOCK)
        return Part(bits.to_bytes(), last=True)
