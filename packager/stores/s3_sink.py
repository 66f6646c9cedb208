"""Components written to S3: in one request when small, else in parts of which two are on their way."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from isal.isal_zlib import crc32 as crc32_of

from packager.aws_errors import code_of
from packager.core.ports import KEYS_BEGIN_WITH, StoredComponent
from packager.deadline import call_with_deadline
from packager.errors import PackagerError
from packager.stores.s3_multipart import Multipart, as_checksum, part_size_bytes
from packager.stores.s3_place import KEPT_IDENTITY, KEPT_SHA256, Place
from packager.stores.sweeping import remove_leftovers
from telemetry import carrying, catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef

    from packager.core.ports import Upload

_AT_ONCE = 2


class S3Sink:
    """A bucket with an optional prefix. Memory of one upload: three parts."""

    def __init__(
        self, bucket: str, prefix: str, client: S3Client, *, part_bytes: Callable[[int], int] = part_size_bytes
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client
        self._part_bytes = part_bytes

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def find(self, key: str) -> StoredComponent | None:
        return self._place(key).find()

    def sweep(self, older_than_s: float) -> int:
        """One request, more only when something is found; without the right to list or abort, nothing."""
        try:
            listed = call_with_deadline(
                lambda: self._client.list_multipart_uploads(
                    Bucket=self._bucket, Prefix=f"{self._prefix}{KEYS_BEGIN_WITH}"
                )
            )
        except Exception as error:  # noqa: BLE001  as promised: a lifecycle rule does it as well
            log("debug", "abandoned uploads were not listed", cause=code_of(error), bucket=self._bucket)
            return 0
        dead_before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        dead = [each for each in listed.get("Uploads", []) if each["Initiated"] <= dead_before]
        return remove_leftovers(dead, self._abort)

    def _abort(self, upload: MultipartUploadTypeDef) -> int:
        call_with_deadline(
            lambda: self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )
        )
        return 0  # S3 does not say how much that was

    @contextmanager
    def open(self, key: Callable[[], tuple[str, str]]) -> Iterator[Upload]:
        def destination() -> tuple[Place, str]:
            below, identity = key()
            return self._place(below), identity

        with observe(
            catalog.WRITE_COMPONENT, store="s3", bucket=self._bucket, retries=0, throttles=0, aborted=0, left_behind=0
        ) as step:
            upload = _S3Upload(destination, self._part_bytes)
            try:
                yield upload
            except BaseException as error:
                failure = upload.give_up()
                step.add(aborted=int(failure is None), left_behind=int(failure is not None))
                if failure is not None:
                    error.add_note(f"The upload was not removed: {failure}")
                raise
            else:
                if (failure := upload.give_up()) is not None:
                    step.add(left_behind=1)
                    raise failure
            finally:
                step.add(**upload.figures())

    def _place(self, key: str) -> Place:
        return Place(self._client, self._bucket, self._prefix + key)


class _S3Upload:
    def __init__(self, destination: Callable[[], tuple[Place, str]], part_bytes: Callable[[int], int]) -> None:
        self._destination = destination
        self._place: Place | None = None
        self._identity = ""
        self._part_bytes = part_bytes
        self._multipart: Multipart | None = None
        self._stored: StoredComponent | None = None
        self._sha256 = hashlib.sha256()
        self._crc32 = 0
        self._sent_bytes = 0
        self._sent_parts = 0
        self._filled = 0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="part-upload")
        self._going: dict[Future[None], bytearray] = {}
        self._spare: list[bytearray] = []
        self._take_buffer()
        # Whatever step the caller is in by then, what S3 is asked belongs to the step of this upload.
        self._begin = carrying(self._begin_multipart)
        self._send = carrying(self._send_part)
        self._publish = carrying(self._publish_whole)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        left = memoryview(data).cast("B")
        while True:
            taken = min(len(left), len(self._view) - self._filled)
            self._view[self._filled : self._filled + taken] = left[:taken]
            self._filled += taken
            if taken == len(left):
                return
            left = left[taken:]
            self._send_buffer()
            self._take_buffer()

    def commit(self) -> StoredComponent:
        if self._place is None:
            self._place, self._identity = self._destination()
        if self._multipart is not None and self._filled:
            self._send_buffer()
        while self._going:
            self._collect()
        self._stored = self._publish(self._place)
        return self._stored

    def give_up(self) -> PackagerError | None:
        """Unless there was a commit, stop the threads and remove what was uploaded; why that failed is returned."""
        self._stop.set()
        failure = None
        if self._stored is None and self._multipart is not None:
            # First of all, should there be no time for more: this alone removes nearly everything.
            with suppress(PackagerError):
                self._multipart.abort()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._stored is None and self._multipart is not None:
            try:
                self._multipart.remove()
            except PackagerError as error:
                failure = error
        return failure

    def figures(self) -> dict[str, str | int]:
        """What the step of this upload is told."""
        figures: dict[str, str | int] = {
            "bytes_written": self._sent_bytes,
            "parts": self._multipart.parts if self._multipart else int(self._stored is not None),
        }
        if self._place is not None:
            figures["key"] = self._place.key
        if self._stored is not None:
            figures["sha256"] = self._stored.sha256
        return figures

    def _send_buffer(self) -> None:
        body, crc32 = self._sealed()
        if self._multipart is None:
            self._place, self._identity = self._destination()
            self._multipart = self._begin(self._place)
        if len(self._going) == _AT_ONCE:
            self._collect()
        self._sent_parts += 1
        self._going[self._pool.submit(self._send, self._multipart, self._sent_parts, body, crc32)] = body

    def _sealed(self) -> tuple[bytearray, int]:
        """The filled buffer, cut to size, and its CRC-32; both are taken into those of the whole."""
        body = self._buffer
        self._view.release()
        del body[self._filled :]
        self._sha256.update(body)
        self._crc32 = crc32_of(body, self._crc32)
        self._sent_bytes += len(body)
        self._filled = 0
        return body, crc32_of(body)

    def _take_buffer(self) -> None:
        size_bytes = self._part_bytes(self._sent_parts + 1)
        self._spare = [buffer for buffer in self._spare if len(buffer) == size_bytes]
        self._buffer = self._spare.pop() if self._spare else bytearray(size_bytes)
        self._view = memoryview(self._buffer)
        self._filled = 0

    def _collect(self) -> None:
        """Wait for one part at least, take its buffer back; what stopped it is raised here."""
        done, _ = wait(self._going, return_when=FIRST_COMPLETED)
        for future in done:
            self._spare.append(self._going.pop(future))
            future.result()

    def _begin_multipart(self, place: Place) -> Multipart:
        return Multipart(place.client, place.bucket, place.key, {KEPT_IDENTITY: self._identity}, self._stop)

    def _send_part(self, multipart: Multipart, number: int, body: bytearray, crc32: int) -> None:
        multipart.send(number, body, crc32, self._stop)

    def _publish_whole(self, place: Place) -> StoredComponent:
        if self._multipart is None:
            self._put(place)
        else:
            self._complete(place, self._multipart)
        return StoredComponent(place.uri, self._sent_bytes, self._identity, self._sha256.hexdigest())

    def _put(self, place: Place) -> None:
        body, crc32 = self._sealed()
        kept = {KEPT_IDENTITY: self._identity, KEPT_SHA256: self._sha256.hexdigest()}
        place.settle(
            lambda: place.client.put_object(
                Bucket=place.bucket,
                Key=place.key,
                Body=cast("bytes", body),  # its stubs know no bytearray
                Metadata=kept,
                ContentType="application/json" if place.key.endswith(".json") else "application/zip",
                ChecksumCRC32=as_checksum(crc32),
            ),
            "PutObject",
            self._identity,
            self._sent_bytes,
        )

    def _complete(self, place: Place, multipart: Multipart) -> None:
        answered = place.settle(
            lambda: multipart.complete(self._sent_bytes, self._crc32),
            "CompleteMultipartUpload",
            self._identity,
            self._sent_bytes,
        )
        if not answered:
            # What was seen can be the same component from an earlier run, with this upload still open.
            with suppress(PackagerError):
                multipart.remove()
        place.keep_sha256(self._sha256.hexdigest())
