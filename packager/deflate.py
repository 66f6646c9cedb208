"""How files are packed: every choice here is part of the output format, since the same files must give the same ZIP.

ISA-L's level 1 packs weights better than zlib's level 6 and many times faster, but its search begins in memory that
nobody cleared, up to the size of its input buffer (64 KiB and a look-ahead of 288 bytes). An input that fills the
buffer covers it all; a shorter one gives, now and then, other bytes for the same input. Level 3 does not.
"""

from __future__ import annotations

from isal import igzip_lib, isal_zlib

BLOCK_BYTES = 1 << 20
"""Files are packed in blocks of this size, counted from their start: the output depends on how the input is cut."""

_STEADY_FROM_BYTES = 1 << 17
_LEVEL, _LEVEL_OF_SHORT = 1, 3
_MEMORY_LEVEL = 9  # the largest work area: a few per cent faster

_WIDE, _NARROW = -15, -9
"""Windows of 32 KiB and of 512 bytes, as zlib counts them; the sign leaves out its header."""
_TRIED_EVERY_BLOCKS = 32


def packed_whole(data: bytes | memoryview) -> bytes:
    """One deflate stream of a file of at most BLOCK_BYTES."""
    packed: bytes = igzip_lib.compress(data, _level(data), igzip_lib.COMP_DEFLATE)
    return packed


class BlockPacker:
    """Packs the blocks of one file, in order, into one deflate stream.

    Numbers rarely repeat: looking for them in a narrow window is faster, and packs better, since a short copy from far
    away takes more room than what it stands for. Text wants a wide one. Both are tried on neighbouring blocks, and
    again from time to time; between that, the one that packed better is used.
    """

    def __init__(self) -> None:
        self._count = 0
        self._packed_bytes = {_WIDE: 0, _NARROW: 0}

    def pack(self, block: bytes | memoryview, *, last: bool) -> tuple[bytes, bytes]:
        """The packed form of the next block, in two chunks. All blocks but the last have BLOCK_BYTES."""
        window = self._window()
        deflate = isal_zlib.compressobj(_level(block), isal_zlib.DEFLATED, window, _MEMORY_LEVEL)
        begun: bytes = deflate.compress(block)
        # A sync flush ends a block on a byte, so that the blocks of a file join up.
        ended: bytes = deflate.flush(isal_zlib.Z_FINISH if last else isal_zlib.Z_SYNC_FLUSH)
        self._count += 1
        self._packed_bytes[window] = len(begun) + len(ended)
        return begun, ended

    def _window(self) -> int:
        trial = self._count % _TRIED_EVERY_BLOCKS
        if trial < len(self._packed_bytes):
            return (_WIDE, _NARROW)[trial]
        return min(self._packed_bytes, key=self._packed_bytes.__getitem__)


def _level(data: bytes | memoryview) -> int:
    return _LEVEL if len(data) >= _STEADY_FROM_BYTES else _LEVEL_OF_SHORT
