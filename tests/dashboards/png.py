"""PNG read by the standard library alone: small pictures, 8 bits a channel, not interlaced."""

import struct
import zlib


def pixels(data):
    """Rows of (red, green, blue); anything transparent stands on white."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    assert (depth, interlaced) == (8, 0)
    channels = {2: 3, 6: 4}[kind]
    packed, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        packed += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + length
    raw, stride, above, rows = zlib.decompress(packed), width * channels, bytes(width * channels), []
    for number in range(height):
        line = bytearray(raw[number * (stride + 1) + 1 : (number + 1) * (stride + 1)])
        _unfilter(raw[number * (stride + 1)], line, above, channels)
        rows.append([_on_white(line[x : x + channels]) for x in range(0, stride, channels)])
        above = line
    return rows


def _unfilter(kind, line, above, channels):
    for at in range(len(line)):
        left = line[at - channels] if at >= channels else 0
        corner = above[at - channels] if at >= channels else 0
        line[at] = (line[at] + _predicted(kind, left, above[at], corner)) & 255


def _predicted(kind, left, above, corner):
    if kind == 4:
        guess = left + above - corner
        return min((left, above, corner), key=lambda each: abs(guess - each))
    return (0, left, above, (left + above) // 2)[kind]


def _on_white(pixel):
    if len(pixel) == 3:
        return tuple(pixel)
    alpha = pixel[3] / 255
    return tuple(round(channel * alpha + 255 * (1 - alpha)) for channel in pixel[:3])


def blocks(rows, across, down):
    """The mean color of each of so many blocks: fonts and edges differ from machine to machine, these hardly."""
    height, width = len(rows), len(rows[0])
    found = []
    for y in range(down):
        for x in range(across):
            inside = [
                pixel
                for row in rows[y * height // down : (y + 1) * height // down]
                for pixel in row[x * width // across : (x + 1) * width // across]
            ]
            found.append(tuple(sum(pixel[n] for pixel in inside) / len(inside) for n in range(3)))
    return found
