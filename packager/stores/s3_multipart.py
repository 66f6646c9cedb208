"""One multipart upload, from its id to its completion or its removal."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import TYPE_CHECKING, TypedDict, cast

from packager.aws_errors import code_of
from packager.errors import StoreError
from packager.stores.s3_client import with_retries
from packager.stores.s3_errors import ABSENT, DENIED, map_s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

MOST_PARTS = 10_000
PART_BYTES = 8 << 20

_GONE = ABSENT | {"NoSuchUpload"}
_REMOVALS = 5


def part_size_bytes(number: int) -> int:
    """Size of part `number`, counted from 1: 8 MiB for the first 1,024, and twice that for each 1,024 that follow.

    So up to 8 GiB memory does not grow; all `MOST_PARTS` hold 7 TiB, more than S3's 5 TiB; none is above its 5 GiB.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
    """
    return PART_BYTES << ((number - 1) // 1024)


def as_checksum(crc32: int) -> str:
    """A CRC-32 as S3 wants it: four bytes, big-endian, in base64."""
    return b64encode(crc32.to_bytes(4)).decode()


class _Named(TypedDict):
    Bucket: str
    Key: str
    UploadId: str


class Multipart:
    """An upload that S3 has begun. Parts may be sent from several threads.

    When only S3's answer to the beginning is lost, a second upload is begun, and the first stays: without a part, so
    without a cost, and without an id that it could be told apart by from another packager's of the same component.
    """

    def __init__(
        self, client: S3Client, bucket: str, key: str, metadata: dict[str, str], stop: threading.Event
    ) -> None:
        self._client = client
        self._uri = f"s3://{bucket}/{key}"
        self._parts: dict[int, CompletedPartTypeDef] = {}
        with map_s3_errors("CreateMultipartUpload", self._uri):
            answer = with_retries(
                lambda: client.create_multipart_upload(
                    Bucket=bucket,
                    Key=key,
                    Metadata=metadata,
                    ContentType="application/zip",
                    ChecksumAlgorithm="CRC32",
                    ChecksumType="FULL_OBJECT",
                ),
                stop,
            )
        self._named: _Named = {"Bucket": bucket, "Key": key, "UploadId": answer["UploadId"]}

    @property
    def parts(self) -> int:
        """How many parts have arrived."""
        return len(self._parts)

    def send(self, number: int, body: bytearray, crc32: int, stop: threading.Event) -> None:
        """Upload one part; S3 refuses it when its CRC-32 is another."""
        checksum = as_checksum(crc32)
        with map_s3_errors("UploadPart", self._uri):
            answer = with_retries(
                lambda: self._client.upload_part(
                    **self._named, PartNumber=number, Body=cast("bytes", body), ChecksumCRC32=checksum
                ),
                stop,
            )
        self._parts[number] = {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}

    def complete(self, size_bytes: int, crc32: int) -> None:
        """Ask S3 to make the object of its parts, once; S3 refuses when size or CRC-32 of the whole are others."""
        self._client.complete_multipart_upload(
            **self._named,
            MultipartUpload={"Parts": [self._parts[number] for number in sorted(self._parts)]},
            ChecksumCRC32=as_checksum(crc32),
            ChecksumType="FULL_OBJECT",
            MpuObjectSize=size_bytes,
        )

    def remove(self) -> None:
        """Drop the upload until no part of it is left: one that was on its way can arrive after the first request.

        StoreError when parts are left after several rounds, or when S3 refuses.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
        """
        for _ in range(_REMOVALS):
            self.abort()
            if not self._is_anything_left():
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
        with map_s3_errors("AbortMultipartUpload", self._uri):
            try:
                with_retries(
                    lambda: self._client.abort_multipart_upload(**self._named), threading.Event(), reserve_s=0.0
                )
            except Exception as error:
                if code_of(error) not in _GONE:
                    raise

    def _is_anything_left(self) -> bool:
        with map_s3_errors("ListParts", self._uri):
            try:
                listed = with_retries(
                    lambda: self._client.list_parts(**self._named, MaxParts=1), threading.Event(), reserve_s=0.0
                )
            except Exception as error:
                # Who may not list has to take S3's answer to the abort for it.
                if code_of(error) in _GONE | DENIED:
                    return False
                raise
        return bool(listed.get("Parts"))
