"""Artifacts read from S3: two ranges on their way, in order."""

from __future__ import annotations

import io
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from isal.isal_zlib import crc32 as crc32_of

from packager.core.ports import Identity
from packager.errors import CompressionError, ExtractionError, ManifestError, PackagerError, StoreError
from packager.stores.s3_calls import malformed
from packager.stores.s3_errors import BrokenTransferError
from packager.stores.s3_object import ObjectHead, ObjectName
from packager.stores.s3_patience import heard
from telemetry import carrying, catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

    from packager.core.ports import Reader
    from packager.stores.s3_calls import Calls

RANGE_BYTES = 6 << 20
"""Large enough that requests cost little beside their bytes: at 4 MiB the processor is busy half as long again as at 8.
Two of them are in memory."""

_AT_ONCE = 2
_PIECE_BYTES = 1 << 19
_CAN_COME_OF_DAMAGE = (ExtractionError, ManifestError, CompressionError)


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object, and as which version of itself it was first seen."""

    calls: Calls
    name: ObjectName
    etag: str
    size_bytes: int

    @property
    def uri(self) -> str:
        return self.name.uri

    def get(self, first: int, last: int) -> StreamingBody:
        """The body of a range, of that version only. One request."""
        answer = self.calls.client.get_object(
            **self.name.parameters(),
            Range=f"bytes={first}-{last}",
            IfMatch=self.etag,
            **self.calls.options.reading(),
        )
        body = answer["Body"]
        try:
            _check_range(self, first, last, answer.get("ContentRange", ""), answer.get("ETag", ""))
        except StoreError:
            body.close()
            raise
        return body


class S3Source:
    """One artifact in a bucket. Memory while it is read: two ranges."""

    def __init__(self, name: ObjectName, calls: Calls, *, range_bytes: int = RANGE_BYTES) -> None:
        self._name = name
        self._calls = calls
        self._range_bytes = range_bytes
        self._looking = threading.Lock()
        self._seen: tuple[S3Object, Identity] | None = None

    @classmethod
    def as_listed(cls, name: ObjectName, calls: Calls, etag: str, size_bytes: int) -> S3Source:
        """The object as a listing has it, which is not asked for again."""
        source = cls(name, calls)
        head = ObjectHead(etag, size_bytes, metadata={}, checksums={}, encryption="")
        source._seen = S3Object(calls, name, etag, size_bytes), _identity(head)
        return source

    @property
    def uri(self) -> str:
        return self._name.uri

    @property
    def bucket(self) -> str:
        return self._name.bucket

    @property
    def client(self) -> S3Client:
        return self._calls.client

    def seen(self) -> S3Object:
        """The object as it was when it was first looked at."""
        return self._look()[0]

    @property
    def identity_is_at_hand(self) -> bool:
        return True

    def size_bytes(self) -> int:
        return self._look()[0].size_bytes

    def identity(self) -> Identity:
        return self._look()[1]

    def read_range(self, first: int, length: int) -> bytes:
        seen, _ = self._look()
        last = min(first + length, seen.size_bytes) - 1
        if last < first:
            return b""

        def read() -> bytes:
            with seen.get(first, last) as body:
                content = bytes(body.read())
            if len(content) != last - first + 1:
                raise BrokenTransferError(f"{len(content)} bytes of {last - first + 1} came")
            return content

        return self._calls.make("GetObject", self.uri, read)

    @contextmanager
    def open(self) -> Iterator[Reader]:
        self._look()
        with (
            observe(
                catalog.READ_ARTIFACT,
                store="s3",
                source=self.uri,
                bucket=self._name.bucket,
                key=self._name.key,
                resumed=0,
                retries=0,
                throttles=0,
            ) as step,
            self.open_unobserved() as reader,
        ):
            try:
                yield reader
            finally:
                reader.close()
                step.add(bytes_read=reader.bytes_read, requests=reader.requests)

    @contextmanager
    def open_unobserved(self) -> Iterator[RangeReader]:
        """As open, within the step of whoever reads several objects as one artifact."""
        seen, _ = self._look()
        reader = RangeReader(seen, self._range_bytes)
        try:
            yield reader
        except _CAN_COME_OF_DAMAGE as error:
            reader.close()
            self._compare(seen, reader, error)
            raise
        finally:
            reader.close()

    def identity_unobserved(self) -> Identity:
        """As identity, which a listing has told."""
        return self._look()[1]

    def _compare(self, seen: S3Object, reader: RangeReader, error: PackagerError) -> None:
        """Read what was read once more: StoreError when it comes as other bytes, a note on the error when it does not.

        S3 keeps no checksum that a range could be held against, and a byte that flips on its way looks like damage.
        """
        again = RangeReader(seen, self._range_bytes)
        try:
            while again.bytes_read < reader.bytes_read and again.read(
                min(_PIECE_BYTES, reader.bytes_read - again.bytes_read)
            ):
                pass
        finally:
            again.close()
        if again.crc32s() == reader.crc32s():
            error.add_note(
                f"{self.uri} was read twice, up to byte {reader.bytes_read}, and came as the same bytes: what is wrong "
                "with it is wrong with the object, and did not happen on its way here."
            )
            return
        at = next(n for n, pair in enumerate(zip_longest(again.crc32s(), reader.crc32s())) if len(set(pair)) > 1)
        raise StoreError(
            f"{self.uri} came as other bytes when it was read again, in the {self._range_bytes} bytes from "
            f"{at * self._range_bytes} on: the archive may be whole, and was damaged on its way here. "
            f"{type(error).__name__}: {error.message}",
            next_step="Package again; when it happens again, look at the network and at proxies on the way.",
            operation="GetObject",
            uri=self.uri,
            code="BrokenTransferError",
        ) from error

    def _look(self) -> tuple[S3Object, Identity]:
        with self._looking:
            if self._seen is None:
                with observe(catalog.IDENTIFY_ARTIFACT, source=self.uri, bytes_hashed=0):
                    answer = self._calls.make(
                        "HeadObject",
                        self.uri,
                        lambda: self._calls.client.head_object(
                            **self._name.parameters(), ChecksumMode="ENABLED", **self._calls.options.reading()
                        ),
                    )
                    head = ObjectHead.of(answer, self.uri)
                    seen = S3Object(self._calls, self._name, head.etag, head.size_bytes)
                    self._seen = seen, _identity(head)
            return self._seen


def _identity(head: ObjectHead) -> Identity:
    marks = {"etag": head.etag.strip('"'), "size": str(head.size_bytes)}
    for name, value in head.checksums.items():
        marks["checksum"] = f"{name}:{value}"
        break
    return Identity(head.size_bytes, tuple(sorted(marks.items())))


class _Range:
    """One range on its way into a buffer: how much of it is there, or why the rest will not come."""

    def __init__(self, first: int, wanted: memoryview) -> None:
        self.first = first
        self.wanted = wanted
        self.filled = 0
        self.error: BaseException | None = None


class RangeReader(io.RawIOBase):
    """The bytes of an object in order; `close` stops and joins the threads that fetch them, wherever they are.

    Bytes are given out while their range is still coming, so two buffers keep two connections busy.
    """

    def __init__(self, seen: S3Object, range_bytes: int) -> None:
        self.bytes_read = 0
        self.requests = 0
        self._seen = seen
        self._starts = iter(range(0, seen.size_bytes, range_bytes))
        self._coming: deque[_Range] = deque()
        self._taken = 0
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._bodies: set[io.IOBase] = set()
        self._crc32s: list[int] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="range-read")
        self._carried = carrying(self._fetch)
        for _ in range(_AT_ONCE):
            self._request(None, min(range_bytes, seen.size_bytes))

    def crc32s(self) -> list[int]:
        """The CRC-32 of each range, as far as it was given out."""
        return self._crc32s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        wanted = memoryview(buffer).cast("B")
        given = self._next(len(wanted))
        wanted[: len(given)] = given
        return len(given)

    def read(self, size: int = -1, /) -> bytes:
        # RawIOBase would copy twice.
        return bytes(self._next(size)) if size >= 0 else self.readall()

    def close(self) -> None:
        if self.closed:
            return
        self._stop.set()
        with self._news:
            for body in self._bodies:
                # Wakes a thread that waits for bytes. Closing alone would leave it waiting until its time-out.
                with suppress(AttributeError, ValueError, RuntimeError, OSError):
                    body.shutdown()  # type: ignore[attr-defined]  # urllib3's response, behind botocore's
        self._pool.shutdown(wait=True, cancel_futures=True)
        super().close()

    def _next(self, most_bytes: int) -> memoryview:
        """The next bytes, `most_bytes` of them or fewer; valid until the next call, empty at the end."""
        if self._coming and self._taken == len(self._coming[0].wanted):
            self._request(self._coming.popleft().wanted, self._taken)
            self._taken = 0
        if not self._coming or not most_bytes:
            return memoryview(b"")
        now = self._coming[0]
        with self._news:
            self._news.wait_for(lambda: now.filled > self._taken or now.error is not None)
        if now.filled == self._taken and now.error is not None:
            raise now.error
        given = now.wanted[self._taken : min(now.filled, self._taken + most_bytes)]
        self._taken += len(given)
        self.bytes_read += len(given)
        before = self._crc32s.pop() if self._taken > len(given) else 0
        self._crc32s.append(crc32_of(given, before))
        return given

    def _request(self, buffer: memoryview | None, size_bytes: int) -> None:
        """Let the next range come into `buffer`, or into a new one of that size."""
        first = next(self._starts, None)
        if first is None:
            return
        buffer = memoryview(bytearray(size_bytes)) if buffer is None else buffer
        self._coming.append(_Range(first, buffer[: self._seen.size_bytes - first]))
        self._pool.submit(self._carried, self._coming[-1])

    def _fetch(self, coming: _Range) -> None:
        try:
            self._seen.calls.make(
                "GetObject",
                self._seen.uri,
                lambda: self._fill(coming),
                stop=self._stop,
                counted_as="resumed",
                leave_at_stop=True,
            )
        except BaseException as error:  # noqa: BLE001  raised where the range is waited for
            with self._news:
                coming.error = error
                self._news.notify()

    def _fill(self, coming: _Range) -> None:
        """Get what is still missing of a range in one request; what came before an error counts."""
        size = len(coming.wanted)
        with self._body(coming.first + coming.filled, coming.first + size - 1) as body:
            while coming.filled < size and not self._stop.is_set():
                data = body.read(min(_PIECE_BYTES, size - coming.filled))
                if not data:
                    raise BrokenTransferError(f"{size - coming.filled} bytes of a range did not come")
                heard()
                coming.wanted[coming.filled : coming.filled + len(data)] = data
                with self._news:
                    coming.filled += len(data)
                    self._news.notify()

    @contextmanager
    def _body(self, first: int, last: int) -> Iterator[io.IOBase]:
        """The open body of one range of the object as it was first seen, known to `close` while it is open."""
        with self._news:
            self.requests += 1
        body = self._seen.get(first, last)
        with body as raw:
            with self._news:
                self._bodies.add(raw)
            try:
                yield body
            finally:
                with self._news:
                    self._bodies.discard(raw)


def _check_range(seen: S3Object, first: int, last: int, given: str, etag: str) -> None:
    wanted = f"bytes {first}-{last}/{seen.size_bytes}"
    if given != wanted and not etag:
        raise malformed(f"it has no ETag, and is {given or 'no range'} in place of {wanted}", "GetObject", seen.uri)
    if given != wanted:
        raise StoreError(
            f"Asked for {wanted} of {seen.uri}, the store answered {given or 'without a range'!r}.",
            next_step="Read from a store that honours ranges, or copy the artifact to a file first.",
            operation="GetObject",
            uri=seen.uri,
            code="InvalidRange",
        )
