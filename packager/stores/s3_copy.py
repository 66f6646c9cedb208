"""Parts of a component that S3 copies from the artifact, where the very same bytes lie, so that nobody sends them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from packager.aws_errors import code_of
from packager.errors import PackagerError
from packager.stores.s3_checksums import as_checksum, md5_of
from packager.stores.s3_errors import ABSENT, CHANGED, is_answered
from packager.stores.s3_object import md5_of_etag
from packager.stores.s3_options import NEVER
from packager.stores.s3_source import S3Source
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    from packager.core.ports import Source
    from packager.deadline import UnderWay
    from packager.stores.s3_calls import Calls

_ATTEMPTS = 3
"""How often a copy is asked for: the bytes are at hand, so sending them comes next."""

_ONLY_NOW = ABSENT | CHANGED
"""What S3 says when the artifact is another one, or gone: nothing about whether it copies."""

_refusing: set[tuple[str, str, str]] = set()
"""Endpoint, bucket of the artifact and bucket of the component, where this process was refused a copy."""
_regions: dict[tuple[str, str], str] = {}
"""Of buckets by endpoint and name, as this process was told; empty where the server does not say."""
_remembering = threading.Lock()


class Named(TypedDict):
    """What every request about an upload says."""

    Bucket: str
    Key: str
    UploadId: str


class PartCopies:
    """The copies of one upload; any thread may ask for one.

    A copy counts when it has become the bytes that were read: servers need not heed `CopySourceIfMatch`. Where that
    cannot be seen, or S3 refuses, the bytes are to be sent, and no more is tried between the same buckets.
    """

    def __init__(self, calls: Calls, source: S3Source, bucket: str) -> None:
        self._calls = replace(calls, attempts=min(_ATTEMPTS, calls.attempts))
        self._source = source
        self._between = (str(calls.client.meta.endpoint_url), source.bucket, bucket)
        self._has_other_bytes = False
        self._counting = threading.Lock()
        self.copied_bytes = self.refused = 0

    @classmethod
    def between(cls, source: Source | None, calls: Calls, bucket: str) -> PartCopies | None:
        """None unless the artifact is an object that the very client of the upload reads."""
        wanted = calls.options.copy_parts != NEVER and hasattr(calls.client, "upload_part_copy")
        if wanted and isinstance(source, S3Source) and source.client is calls.client:
            return cls(calls, source, bucket)
        return None

    def is_wanted(self) -> bool:
        """Whether copying has worked so far, or was not tried."""
        return not self._has_other_bytes and self._between not in _refusing

    def distrust(self, code: str) -> None:
        """Copy no more between these buckets: an upload with copies came to nothing for such a reason."""
        if self.copied_bytes:
            self._remember(code)

    def part(  # noqa: PLR0913  what one copy is, by name
        self,
        named: Named,
        number: int,
        *,
        first: int,
        content: bytearray,
        crc32: int,
        uri: str,
        stop: threading.Event,
        under_way: UnderWay,
    ) -> CompletedPartTypeDef | None:
        """The part, when it was copied from the artifact's bytes from `first` on; None when `content` is to be sent.

        Errors: what ends the work, such as time that runs out or a server that is silent.
        """
        _, source, destination = self._between
        if source != destination and len({*map(self._region_of, (source, destination))} - {""}) > 1:
            self._count_refusal("buckets of two regions", lasts=True)  # S3 would copy, and charge what passes between
            return None
        try:
            answer = self._calls.make(
                "UploadPartCopy",
                uri,
                lambda: self._ask(named, number, first, first + len(content) - 1, under_way),
                stop=stop,
                unchanged=lambda _: True,
            )
        except PackagerError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the bytes can be sent
            self._count_refusal(code_of(error), lasts=is_answered(error) and code_of(error) not in _ONLY_NOW)
            return None
        return self._compared(answer, number, content, as_checksum(crc32))

    def _region_of(self, bucket: str) -> str:
        known_as = self._between[0], bucket
        if known_as not in _regions:
            try:
                client = self._calls.client
                answer: Any = self._calls.make(
                    "HeadBucket", f"s3://{bucket}", lambda: client.head_bucket(Bucket=bucket), unchanged=lambda _: True
                )
            except PackagerError:
                raise
            except Exception as error:  # noqa: BLE001  a refusal names the region, too
                answer = getattr(error, "response", None) or {}
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            _regions[known_as] = headers.get("x-amz-bucket-region", "")
        return _regions[known_as]

    def _ask(self, named: Named, number: int, first: int, last: int, under_way: UnderWay) -> Mapping[str, Any]:
        seen, options = self._source.seen(), self._calls.options
        asked: dict[str, Any] = {"CopySource": seen.name.parameters(), **options.writing()}
        if options.expected_source_owner:
            asked["ExpectedSourceBucketOwner"] = options.expected_source_owner
        with under_way:
            return self._calls.client.upload_part_copy(
                **named,
                PartNumber=number,
                CopySourceRange=f"bytes={first}-{last}",
                CopySourceIfMatch=seen.etag,
                **asked,
            )

    def _compared(
        self, answer: Mapping[str, Any], number: int, content: bytearray, checksum: str
    ) -> CompletedPartTypeDef | None:
        found: Mapping[str, Any] = answer.get("CopyPartResult") or {}
        etag, copied = found.get("ETag") or "", found.get("ChecksumCRC32")
        md5 = md5_of_etag(etag, answer.get("ServerSideEncryption", ""))
        if not etag or (copied is None and md5 is None):
            self._count_refusal("cannot be compared", lasts=True)
            return None
        if checksum != copied if copied else md5 != md5_of(content):
            self._has_other_bytes = True
            self._count_refusal("other bytes", lasts=False)
            return None
        with self._counting:
            self.copied_bytes += len(content)
        return {"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum}

    def _count_refusal(self, code: str, *, lasts: bool) -> None:
        with self._counting:
            self.refused += 1
        if lasts:
            self._remember(code)

    def _remember(self, code: str) -> None:
        with _remembering:
            if self._between in _refusing:  # another part was refused as well
                return
            _refusing.add(self._between)
        endpoint, source, destination = self._between
        log(
            "warning",
            "copying parts refused",
            endpoint=endpoint,
            source_bucket=source,
            bucket=destination,
            code=code,
            next_step="Nothing: the bytes are sent. S3 copies them where one role may read the artifact and write "
            "the component (s3:GetObject, s3:PutObject). S3_COPY_PARTS=never does not try.",
        )
