"""Artifacts read from S3: two ranges on their way, in order."""

from __future__ import annotations

import io
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packager.core.ports import Identity
from packager.deadline import call_with_deadline
from packager.errors import StoreError
from packager.stores.s3_client import with_retries
from packager.stores.s3_errors import BrokenTransferError, map_s3_errors
from telemetry import carrying, catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

    from packager.core.ports import Reader

RANGE_BYTES = 6 << 20
"""Large enough that requests cost little beside their bytes: at 4 MiB the processor is busy half as long again as at 8.
Two of them are in memory."""

_AT_ONCE = 2
_PIECE_BYTES = 1 << 19
_CHECKSUMS = ("CRC64NVME", "SHA256", "SHA1", "CRC32C", "CRC32")


@dataclass(frozen=True, slots=True)
class S3Object:
    """Where an object is, and as which version of itself it was first seen."""

    client: S3Client
    bucket: str
    key: str
    etag: str
    size_bytes: int

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class S3Source:
    """One artifact in a bucket. Memory while it is read: two ranges."""

    def __init__(self, bucket: str, key: str, client: S3Client, *, range_bytes: int = RANGE_BYTES) -> None:
        self._bucket = bucket
        self._key = key
        self._client = client
        self._range_bytes = range_bytes
        self._looking = threading.Lock()
        self._seen: tuple[S3Object, Identity] | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

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
            answer = seen.client.get_object(
                Bucket=seen.bucket, Key=seen.key, Range=f"bytes={first}-{last}", IfMatch=seen.etag
            )
            _check_range(seen, first, last, answer.get("ContentRange", ""))
            return answer["Body"].read()

        with map_s3_errors("GetObject", self.uri):
            return with_retries(read, threading.Event())

    @contextmanager
    def open(self) -> Iterator[Reader]:
        seen, _ = self._look()
        with observe(
            catalog.READ_ARTIFACT,
            store="s3",
            source=self.uri,
            bucket=self._bucket,
            key=self._key,
            resumed=0,
            retries=0,
            throttles=0,
        ) as step:
            reader = RangeReader(seen, self._range_bytes)
            try:
                yield reader
            finally:
                reader.close()
                step.add(bytes_read=reader.bytes_read, requests=reader.requests)

    def _look(self) -> tuple[S3Object, Identity]:
        with self._looking:
            if self._seen is None:
                with (
                    observe(catalog.IDENTIFY_ARTIFACT, source=self.uri, bytes_hashed=0),
                    map_s3_errors("HeadObject", self.uri),
                ):
                    head = call_with_deadline(
                        lambda: self._client.head_object(Bucket=self._bucket, Key=self._key, ChecksumMode="ENABLED")
                    )
                    seen = S3Object(self._client, self._bucket, self._key, head["ETag"], head["ContentLength"])
                    self._seen = seen, _identity(head)
            return self._seen


def _identity(head: HeadObjectOutputTypeDef) -> Identity:
    marks = {"etag": head["ETag"].strip('"'), "size": str(head["ContentLength"])}
    for name in _CHECKSUMS:
        if value := head.get(f"Checksum{name}"):
            marks["checksum"] = f"{name}:{value}"
            break
    return Identity(head["ContentLength"], tuple(sorted(marks.items())))


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
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="range-read")
        self._carried = carrying(self._fetch)
        for _ in range(_AT_ONCE):
            self._request(None, min(range_bytes, seen.size_bytes))

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
            with map_s3_errors("GetObject", self._seen.uri):
                with_retries(lambda: self._fill(coming), self._stop, counted_as="resumed")
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
                coming.wanted[coming.filled : coming.filled + len(data)] = data
                with self._news:
                    coming.filled += len(data)
                    self._news.notify()

    @contextmanager
    def _body(self, first: int, last: int) -> Iterator[io.IOBase]:
        """The open body of one range of the object as it was first seen, known to `close` while it is open."""
        seen = self._seen
        with self._news:
            self.requests += 1
        answer = seen.client.get_object(
            Bucket=seen.bucket, Key=seen.key, Range=f"bytes={first}-{last}", IfMatch=seen.etag
        )
        body = answer["Body"]
        with body as raw:
            _check_range(seen, first, last, answer.get("ContentRange", ""))
            with self._news:
                self._bodies.add(raw)
            try:
                yield body
            finally:
                with self._news:
                    self._bodies.discard(raw)


def _check_range(seen: S3Object, first: int, last: int, given: str) -> None:
    wanted = f"bytes {first}-{last}/{seen.size_bytes}"
    if given != wanted:
        raise StoreError(
            f"Asked for {wanted} of {seen.uri}, the store answered {given or 'without a range'!r}.",
            next_step="Read from a store that honours ranges, or copy the artifact to a file first.",
            operation="GetObject",
            uri=seen.uri,
            code="InvalidRange",
        )
