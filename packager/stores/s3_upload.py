"""A component on its way to S3: in one request when small, else in parts of which two are on their way."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from isal.isal_zlib import crc32 as crc32_of

from packager.aws_errors import code_of
from packager.core.ports import StoredComponent
from packager.deadline import COMMIT_RESERVE_S
from packager.errors import PackagerError, StoreError, is_recoverable
from packager.stores.s3_calls import SILENT
from packager.stores.s3_checksums import Arrival, as_checksum, md5_of, without_where_refused
from packager.stores.s3_errors import ABSENT, BrokenTransferError
from packager.stores.s3_multipart import Body, Multipart
from packager.stores.s3_object import ObjectHead, ObjectName, are_one_etag, md5_of_etag
from packager.stores.s3_tags import warn_of_lost_tags
from telemetry import carrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3.type_defs import PutObjectOutputTypeDef

    from packager.stores.s3_calls import Calls
    from packager.stores.s3_copy import PartCopies

KEPT_IDENTITY = "edge-model-packager-identity"
KEPT_SHA256 = "edge-model-packager-sha256"
KEPT_SIZE = "edge-model-packager-size"
KEPT_MD5 = "edge-model-packager-md5"
"""Metadata of the object; all but the identity only when it is sent in one piece."""

_AT_ONCE = 2
_LOOKS = 4
"""How often the finished object is asked for: servers on many machines may need a moment to find it."""


class S3Upload:
    """One component. `destination` gives its name and identity; `record` keeps the SHA-256 of one sent in parts.

    A part whose bytes lie in the artifact in one piece is copied from there, if `copies` can.
    """

    def __init__(
        self,
        calls: Calls,
        destination: Callable[[], tuple[ObjectName, str]],
        part_bytes: Callable[[int], int],
        record: Callable[[ObjectHead, StoredComponent], None],
        copies: PartCopies | None = None,
    ) -> None:
        self._calls = calls
        self._destination = destination
        self._record = record
        self._copies = copies
        self._name: ObjectName | None = None
        self._identity = ""
        self._part_bytes = part_bytes
        self._multipart: Multipart | None = None
        self._stored: StoredComponent | None = None
        self._sha256 = hashlib.sha256()
        self._crc32 = 0
        self._sent_bytes = 0
        self._sent_parts = 0
        self._filled = 0
        self._origin = -1  # of the buffer's bytes in the artifact
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="part-upload")
        self._going: dict[Future[None], bytearray] = {}
        self._spare: list[bytearray] = []
        self._take_buffer()
        # Whatever step the caller is in by then, what S3 is asked belongs to the step of this upload.
        self._begin = carrying(self._begin_multipart)
        self._send = carrying(self._send_part)
        self._publish = carrying(self._publish_whole)

    def write(self, data: bytes | bytearray | memoryview, /, origin: int = -1) -> None:
        left = memoryview(data).cast("B")
        while True:
            taken = min(len(left), len(self._view) - self._filled)
            self._view[self._filled : self._filled + taken] = left[:taken]
            if not self._filled:
                self._origin = origin
            elif taken and self._origin + self._filled != origin:
                self._origin = -1
            self._filled += taken
            if taken == len(left):
                return
            left = left[taken:]
            origin = origin + taken if origin >= 0 else -1
            self._send_buffer()
            self._take_buffer()

    def commit(self) -> StoredComponent:
        if self._name is None:
            self._name, self._identity = self._destination()
        if self._multipart is not None and self._filled:
            self._send_buffer()
        while self._going:
            self._collect()
        try:
            self._stored = self._publish(self._name)
        except StoreError as error:
            if self._copies is not None and not is_recoverable(error):
                self._copies.distrust(str(error.figures.get("code")))
            raise
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
        if self._multipart is not None:
            try:
                if self._stored is None:
                    self._multipart.remove()
                self._multipart.remove_lost()
            except PackagerError as error:
                failure = error
        return failure

    def figures(self) -> dict[str, str | int]:
        """What the step of this upload is told."""
        figures: dict[str, str | int] = {
            "bytes_written": self._sent_bytes,
            "parts": self._multipart.parts if self._multipart else int(self._stored is not None),
        }
        if self._copies is not None:
            figures |= {"bytes_copied_by_s3": self._copies.copied_bytes, "copies_refused": self._copies.refused}
        if self._name is not None:
            figures["key"] = self._name.key
        if self._stored is not None:
            figures["sha256"] = self._stored.sha256
        return figures

    def _send_buffer(self) -> None:
        origin = self._origin
        body, crc32 = self._sealed()
        if self._multipart is None:
            self._name, self._identity = self._destination()
            self._multipart = self._begin(self._name)
        if len(self._going) == _AT_ONCE:
            self._collect()
        self._sent_parts += 1
        self._going[self._pool.submit(self._send, self._multipart, self._sent_parts, body, crc32, origin)] = body

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

    def _begin_multipart(self, name: ObjectName) -> Multipart:
        return Multipart(self._calls, name, {KEPT_IDENTITY: self._identity}, self._stop)

    def _send_part(self, multipart: Multipart, number: int, body: bytearray, crc32: int, origin: int) -> None:
        if self._copies is None or origin < 0:
            multipart.send(number, body, crc32)
        else:
            multipart.copy_or_send(self._copies, number, body, crc32, origin)

    def _publish_whole(self, name: ObjectName) -> StoredComponent:
        sha256 = self._sha256
        if self._multipart is None:
            body, crc32 = self._sealed()
            arrival = Arrival(self._calls, body, as_checksum(crc32), "PutObject", name.uri)
            etag = self._settle(name, "PutObject", lambda: self._put(name, body, arrival))
        else:
            crc32 = self._crc32
            multipart = self._multipart
            complete = lambda: multipart.complete(self._sent_bytes, crc32)  # noqa: E731
            etag = self._settle(name, "CompleteMultipartUpload", complete)
            self._end(multipart, answered=bool(etag))
        head = self._looked_at(name, etag, as_checksum(crc32))
        warn_of_lost_tags(self._calls, name)
        stored = StoredComponent(name.uri, self._sent_bytes, self._identity, sha256.hexdigest())
        if self._multipart is not None:
            self._record(head, stored)
        return stored

    def _end(self, multipart: Multipart, *, answered: bool) -> None:
        if not answered:
            # What was seen can be the same component from an earlier run, with this upload still open.
            with suppress(PackagerError):
                multipart.remove()
        multipart.ended()

    def _settle(self, name: ObjectName, operation: str, make_visible: Callable[[], str]) -> str:
        """The ETag that is answered when the component is made visible; empty when it was seen there instead.

        An answer can be lost after the work was done, and one that says 200 can hold an error: so after every failure
        the first thing is to look. So it is, for the last time, when an answer that never ends was given up.
        """

        def once() -> str:
            try:
                return make_visible()
            except Exception:
                if self._is_there(name):
                    return ""
                raise

        try:
            return self._calls.make(operation, name.uri, once, reserve_s=COMMIT_RESERVE_S)
        except StoreError as error:
            if error.code == SILENT and self._is_there(name, cleans_up=True):
                return ""
            raise

    def _put(self, name: ObjectName, body: bytearray, arrival: Arrival) -> str:
        kept = {
            KEPT_IDENTITY: self._identity,
            KEPT_SHA256: self._sha256.hexdigest(),
            KEPT_SIZE: str(len(body)),
            KEPT_MD5: md5_of(body),
        }

        def once(with_checksums: bool) -> PutObjectOutputTypeDef:  # noqa: FBT001  see without_where_refused
            asked: dict[str, Any] = {"ChecksumCRC32": arrival.checksum} if with_checksums else {}
            return self._calls.client.put_object(
                **name.parameters(),
                Body=cast("Any", Body(body)),
                Metadata=kept,
                ContentType="application/json" if name.key.endswith(".json") else "application/zip",
                **self._calls.options.writing(),
                **self._calls.options.creating(),
                **asked,
            )

        return arrival.etag(without_where_refused(self._calls, once))

    def _is_there(self, name: ObjectName, *, cleans_up: bool = False) -> bool:
        try:
            head = self._head(name, self._calls, cleans_up=cleans_up)
        except PackagerError:
            return False
        kept = (head.metadata.get(KEPT_IDENTITY), head.size_bytes)
        return kept == (self._identity, self._sent_bytes) and is_what_was_written(head)

    def _head(self, name: ObjectName, calls: Calls, *, cleans_up: bool = False) -> ObjectHead:
        def look() -> ObjectHead:
            try:
                answer = calls.client.head_object(
                    **name.parameters(), ChecksumMode="ENABLED", **calls.options.writing()
                )
            except Exception as error:
                if calls is not self._calls and code_of(error) in ABSENT:
                    raise BrokenTransferError(
                        "the server has taken the component, and says that it is not there"
                    ) from error
                raise
            return ObjectHead.of(answer, name.uri)

        return calls.make("HeadObject", name.uri, look, reserve_s=0.0, cleans_up=cleans_up)

    def _looked_at(self, name: ObjectName, etag: str, checksum: str) -> ObjectHead:
        """What S3 says of the finished component; StoreError when that is anything but what was sent."""
        head = self._head(name, replace(self._calls, attempts=min(_LOOKS, self._calls.attempts)))
        kept = head.checksums.get("CRC32")
        # Two packagers may have made it at once: then the ETag can be that of the other, over the same bytes.
        same_bytes = kept == checksum or (kept is None and are_one_etag(etag, head.etag))
        wrong = {
            f"{head.size_bytes} bytes, {self._sent_bytes} were sent": head.size_bytes != self._sent_bytes,
            f"the identity {head.metadata.get(KEPT_IDENTITY)}, {self._identity} was sent": (
                head.metadata.get(KEPT_IDENTITY, self._identity) != self._identity
            ),
            f"the ETag {head.etag} and the CRC-32 {kept}, {etag} was answered and {checksum} sent": not same_bytes,
        }
        if any(wrong.values()):
            raise _other_bytes(name, next(what for what, is_wrong in wrong.items() if is_wrong))
        return head


def is_what_was_written(head: ObjectHead) -> bool:
    """Whether size and MD5 are those that a component in one piece says of itself; one in parts says nothing."""
    size, md5 = head.metadata.get(KEPT_SIZE), head.metadata.get(KEPT_MD5)
    found = md5_of_etag(head.etag, head.encryption)
    return size in {None, str(head.size_bytes)} and (md5 is None or found is None or md5 == found)


def _other_bytes(name: ObjectName, what: str) -> StoreError:
    return StoreError(
        f"{name.uri} was written, and the server says that it has {what}.",
        next_step="Package again; when it happens again, the server loses or changes bytes and cannot be used.",
        operation="HeadObject",
        uri=name.uri,
        code="OtherBytes",
    )
