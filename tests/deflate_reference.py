"""Splicing the plain way, to compare with the packager's: symbol by symbol, in memory, with bits as integers."""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache

from packager.core.native import Packer

LENGTHS = [*range(3, 11), *range(11, 19, 2), *range(19, 35, 4), *range(35, 67, 8), *range(67, 131, 16)]
LENGTHS += [*range(131, 258, 32), 258]
LENGTH_BITS = [0] * 8 + [bits for bits in range(1, 6) for _ in range(4)] + [0]
DISTANCE_BITS = [0, 0, *[bits for bits in range(14) for _ in range(2)]]
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

FRONT_BYTES, PIECE_BYTES = 1 << 15, 1 << 18


@dataclass(frozen=True)
class Block:
    """Where a block begins: bytes of output before it, bit of the file; its kind, and the size of a stored one."""

    out: int
    bit: int
    is_last: bool
    kind: int
    size: int = 0
    end_code: tuple[int, int] = (0, 0)


@dataclass
class Walk:
    """Every place between two symbols, in order: bytes of output before it, bit of the file, block around it."""

    blocks: list[Block] = field(default_factory=list)
    outs: list[int] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)
    """Index of the block, or -1 in front of one."""

    def note(self, out: int, bit: int, inside: int) -> None:
        self.outs.append(out)
        self.bits.append(bit)
        self.inside.append(inside)


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.bit = data + bytes(16), at * 8

    def peek(self, count: int) -> int:
        start = self.bit >> 3
        return int.from_bytes(self.data[start : start + 8], "little") >> (self.bit & 7) & ((1 << count) - 1)

    def take(self, count: int) -> int:
        value = self.peek(count)
        self.bit += count
        return value

    def symbol(self, table: list[tuple[int, int]]) -> int:
        symbol, count = table[self.peek(15)]
        self.bit += count
        return symbol


def _codes(lengths: list[int]) -> dict[int, tuple[int, int]]:
    """Code with its first bit lowest, and length, by symbol."""
    code, codes = 0, {}
    for length in range(1, 16):
        code <<= 1
        for symbol, each in enumerate(lengths):
            if each == length:
                codes[symbol] = int(f"{code:0{length}b}"[::-1], 2), length
                code += 1
    return codes


def _table(lengths: list[int]) -> list[tuple[int, int]]:
    table = [(-1, 0)] * (1 << 15)
    for symbol, (code, length) in _codes(lengths).items():
        for high in range(0, 1 << 15, 1 << length):
            table[high | code] = symbol, length
    return table


FIXED = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8


def _dynamic(reader: _Reader) -> tuple[list[int], list[int]]:
    literals, distances, given = reader.take(5) + 257, reader.take(5) + 1, reader.take(4) + 4
    short = [0] * 19
    for symbol in ORDER[:given]:
        short[symbol] = reader.take(3)
    table, lengths = _table(short), []
    while len(lengths) < literals + distances:
        symbol = reader.symbol(table)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            lengths += lengths[-1:] * (3 + reader.take(2))
        else:
            lengths += [0] * (3 + reader.take(3) if symbol == 17 else 11 + reader.take(7))
    return lengths[:literals], lengths[literals:]


@lru_cache(maxsize=4)
def walk(packed: bytes) -> Walk:
    """Every place in a sound gzip file of any number of members, without optional fields in their headers."""
    found, at, out = Walk(), 0, 0
    while packed[at:].strip(b"\0"):
        at += len(packed[at:]) - len(packed[at:].lstrip(b"\0"))
        reader = _Reader(packed, at + 10)
        is_last = False
        while not is_last:
            out, is_last = _block(reader, found, out)
        at = (reader.bit + 7) // 8 + 8
    found.note(out, at * 8, -1)
    return found


