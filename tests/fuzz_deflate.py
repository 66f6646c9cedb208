"""Damaged and made-up deflate streams, read by the packager's inflate and by zlib: both must say the same.

A few thousand for the default run; `make fuzz-deflate` draws a million in C, under sanitizers.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from typing import TYPE_CHECKING

from packager.core import native

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 1 << 16
"""Output of a stream after which it is left: mutants can be bombs."""

Verdict = tuple[str, bytes, int]
"""`whole`, `cut` or `damaged`; the output; how many bytes of the input the stream has."""


def by_zlib(stream: bytes) -> Verdict:
    inflate = zlib.decompressobj(-15)
    try:
        found = inflate.decompress(stream, MOST_BYTES)
    except zlib.error:
        return "damaged", b"", 0
    if not inflate.eof:
        return "cut", found, 0
    return "whole", found, len(stream) - len(inflate.unused_data)


def by_us(stream: bytes, pieces: Iterator[int] | None = None) -> Verdict:
    """The same from the packager's inflate, with input and output cut into `pieces`, in turn; whole without them."""
    room = bytearray(native.WINDOW_BYTES + MOST_BYTES)
    data = bytearray(stream) or bytearray(1)
    inflate, start, made = native.Inflate(), 0, 0
    call = inflate.call
    given = 0
    while True:
        given = min(len(stream), max(given, start) + (next(pieces) if pieces else len(stream)))
        call.input, call.input_bytes = native.address_of(data) + start, given - start
        call.output = native.address_of(room) + native.WINDOW_BYTES + made
        call.output_bytes = min(MOST_BYTES - made, next(pieces) if pieces else MOST_BYTES)
        call.history = min(made, native.WINDOW_BYTES)
        result = inflate.run()
        start, made = start + call.used, made + call.made
        if result < 0:
            assert result in native.DAMAGE
            return "damaged", b"", 0
        found = bytes(room[native.WINDOW_BYTES : native.WINDOW_BYTES + made])
        if result == native.InflateStop.END:
            return "whole", found, start + bool(call.bit)
        if made == MOST_BYTES or (result == native.InflateStop.NEED_INPUT and given == len(stream)):
            return "cut", found, 0


def bases(draw: random.Random) -> list[bytes]:
    """Sound streams of every kind of block."""
    text = b" ".join(draw.choice([b"alpha", b"beta", b"weights"]) + b"%d" % draw.randrange(999) for _ in range(600))
    contents = [text, bytes(3000), draw.randbytes(900), bytes(draw.choices(range(7), k=3000))]
    streams = []
    for content in contents:
        for level in (0, 1, 6, 9):
            for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED, zlib.Z_RLE):
                packer = zlib.compressobj(level, zlib.DEFLATED, -15, draw.choice([1, 8]), strategy)
                half = draw.randrange(1, len(content))
                flush = draw.choice([zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH])
                first = packer.compress(content[:half]) + packer.flush(flush)
                streams.append(first + packer.compress(content[half:]) + packer.flush())
        streams.append(native.Packer().pack(content, last=True))
    return streams


def mutant(draw: random.Random, streams: list[bytes]) -> bytes:
    """A sound stream with one to three bits changed, most of them near its front, where the codes stand."""
    changed = bytearray(draw.choice(streams))
    for _ in range(draw.randrange(1, 4)):
        most = len(changed) if draw.random() < 0.2 else min(len(changed), 90)
        bit = draw.randrange(most * 8)
        changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def made_up(draw: random.Random) -> bytes:
    """A dynamic block whose codes were drawn: complete, incomplete or over-subscribed, and noise behind it."""
    literals, distances = draw.choice([(257, 1), (257, 2), (260, 30), (286, 30), (288, 30), (270, 32)])
    lengths = [draw.choice([0, 0, 0, draw.randrange(1, 16)]) for _ in range(literals + distances)]
    lengths[256] = draw.randrange(16)
    for start, count in ((0, literals), (literals, distances)):
        if draw.random() < 0.7:  # give one of the two the lengths of a complete code, or nearly
            fitting = _complete(draw, draw.randrange(1, min(count, 20) + 1))
            places = draw.sample(range(start, start + count), len(fitting))
            lengths[start : start + count] = [0] * count
            for place, length in zip(places, fitting, strict=True):
                lengths[place] = length
            if start == 0 and draw.random() < 0.9 and not lengths[256]:
                lengths[places[0]], lengths[256] = 0, lengths[places[0]]
    if draw.random() < 0.1:
        lengths[draw.randrange(len(lengths))] = draw.randrange(16)
    bits = [1, 0, 1, *_low(literals - 257, 5), *_low(distances - 1, 5), *_low(15, 4)]
    bits += _low(0, 3) * 3 + _low(4, 3) * 16  # sixteen lengths of codes with four bits each: a complete code
    for length in lengths:
        bits += reversed(_low(length, 4))
    bits += [draw.randrange(2) for _ in range(draw.choice([0, 40, 400]))]
    bits += [0] * (-len(bits) % 8)
    return bytes(sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8))


def _complete(draw: random.Random, count: int) -> list[int]:
    lengths = [0]
    while len(lengths) < count:
        shortest = [each for each in lengths if each < 15]
        split = draw.choice(shortest)
        lengths.remove(split)
        lengths += [split + 1] * 2
    return [max(1, each) for each in lengths]


def _low(value: int, count: int) -> list[int]:
    return [value >> place & 1 for place in range(count)]


def fuzz(seed: int, count: int) -> Counter[str]:
    """Verdicts by kind; AssertionError with the stream at the first difference."""
    draw = random.Random(seed)
    streams, verdicts = bases(draw), Counter[str]()
    for number in range(count):
        stream = made_up(draw) if number % 4 == 3 else mutant(draw, streams)
        cuts = iter(lambda: draw.choice([1, 2, 30, 700, 5000]), None) if number % 8 < 2 else None
        expected, found = by_zlib(stream), by_us(stream, cuts)
        if expected[0] == "damaged" and found[0] == "cut" and len(found[1]) < MOST_BYTES:
            # zlib looks at the first bits of a header that is cut off; what follows decides nothing.
            found = by_us(stream + bytes(600))
        assert found[0] == expected[0] or (found[0], expected[0]) == ("damaged", "cut"), (stream.hex(), expected, found)
        if found[0] == expected[0] != "damaged":
            assert found[0] == "cut" or found == expected, (stream.hex(), expected, found)
        verdicts[expected[0]] += 1
    return verdicts
