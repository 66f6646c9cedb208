"""The way of a byte: files are read, packed or copied, and leave as the bytes of a ZIP, in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from io import BytesIO
from itertools import chain
from queue import Queue
from typing import Any, NamedTuple

from isal.isal_zlib import crc32

from packager.core.buffers import Pool
from packager.core.native import Packer
from packager.core.prefetch import prefetch
from packager.core.splice import PIECE_BYTES, End, Part
from packager.core.zip import DEFLATED, LARGE_BYTES, STORED, Begin, Packed, Whole, ZipEncoder
from packager.errors import CompressionError, printable

DEPTH = 2
"""Batches read but not yet packed, and packed but not yet written; more does not help two cores and costs memory."""
BATCH_BYTES = 1 << 20
_BATCH_FILES = 1 << 12
_OUTPUT_BYTES = 1 << 16

ReadInto = Callable[[memoryview], int]
"""Fills a buffer with a file's next bytes as far as they go and returns the count; 0 at its end."""


class File(NamedTuple):
    """A file on its way into a ZIP. Its content is read before the next file is asked for.

    Of a large one, `splice` gives the parts of its deflate stream and its checksum, where it has some of its own.
    Of one that has been packed before, `packed` gives the outcome.
    """

    name: str
    size_bytes: int
    readinto: ReadInto = lambda _: 0
    splice: Callable[[], Iterator[Part | End]] | None = None
    packed: Callable[[str], Iterator[Packed]] | None = None

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """A file that is in memory."""
        return cls(name, len(content), BytesIO(content).readinto)


class Batch(NamedTuple):
    """Small files whose contents lie one behind the other."""

    names: list[str]
    sizes: list[int]
    data: memoryview


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


def zip_parts(
    files: Iterable[File], encoder: ZipEncoder, lookahead: Lookahead | None = None
) -> Generator[Part, None, None]:
    """A ZIP of the files, in parts; errors of reading come out unchanged.

    Two threads work ahead of the caller: one reads and inflates, one packs. Memory: for each batch that waits or is
    worked on 1 MiB or, of large files, 0.5 MiB.
    """
    lookahead = lookahead or Lookahead()
    return prefetch(_zipped(packed_files(files, lookahead), encoder), lookahead.queue())


def packed_files(files: Iterable[File], lookahead: Lookahead) -> Generator[Packed, None, None]:
    """The files as a ZIP holds them. One thread works ahead."""
    packer = Packer()
    with closing(prefetch(in_batches(files), lookahead.queue())) as batches:
        for item in batches:
            if isinstance(item, Batch):
                yield from _each(packer, item)
            elif isinstance(item, Part) and item.to_pack:
                yield Part(packer.pack(item.data, last=item.last))
            else:
                yield item


def _zipped(items: Generator[Packed, None, None], encoder: ZipEncoder) -> Generator[Part, None, None]:
    small = bytearray()  # the many short parts of small files leave together
    with closing(items):
        for part in chain(map(encoder.add, items), encoder.finish()):
            if part.origin < 0 and len(small) + len(part.data) <= _OUTPUT_BYTES:
                small += part.data
                continue
            if small:
                yield Part(bytes(small))
                small.clear()
            yield part
    if small:
        yield Part(bytes(small))


def _each(packer: Packer, batch: Batch) -> Iterator[Whole]:
    at = 0
    for name, size, data in zip(batch.names, batch.sizes, packer.pack_each(batch.data, batch.sizes), strict=True):
        content = batch.data[at : at + size]
        at += size
        helps = len(data) < size
        yield Whole(name, size, crc32(content), DEFLATED if helps else STORED, data if helps else bytes(content))


def in_batches(files: Iterable[File]) -> Generator[Batch | Packed, None, None]:
    """Small files share a batch and a buffer; large ones come in parts; what has been packed before goes by."""
    pool = Pool(BATCH_BYTES)
    names: list[str] = []
    sizes: list[int] = []
    buffer, used = pool.take()[0], 0
    for file in files:
        size = file.size_bytes
        is_small = size < LARGE_BYTES and not file.packed
        if names and (not is_small or used + size > BATCH_BYTES or len(names) == _BATCH_FILES):
            yield Batch(names, sizes, buffer[:used])
            names, sizes, buffer, used = [], [], pool.take()[0], 0
        if is_small:
            _fill(file, buffer[used : used + size])
            names.append(file.name)
            sizes.append(size)
            used += size
        elif file.packed:
            yield from file.packed(file.name)
        else:
            yield Begin(file.name, size)
            yield from file.splice() if file.splice else _pieces(file)
    if names:
        yield Batch(names, sizes, buffer[:used])


def _pieces(file: File) -> Iterator[Part | End]:
    """A large file to pack, in pieces of PIECE_BYTES: the output depends on how the input is cut."""
    left, crc = file.size_bytes, 0
    while left:
        piece = memoryview(bytearray(min(PIECE_BYTES, left)))
        _fill(file, piece, file.size_bytes - left)
        crc = crc32(piece, crc)
        left -= len(piece)
        yield Part(piece, to_pack=True, last=not left)
    yield End(crc)


def _fill(file: File, buffer: memoryview, before: int = 0) -> None:
    """Read on until the buffer is full: short reads must not move anything."""
    filled = 0
    while filled < len(buffer):
        count = file.readinto(buffer[filled:])
        if not count:
            raise CompressionError(
                f"{printable(file.name)!r} gave {before + filled} bytes; {file.size_bytes} were announced.",
                next_step="Package again once the file no longer changes.",
                name=printable(file.name),
                announced_bytes=file.size_bytes,
                found_bytes=before + filled,
            )
        filled += count
