"""The compiled half of the core: strict inflate that knows where blocks begin, and deflate that is the same everywhere.

1 GiB of weights has 65,000 blocks, so each may cost little. The wheels of `isal` and zlib-ng and the system's zlib can
be driven to block boundaries through ctypes; two calls and a strict look at each header were estimated, not measured,
at 8 to 10 µs a block, a fourth of the time that inflating it takes. ISA-L also accepts codes that zlib refuses. No
encoder on PyPI gives the same bytes in every version, or cuts files of a few KiB into blocks (libdeflate: 7 % more).
Hence 30 KB of C without dependencies: `native/` has the source, `make native` builds it for Linux (glibc and musl) and
macOS on both processors, and the results stand beside this module, so that nobody who installs needs a compiler. They
depend on no version of Python. There is no slower way in Python: for gigabytes it would be none.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from packager.errors import PackagerError

WINDOW_BYTES = 1 << 15
"""How far back deflate can refer."""


class InflateStop(IntEnum):
    """Why `Inflate.run` returned."""

    OUT_FULL = 0
    NEED_INPUT = 1
    BLOCK = 2
    END = 3


class Before(IntEnum):
    """In front of which blocks `Inflate.run` stops."""

    NONE = 0
    COPYABLE = 1
    OTHERS = 2


DAMAGE = {
    -1: "a block of unknown type",
    -2: "a stored block with two sizes",
    -3: "a block with too many symbols",
    -4: "an incomplete or over-subscribed code for code lengths",
    -5: "a repeated code length with nothing to repeat, or too often",
    -6: "a block without an end",
    -7: "an incomplete or over-subscribed code for literals",
    -8: "an incomplete or over-subscribed code for distances",
    -9: "a code without a meaning",
    -10: "a distance too far back",
}
"""What the results of `Inflate.run` below 0 mean; the same order as in native/inflate.c."""


class _InflateCall(ctypes.Structure):
    """`struct call` of native/inflate.c."""

    _fields_ = (
        ("input", ctypes.c_void_p),
        ("input_bytes", ctypes.c_uint64),
        ("output", ctypes.c_void_p),
        ("output_bytes", ctypes.c_uint64),
        ("whole_bytes", ctypes.c_uint64),
        ("history", ctypes.c_uint32),
        ("stop", ctypes.c_uint32),
        ("used", ctypes.c_uint64),
        ("made", ctypes.c_uint64),
        ("bit", ctypes.c_uint32),
        ("match_made", ctypes.c_uint32),
        ("end_code", ctypes.c_uint32),
        ("end_bits", ctypes.c_uint32),
    )


def address_of(buffer: bytearray | memoryview) -> int:
    """Where a writable buffer lies; valid while it is alive, and not resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Inflate:
    """One deflate stream. `call` holds arguments and results of `run`, as native/inflate.c explains them."""

    def __init__(self) -> None:
        self._run = _library().inflate_run
        self._state = ctypes.create_string_buffer(_library().inflate_state_bytes())
        self._at = ctypes.addressof(self._state)
        self.call = _InflateCall.from_buffer(self._state)

    def run(self) -> int:
        """A InflateStop, or a key of DAMAGE."""
        result: int = self._run(self._at)
        return result


class Packer:
    """Deflate for whole buffers, as it is part of the format of components. One thread at a time."""

    def __init__(self) -> None:
        self._library = _library()
        self._state = ctypes.create_string_buffer(self._library.packer_bytes())
        self._at = ctypes.addressof(self._state)
        self._library.packer_begin(self._at)
        self._room = bytearray()

    def pack(self, data: bytes | bytearray | memoryview, *, last: bool) -> bytes:
        """`data` deflated: a stream, or what others can follow on the next byte, if it is not the last of one."""
        return self.pack_each(data, [len(data)], last=last)[0]

    def pack_each(self, data: bytes | bytearray | memoryview, sizes: list[int], *, last: bool = True) -> list[bytes]:
        """What `pack` gives for each of the pieces, of these sizes, that `data` consists of."""
        needed = self._library.packed_bound(len(data)) + 64 * len(sizes)
        if len(self._room) < needed:
            self._room = bytearray(needed)
        packed = (ctypes.c_uint32 * len(sizes))(*sizes)
        given = data if isinstance(data, bytes) else address_of(data) if data else b""
        self._library.pack_each(self._at, given, packed, len(sizes), address_of(self._room), last)
        made, start = [], 0
        for size in packed:
            made.append(bytes(memoryview(self._room)[start : start + size]))
            start += size
        return made


_PLATFORM = f"{sys.platform}-{platform.machine()}".lower()


@cache
def _library() -> Any:  # noqa: ANN401  ctypes makes its functions up
    path = Path(__file__).with_name(f"native-{_PLATFORM}.so")
    try:
        library: Any = ctypes.CDLL(str(path))
    except OSError as error:
        raise PackagerError(
            f"The packager has no compiled code that runs on this machine ({_PLATFORM}): {error}.",
            next_step="Use Linux or macOS on x86_64 or arm64, or run `CC=cc native/build.py` in the source tree.",
            platform=_PLATFORM,
        ) from error
    for name in ("inflate_state_bytes", "packer_bytes", "packed_bound"):
        getattr(library, name).restype = ctypes.c_uint64
    library.packed_bound.argtypes = [ctypes.c_uint64]
    library.inflate_run.argtypes = [ctypes.c_void_p]
    library.packer_begin.argtypes = [ctypes.c_void_p]
    library.pack_each.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int]
    return library
