"""How files are packed: every choice here is part of the output format, since the same files must give the same ZIP.

ISA-L's level 1 packs weights better than zlib's level 6 and many times faster, and alike on processors with SSE, AVX2
and AVX-512, which its level 3 does not. One thing stands in the way: at the very start of a stream it takes what lies
in a register by chance for the third position's hash (`.write_first_byte` in igzip_icf_body_h1_gr_bt.asm), and finds,
now and then, another copy. So the compressor never stands at the start: the first bytes of a file are stored as they
are, and it is given them as its dictionary, or what comes before, where it is begun anew.
"""

from __future__ import annotations

from struct import pack
from typing import Any

from isal import isal_zlib

BLOCK_BYTES = 1 << 20
"""Files are packed in blocks of this size, counted from their start: the output depends on how the input is cut."""

_LEVEL = 1
_MEMORY_LEVEL = 9  # the largest work area: a few per cent faster
_STORED_HEAD_BYTES = 8  # the shortest copy has four

_WIDE, _NARROW = 15, 9
"""Windows of 32 KiB and of 512 bytes."""
_TRIED_EVERY_BLOCKS = 32


class BlockPacker:
    """Packs the blocks of one file, in order, into one deflate stream.

    Numbers rarely repeat: looking for them in a narrow window is faster, and packs better, since a short copy from far
    away takes more room than what it stands for. Text wants a wide one. Both are tried on neighbouring blocks, and
    again from time to time; between that, the one that packed better is used.
    """

    def __init__(self) -> None:
        self._count = 0
        self._packed_bytes = {_WIDE: 0, _NARROW: 0}
        self._window = _WIDE
        self._deflate: Any = None

    def pack(self, block: bytes | memoryview, *, last: bool) -> list[bytes]:
        """The packed form of the next block, in chunks. All blocks but the last have BLOCK_BYTES."""
        packed = []
        if not self._deflate:
            head, block = bytes(block[:_STORED_HEAD_BYTES]), block[_STORED_HEAD_BYTES:]
            packed.append(_stored(head))
            self._open(self._window, head)
        packed.append(self._deflate.compress(block))
        # A sync flush ends a block on a byte, where another window can begin.
        packed.append(self._deflate.flush(isal_zlib.Z_FINISH if last else isal_zlib.Z_SYNC_FLUSH))
        self._count += 1
        self._packed_bytes[self._window] = sum(map(len, packed))
        window = self._next_window()
        if window != self._window and not last:
            self._open(window, block[-(1 << window) :])
        return packed

    def _open(self, window: int, before: bytes | memoryview) -> None:
        self._window = window
        # A negative size of the window leaves out zlib's header.
        self._deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -window, _MEMORY_LEVEL, zdict=before)

    def _next_window(self) -> int:
        trial = self._count % _TRIED_EVERY_BLOCKS
        if trial < len(self._packed_bytes):
            return (_WIDE, _NARROW)[trial]
        return min(self._packed_bytes, key=self._packed_bytes.__getitem__)


def _stored(data: bytes) -> bytes:
    """A block of deflate that holds `data` as it is: RFC 1951, section 3.2.4."""
    return pack("<BHH", 0, len(data), len(data) ^ 0xFFFF) + data
