"""One multipart upload, from its id to its completion or its removal."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from packager.aws_errors import code_of
from packager.deadline import COMMIT_RESERVE_S, LOOKS_EVERY_S, UnderWay, raise_if_late, time_left_s
from packager.errors import PackagerError, StoreError
from packager.stores.s3_calls import CLEAN_UP_S, Calls, required
from packager.stores.s3_checksums import Arrival, as_checksum, without_where_refused
from packager.stores.s3_errors import ABSENT, DENIED, is_answered
from packager.stores.s3_patience import heard
from telemetry import log

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        CreateMultipartUploadOutputTypeDef,
        MultipartUploadTypeDef,
        UploadPartOutputTypeDef,
    )

    from packager.stores.s3_copy import Named, PartCopies
    from packager.stores.s3_object import ObjectName

MOST_PARTS = 10_000
PART_BYTES = 8 << 20

_GONE = ABSENT | {"NoSuchUpload"}
_REMOVALS = 5
_LAST_PARTS_S = 1.0
"""How long an upload's removal waits for parts that are on their way and that nobody waits for any more."""

_CLOCKS_DIFFER_S = 5.0
"""How much the server's clock may be off within one upload."""

_open: dict[int, str] = {}


def left_open() -> list[str]:
    """The uploads of this process that are begun and neither complete nor removed, by name."""
    return sorted(_open.values())


