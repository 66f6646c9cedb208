"""An object as S3 describes it: what HEAD answers, whatever the server's spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packager.aws_errors import code_of
from packager.stores.s3_calls import malformed, required
from packager.stores.s3_errors import ABSENT, DENIED

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHECKSUMS = ("CRC64NVME", "SHA256", "SHA1", "CRC32C", "CRC32")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class ObjectName:
    """A bucket, a key and, when only one is meant, a version."""

    bucket: str
    key: str
    version: str = ""

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}{f'?versionId={self.version}' if self.version else ''}"

    def parameters(self) -> dict[str, Any]:
        named = {"Bucket": self.bucket, "Key": self.key}
        return {**named, "VersionId": self.version} if self.version else named


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What S3 says of an object.

    Attributes:
        etag: as S3 writes it, quotes included.
        size_bytes: its size.
        metadata: the user's metadata; names in lower case, since servers written in Go send them capitalised.
        checksums: by algorithm, in base64, of the whole object; one of its parts' checksums ends in their number.
        encryption: as the answer says; empty where it does not.
    """

    etag: str
    size_bytes: int
    metadata: Mapping[str, str]
    checksums: Mapping[str, str]
    encryption: str

    @classmethod
    def of(cls, answer: Mapping[str, Any], uri: str) -> ObjectHead:
        """StoreError when the answer lacks what every object has."""
        size_bytes = required(answer, "ContentLength", "HeadObject", uri)
        if size_bytes < 0:
            raise malformed(f"its ContentLength is {size_bytes}", "HeadObject", uri)
        return cls(
            etag=required(answer, "ETag", "HeadObject", uri),
            size_bytes=size_bytes,
            metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
            checksums={
                name: value for name in _CHECKSUMS if (value := answer.get(f"Checksum{name}")) and "-" not in value
            },
            encryption=answer.get("ServerSideEncryption", ""),
        )


def md5_of_etag(etag: str, encryption: str = "") -> str | None:
    """The MD5 that an ETag is, in hexadecimal; None for one that is something else.

    It is no MD5 of the bytes when KMS encrypts: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """
    found = _MD5.fullmatch(etag)
    return None if found is None or "kms" in encryption.lower() else found[1]


def are_one_etag(answered: str, found: str) -> bool:
    """Whether the ETag of a finished upload is that of the object, as far as that can be told.

    Some servers answer with the ETag of the parts (`...-3`), and say the MD5 of the whole later.
    """
    one, other = answered.strip('"'), found.strip('"')
    return one in {"", other} or ("-" in one) != ("-" in other)


def is_absent_or_hidden(error: BaseException) -> bool:
    """Without s3:ListBucket S3 answers 403 for what is not there."""
    return code_of(error) in ABSENT | DENIED
