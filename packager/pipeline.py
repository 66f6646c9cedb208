"""The way of a byte: files are read in pieces, packed, and leave as the bytes of a ZIP, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, cycle
from queue import Queue
from typing import Any

from packager.ahead import ahead
from packager.zipformat import BLOCK_BYTES, Packed, Piece, ZipEncoder, packed_form

DEPTH = 2
"""Batches read and not yet taken to be packed; more does not help two cores and costs memory."""
PACKING = 3
"""Batches being packed, or waiting for their turn, while one is written."""
_PACKERS = 2
_BUFFERS = DEPTH + PACKING + 2  # and one each being filled and written


class Lookahead:
    """How far each thread works ahead of the next: DEPTH, until memory is short."""

    def __init__(self) -> None:
        self._depth = DEPTH
        self._queues: list[Queue[Any]] = []

    def queue(self) -> Queue[Any]:
        """A queue between two threads, as long as the lookahead is deep."""
        queue: Queue[Any] = Queue(self._depth)
        self._queues.append(queue)
        return queue

    def count(self) -> int:
        """How many batches may wait in all queues together."""
        return sum(queue.maxsize for queue in self._queues)

    def shrink(self) -> None:
        """Let no more than one batch wait anywhere; slower, and smaller by several MiB."""
        self._depth = 1
        for queue in self._queues:
            queue.maxsize = 1  # read by every put


_OUTPUT_BYTES = 1 << 18

ReadInto = Callable[[memoryview], int]
"""Fills a buffer with a file's next bytes as far as they go and returns the count; 0 at its end."""
File = tuple[str, int, ReadInto]
"""Name in the ZIP, size in bytes, and how to read it. Read before the next one is asked for."""


def zip_bytes(
    files: Iterable[File], encoder: ZipEncoder, first: Iterable[Piece] = (), lookahead: Lookahead | None = None
) -> Generator[bytes, None, None]:
    """A ZIP of `first` and then `files`, in chunks; errors of reading come out unchanged.

    Three threads work ahead of the caller: one reads `files`, two pack. Memory: seven blocks of 1 MiB being read and
    packed, and the packed form of four.
    """
    lookahead = lookahead or Lookahead()
    small = bytearray()  # the many short chunks of small files leave together
    with closing(_packed(files, first, lookahead)) as pieces:
        for piece, packed in pieces:
            for chunk in encoder.add(piece, packed):
                if len(chunk) < _OUTPUT_BYTES:
                    small += chunk
                    continue
                if small:
                    yield bytes(small)
                    small.clear()
                yield chunk
            if len(small) >= _OUTPUT_BYTES:
                yield bytes(small)
                small.clear()
    yield bytes(small)
    yield from encoder.finish()


def _packed(
    files: Iterable[File], first: Iterable[Piece], lookahead: Lookahead
) -> Generator[tuple[Piece, Packed], None, None]:
    """Every piece with its compressed form, in order; PACKING batches are being compressed while one is taken."""
    with (
        closing(ahead(in_batches(files), lookahead.queue())) as batches,
        ThreadPoolExecutor(_PACKERS, thread_name_prefix="deflate") as pool,
    ):
        pending: deque[Future[list[tuple[Piece, Packed]]]] = deque()
        for batch in chain([list(first)], batches):
            pending.append(pool.submit(_pack_all, batch))
            if len(pending) > PACKING:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _pack_all(batch: list[Piece]) -> list[tuple[Piece, Packed]]:
    return [(piece, packed_form(piece)) for piece in batch]


def in_batches(files: Iterable[File]) -> Generator[list[Piece], None, None]:
    """Many small files share a batch and a buffer; each block of a large file has one alone."""
    buffers = cycle([memoryview(bytearray(BLOCK_BYTES)) for _ in range(_BUFFERS)])
    buffer, used = next(buffers), 0
    small: list[Piece] = []
    for name, size, readinto in files:
        if small and used + size > BLOCK_BYTES:
            yield small
            small, buffer, used = [], next(buffers), 0
        if size <= BLOCK_BYTES:
            data = _filled(readinto, buffer[used : used + size])
            small.append(Piece(name, size, data, last=True))
            used += size
        else:
            done, data = 0, buffer
            while data and done < size:
                data = _filled(readinto, buffer)
                done += len(data)
                # A file that has become shorter ends here too, for the encoder to refuse.
                yield [Piece(name, size, data, last=not data or done >= size)]
                buffer = next(buffers)
    if small:
        yield small


def _filled(readinto: ReadInto, buffer: memoryview) -> memoryview:
    """The front of `buffer` that could be filled: all of it, unless the file ends. Short reads must not move blocks."""
    used = 0
    while used < len(buffer) and (count := readinto(buffer[used:])):
        used += count
    return buffer[:used]