def part_size_bytes(number: int) -> int:
    """Size of part `number`, counted from 1: 8 MiB for the first 1,024, and twice that for each 1,024 that follow.

    So up to 8 GiB memory does not grow; all `MOST_PARTS` hold 7 TiB, more than S3's 5 TiB; none is above its 5 GiB.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
    """
    return PART_BYTES << ((number - 1) // 1024)


class Body:
    """The bytes of a request, which botocore reads like a file.

    Bytes that leave for the first time show that S3 takes them: a slow line is not a silent one. Those of a further
    try do not, since a server that takes nothing leaves room for the first ones each time.
    """

    def __init__(self, content: bytearray) -> None:
        self._content = memoryview(content)
        self._position = 0
        self._furthest = 0

    def __len__(self) -> int:
        return len(self._content)

    def read(self, size: int = -1, /) -> memoryview:
        first, self._position = self._position, len(self._content) if size < 0 else self._position + size
        self._position = min(self._position, len(self._content))
        if self._position > self._furthest:
            self._furthest = self._position
            heard()
        return self._content[first : self._position]

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._position = offset + (0, self._position, len(self._content))[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def release(self) -> None:
        """Let the buffer be used again."""
        self._content.release()


class Multipart:
    """An upload that S3 has begun. Parts may be sent from several threads.

    When S3's answer to the beginning is lost, a second upload is begun, and the first, whose id nobody knows, is looked
    for when this one ends: see `remove_lost`. So is, at once, the upload of an answer without an id. An answer that
    comes when nobody waits for it has its upload removed.
    """

    def __init__(self, calls: Calls, name: ObjectName, metadata: Mapping[str, str], stop: threading.Event) -> None:
        self._calls = calls
        self._stop = stop
        self._uri = name.uri
        self._bucket, self._key = name.bucket, name.key
        self._parts: dict[int, CompletedPartTypeDef] = {}
        self._unanswered_s: list[float] = []
        self._begun: list[str] = []
        self._beginning, self._sending = UnderWay(), UnderWay()
        self._given_up = False
        self._metadata = metadata
        _open[id(self)] = f"{self._uri} (an upload that may have begun)"
        try:
            answer = calls.make("CreateMultipartUpload", self._uri, self._create, stop=stop, reserve_s=COMMIT_RESERVE_S)
            upload_id = required(answer, "UploadId", "CreateMultipartUpload", self._uri)
        except BaseException:
            self._given_up = True
            if self._remove_begun() and self.remove_lost(""):
                self.ended()
            raise
        self._named: Named = {"Bucket": name.bucket, "Key": name.key, "UploadId": upload_id}
        _open[id(self)] = f"{self._uri} (upload {upload_id})"

    @property
    def parts(self) -> int:
        """How many parts have arrived."""
        return len(self._parts)

    def send(self, number: int, content: bytearray, crc32: int) -> None:
        """Upload one part; StoreError when other bytes arrive, again and again."""
        checksum = as_checksum(crc32)
        body = Body(content)
        arrival = Arrival(self._calls, content, checksum, "UploadPart", self._uri)

        def once(with_checksums: bool) -> UploadPartOutputTypeDef:  # noqa: FBT001  see without_where_refused
            body.seek(0)
            asked: dict[str, Any] = {"ChecksumCRC32": checksum} if with_checksums else {}
            with self._sending:
                return self._calls.client.upload_part(
                    **self._named,
                    PartNumber=number,
                    Body=cast("Any", body),
                    **self._calls.options.writing(),
                    **asked,
                )

        def upload() -> str:
            try:
                return arrival.etag(without_where_refused(self._calls, once))
            except Exception as error:
                if arrival.was_wrong and is_answered(error):
                    raise _cannot_be_replaced(number, self._uri) from error
                raise

        etag = self._calls.make("UploadPart", self._uri, upload, stop=self._stop)
        body.release()
        self._parts[number] = {"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum}

    def copy_or_send(self, copies: PartCopies, number: int, content: bytearray, crc32: int, first: int) -> None:
        """Have one part copied from the artifact's bytes from `first` on; where that fails, upload it.

        Some servers take the request for an upload of nothing, and let no part be sent again: StoreError that is
        recoverable, since the next upload is not copied.
        """
        if not copies.is_wanted():
            self.send(number, content, crc32)
            return
        part = copies.part(
            self._named,
            number,
            first=first,
            content=content,
            crc32=crc32,
            uri=self._uri,
            stop=self._stop,
            under_way=self._sending,
        )
        if part is not None:
            self._parts[number] = part
            return
        try:
            self.send(number, content, crc32)
        except StoreError as error:
            if copies.is_wanted() or error.__cause__ is None or not is_answered(error.__cause__):
                raise
            raise _cannot_be_replaced(number, self._uri) from error

    def complete(self, size_bytes: int, crc32: int) -> str:
        """Ask S3 to make the object of its parts, once; its ETag. S3 refuses when size or CRC-32 are others."""
        answer = without_where_refused(
            self._calls,
            lambda with_checksums: self._calls.client.complete_multipart_upload(
                **self._named,
                **self._calls.options.writing(),
                **(self._whole(size_bytes, crc32) if with_checksums else self._only_parts()),
            ),
        )
        etag: str = required(answer, "ETag", "CompleteMultipartUpload", self._uri)
        return etag

    def ended(self) -> None:
        """The object is made, or nothing of the upload is left."""
        _open.pop(id(self), None)

    def remove(self) -> None:
        """Drop the upload until no part of it is left: one that was on its way can arrive after the first request.

        StoreError when parts are left after several rounds, or when S3 refuses.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
        """
        for _ in range(_REMOVALS):
            self._sending.ends(min(_LAST_PARTS_S, time_left_s() - COMMIT_RESERVE_S))
            self.abort()
            if not self._is_anything_left():
                self.ended()
                return
        raise StoreError(
            f"Parts of the upload of {self._uri} are still there after {_REMOVALS} requests to remove them.",
            next_step="Let a lifecycle rule of the bucket abort incomplete uploads; parts are paid for until then.",
            operation="AbortMultipartUpload",
            uri=self._uri,
            code="PartsLeft",
        )

    def abort(self) -> None:
        """Ask S3 once to drop the upload. That there is none is success."""
        self._clean_up("AbortMultipartUpload", self._named["UploadId"], _GONE)

    def remove_lost(self, upload_id: str | None = None) -> bool:
        """Abort the uploads that S3 began without our hearing of it. False, and a warning, when that cannot be done.

        They have this key, began no later than the last answer was lost, and have no part: another packager's would
        have some by now. While a request is on its way nothing found is no proof, and the search goes on for a while.
        """
        if not self._unanswered_s and self._beginning.ends(0):
            return True
        last_s = max(self._unanswered_s, default=time.monotonic())
        self._unanswered_s = []
        known = self._named["UploadId"] if upload_id is None else upload_id
        until = time.monotonic() + CLEAN_UP_S
        try:
            while not self._remove_unheard(known, last_s):
                if self._beginning.ends(0):
                    return True
                if time.monotonic() > until or time_left_s() <= LOOKS_EVERY_S:
                    return _may_be_open(self._uri, "CreateMultipartUpload is not answered")
                time.sleep(LOOKS_EVERY_S)
        except (PackagerError, KeyError) as error:
            return _may_be_open(self._uri, error)
        return True

    def _remove_begun(self) -> bool:
        """Abort the uploads whose answers came when nobody waited for them. False, and a warning, when it fails."""
        try:
            for upload_id in self._begun:
                self._clean_up("AbortMultipartUpload", upload_id, _GONE)
        except PackagerError as error:
            return _may_be_open(self._uri, error)
        return True

    def _remove_unheard(self, known: str, last_s: float) -> int:
        """How many uploads were found, and removed, that are not `known` and began before the time `last_s`."""
        listed = self._calls.make("ListMultipartUploads", self._uri, self._list_uploads, reserve_s=0.0, cleans_up=True)
        began = _server_time(listed) - timedelta(seconds=time.monotonic() - last_s - _CLOCKS_DIFFER_S)
        found = [
            each
            for each in listed.get("Uploads", [])
            if each["Key"] == self._key and each["UploadId"] != known and each["Initiated"] <= began
        ]
        return sum(self._is_removed_as_empty(each) for each in found)

    def _create(self) -> CreateMultipartUploadOutputTypeDef:
        """Begin an upload, and remember when no answer tells whether one was begun."""
        raise_if_late()
        with self._beginning:
            answer = self._created()
            self._begun += [answer["UploadId"]] if answer.get("UploadId") else []
            if self._given_up and self._remove_begun():
                self.ended()
        return answer

    def _created(self) -> CreateMultipartUploadOutputTypeDef:
        self._unanswered_s.append(time.monotonic())
        created = {
            "Bucket": self._bucket,
            "Key": self._key,
            "Metadata": self._metadata,
            "ContentType": "application/zip",
            **self._calls.options.writing(),
            **self._calls.options.creating(),
        }
        checked: dict[str, Any] = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
        try:
            answer = without_where_refused(
                self._calls,
                lambda with_checksums: self._calls.client.create_multipart_upload(
                    **created, **(checked if with_checksums else {})
                ),
            )
        except Exception as error:
            if is_answered(error):
                self._unanswered_s = self._unanswered_s[:-1]
            raise
        tried_once = not answer.get("ResponseMetadata", {}).get("RetryAttempts")  # a caller's client can try again
        if tried_once and answer.get("UploadId"):
            self._unanswered_s = self._unanswered_s[:-1]
        return answer

    def _whole(self, size_bytes: int, crc32: int) -> dict[str, Any]:
        return {
            "MultipartUpload": {"Parts": [self._parts[number] for number in sorted(self._parts)]},
            "ChecksumCRC32": as_checksum(crc32),
            "ChecksumType": "FULL_OBJECT",
            "MpuObjectSize": size_bytes,
        }

    def _only_parts(self) -> dict[str, Any]:
        parts = [{"PartNumber": number, "ETag": self._parts[number]["ETag"]} for number in sorted(self._parts)]
        return {"MultipartUpload": {"Parts": parts}}

    def _list_uploads(self) -> Any:  # noqa: ANN401  an answer
        return self._calls.client.list_multipart_uploads(
            Bucket=self._bucket, Prefix=self._key, **self._calls.options.writing()
        )

    def _is_removed_as_empty(self, upload: MultipartUploadTypeDef) -> bool:
        if self._is_anything_left(upload["UploadId"]):
            return False
        self._clean_up("AbortMultipartUpload", upload["UploadId"], _GONE)
        return True

    def _is_anything_left(self, upload_id: str | None = None) -> bool:
        # Who may not list has to take S3's answer to the abort for it.
        listed = self._clean_up("ListParts", upload_id or self._named["UploadId"], _GONE | DENIED)
        return bool(listed and listed.get("Parts"))

    def _clean_up(self, operation: str, upload_id: str, as_gone: frozenset[str]) -> Any:  # noqa: ANN401  an answer
        """The answer; None for the codes that mean that nothing is there."""
        asked: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key, "UploadId": upload_id}
        client: Any = self._calls.client
        call = client.list_parts if operation == "ListParts" else client.abort_multipart_upload
        if operation == "ListParts":
            asked["MaxParts"] = 1
        try:
            return self._calls.make(
                operation,
                self._uri,
                lambda: call(**asked, **self._calls.options.writing()),
                reserve_s=0.0,
                cleans_up=True,
                unchanged=lambda error: code_of(error) in as_gone,
            )
        except PackagerError:
            raise
        except Exception as error:
            if code_of(error) in as_gone:
                return None
            raise


def _cannot_be_replaced(number: int, uri: str) -> StoreError:
    return StoreError(
        f"Part {number} of {uri} changed on its way, and the server does not let it be sent again.",
        next_step="Package again: the upload begins anew.",
        operation="UploadPart",
        uri=uri,
        code="BadDigest",
    )


def _may_be_open(uri: str, error: Exception | str) -> bool:
    """False, after a warning that an upload may be left."""
    log(
        "warning",
        "an upload may be left open",
        uri=uri,
        error_type=type(error).__name__,
        error=str(error),
        next_step="Let a lifecycle rule of the bucket abort incomplete uploads.",
    )
    return False


def _server_time(answer: Mapping[str, Any]) -> datetime:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(date).astimezone(UTC) if date else datetime.now(UTC)
    except ValueError:
        return datetime.now(UTC)
