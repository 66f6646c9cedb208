"""The way of a byte: files are read in pieces, packed, and leave as the bytes of a ZIP, in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import chain, cycle
from queue import Queue
from typing import Any

from packager.core.deflate import BLOCK_BYTES
from packager.core.prefetch import prefetch
from packager.core.zip import Piece, ZipEncoder

DEPTH = 2
"""Batches read but not yet packed, and packed but not yet written; more does not help two cores and costs memory."""
_BUFFERS = DEPTH + 2  # and one each being filled and packed


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


_OUTPUT_BYTES = 1 << 16

ReadInto = Callable[[memoryview], int]
"""Fills a buffer with a file's next bytes as far as they go and returns the count; 0 at its end."""
File = tuple[str, int, ReadInto]
"""Name in the ZIP, size in bytes, and how to read it. Read before the next one is asked for."""


def zip_bytes(
    files: Iterable[File], encoder: ZipEncoder, first: Iterable[Piece] = (), lookahead: Lookahead | None = None
) -> Generator[bytes, None, None]:
    """A ZIP of `first` and then `files`, in chunks; errors of reading come out unchanged.

    Two threads work ahead of the caller: one reads `files`, one packs. Memory: four blocks of 1 MiB being read, and
    the packed form of three.
    """
    lookahead = lookahead or Lookahead()
    return prefetch(_packed(files, encoder, first, lookahead), lookahead.queue())


def _packed(
    files: Iterable[File], encoder: ZipEncoder, first: Iterable[Piece], lookahead: Lookahead
) -> Generator[bytes, None, None]:
    small = bytearray()  # the many short chunks of small files leave together
    with closing(prefetch(in_batches(files), lookahead.queue())) as batches:
        for piece in chain(first, chain.from_iterable(batches)):
            for chunk in encoder.add(piece):
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
