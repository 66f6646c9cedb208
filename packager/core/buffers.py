"""Buffers that are used again as soon as no view of them is left, since allocating them anew costs system time."""

from __future__ import annotations

import ctypes
import weakref


class Pool:
    """Buffers of one size. As many are alive as are in use at the same time, in whichever threads."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._free: list[bytearray] = []
        self._lent: dict[int, tuple[weakref.ref[object], bytearray]] = {}

    def take(self) -> tuple[memoryview, int]:
        """A buffer and its address. It comes back when the last view of it is gone, slices of slices among them."""
        buffer = self._free.pop() if self._free else bytearray(self._size_bytes)
        # A view keeps what it was made of alive, which nobody but views refers to.
        lent = (ctypes.c_char * self._size_bytes).from_buffer(buffer)
        address = ctypes.addressof(lent)
        self._lent[address] = weakref.ref(lent, lambda _: self._free.append(self._lent.pop(address)[1])), buffer
        return memoryview(lent).cast("B"), address