def _block(reader: _Reader, found: Walk, out: int) -> tuple[int, bool]:
    start = reader.bit
    found.note(out, start, -1)
    is_last, kind = bool(reader.take(1)), reader.take(2)
    if kind == 0:
        reader.bit += -reader.bit % 8
        size = reader.take(16)
        reader.bit += 16 + 8 * size
        found.blocks.append(Block(out, start, is_last, kind, size))
        return out + size, is_last
    literals, distances = (FIXED, [5] * 30) if kind == 1 else _dynamic(reader)
    found.blocks.append(Block(out, start, is_last, kind, 0, _codes(literals)[256]))
    table, far = _table(literals), _table(distances)
    while True:
        found.note(out, reader.bit, len(found.blocks) - 1)
        symbol = reader.symbol(table)
        if symbol == 256:
            return out, is_last
        if symbol < 256:
            out += 1
            continue
        out += LENGTHS[symbol - 257] + reader.take(LENGTH_BITS[symbol - 257])
        reader.take(DISTANCE_BITS[reader.symbol(far)])


@dataclass
class Bits:
    value: int = 0
    count: int = 0

    def put(self, value: int, count: int) -> None:
        self.value |= value << self.count
        self.count += count

    def put_bytes(self, data: bytes) -> None:
        assert self.count % 8 == 0
        self.put(int.from_bytes(data, "little"), 8 * len(data))

    def stored(self, data: bytes) -> None:
        self.put(0, 3)
        self.put(0, -self.count % 8)
        self.put_bytes(struct.pack("<HH", len(data), 0xFFFF ^ len(data)) + data)


EMPTY_FIXED = (0b010, 10)
EMPTY_DYNAMIC = Bits()
for _value, _count in [(0, 1), (2, 2), (0, 5), (1, 5), (15, 4), *[(int(symbol in (18, 1)), 3) for symbol in ORDER]]:
    EMPTY_DYNAMIC.put(_value, _count)
for _value, _count in [(0, 1), (0b1, 1), (138 - 11, 7), (0b1, 1), (117 - 11, 7), (0, 1), (0, 1), (0, 1), (1, 1)]:
    EMPTY_DYNAMIC.put(_value, _count)


def spliced(packed: bytes, content: bytes, start: int) -> bytes:
    """The deflate stream of a large file, `content`, that begins `start` bytes into what `packed` inflates to."""
    found, end, bits, packer = walk(packed), start + len(content), Bits(), Packer()
    at, read = start, 0

    def can_be_copied(block: Block) -> bool:
        return not block.is_last and block.out + block.size <= end

    while at < end:
        ahead = (b for b in found.blocks if b.bit > read and start + FRONT_BYTES <= b.out < end)
        first = next(filter(can_be_copied, ahead), None)
        until = first.out if first else end
        for piece in range(at, until, PIECE_BYTES):
            stop = min(until, piece + PIECE_BYTES)
            bits.put_bytes(packer.pack(content[piece - start : stop - start], last=stop == end))
        at = until
        if not first:
            break
        if first.bit % 2:
            bits.put(EMPTY_DYNAMIC.value, EMPTY_DYNAMIC.count)
        while (bits.count - first.bit) % 8:
            bits.put(*EMPTY_FIXED)
        others = (b for b in found.blocks if b.bit > first.bit and b.out < end and not can_be_copied(b))
        if stop_at := next(others, None):
            bits.put(_slice(packed, first.bit, stop_at.bit), stop_at.bit - first.bit)
            bits.stored(b"")
            at, read = stop_at.out, stop_at.bit
            continue
        place = bisect_left(found.outs, end)
        place -= found.outs[place] > end
        bits.put(_slice(packed, first.bit, found.bits[place]), found.bits[place] - first.bit)
        if found.inside[place] >= 0:
            bits.put(*found.blocks[found.inside[place]].end_code)
        if found.outs[place] < end:
            bits.stored(content[found.outs[place] - start :])
        bits.put(0b011, 10)
        at = end
    return bits.value.to_bytes((bits.count + 7) // 8, "little")


def _slice(packed: bytes, first: int, end: int) -> int:
    value = int.from_bytes(packed[first >> 3 : (end + 7) >> 3], "little") >> (first & 7)
    return value & ((1 << (end - first)) - 1)
