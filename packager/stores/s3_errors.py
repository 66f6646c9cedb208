"""Errors of botocore and of the connection below it, made the packager's own: mapped once, where S3 is spoken."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from packager.aws_errors import cause_of, code_of, response_of
from packager.errors import (
    BUSY_CODES,
    AccessDeniedError,
    ArtifactChangedError,
    ArtifactNotFoundError,
    PackagerError,
    StoreError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.stores.s3_options import S3Options

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
DENIED = frozenset({"403", "AccessDenied", "AllAccessDisabled", "Forbidden"})
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
    }
)
DAMAGED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
"""What servers say of a request whose bytes changed on their way."""

CHANGED = frozenset({"412", "PreconditionFailed"})
_ELSEWHERE = frozenset({"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"})
_UNKNOWN_OUTCOME = frozenset({500, 502, 504})

CHECKSUM_REFUSED = frozenset(
    {"MalformedXML", "InvalidArgument", "InvalidRequest", "NotImplemented", "BadRequest", "400", "501"}
)
"""What servers say that do not know the checksums of a request; AWS says other things of a checksum that is wrong."""


class BrokenTransferError(ConnectionError):
    """Fewer bytes came than were promised."""


@contextmanager
def map_s3_errors(operation: str, uri: str) -> Iterator[None]:
    """Turn what botocore and the connection raise in the block into the fitting error; others pass unchanged."""
    try:
        yield
    except PackagerError:
        raise
    except _foreign() as error:
        raise convert_s3_error(error, operation, uri) from error


def convert_s3_error(error: BaseException, operation: str, uri: str, options: S3Options | None = None) -> StoreError:
    """The packager's error for `error`, with `operation`, `uri`, `code` and S3's own request id as figures."""
    code = code_of(error)
    cause = cause_of(error)
    where = printable(uri, 1100)
    kind, next_step = _kind(code)
    if code in DENIED:
        next_step = _missing_right(operation, where, cause, options)
    return kind(
        f"S3 {operation} of {where} failed with {code}: {cause}.",
        next_step=next_step,
        operation=operation,
        uri=where,
        code=code,
        request_id=response_of(error).get("ResponseMetadata", {}).get("RequestId", ""),
    )


_RIGHTS = {
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
}
"""The right that an operation needs, where it has another name.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""

_NAMED_RIGHT = re.compile(r"not authorized to perform: ([a-z0-9-]+:\w+)(?: on resource: (\S+))?")


def _missing_right(operation: str, where: str, cause: str, options: S3Options | None) -> str:
    """What to allow, in the server's own words when it names the right."""
    named = _NAMED_RIGHT.search(cause)
    right = named[1] if named else _RIGHTS.get(operation, f"s3:{operation}")
    resource = named[2] if named and named[2] else where
    steps = [f"Allow {right} on {resource.strip(chr(34))} to this role."]
    if right == "s3:GetObject":
        if "?versionId=" in where:
            steps.append("A version needs s3:GetObjectVersion.")
        steps.append("Without s3:ListBucket on the bucket, S3 says the same of an object that is not there.")
    if right == "s3:PutObject":
        steps += _asked_with(options)
    return " ".join(steps)


def _asked_with(options: S3Options | None) -> list[str]:
    """What else a policy can demand of an upload, or an upload of the role."""
    if options is None:
        return ["If a policy of the bucket demands encryption, ask for it."]
    steps = []
    if options.encryption.startswith("aws:kms"):
        key = options.kms_key_id or "the account's key for S3"
        steps.append(f"Encryption needs kms:GenerateDataKey and kms:Decrypt on {key}.")
    else:
        asked = options.encryption or "none"
        steps.append(
            f"The encryption asked for is {asked}; if a policy of the bucket demands another, set S3_ENCRYPTION "
            "(aws:kms, with S3_KMS_KEY_ID)."
        )
    if options.acl:
        steps.append(f"The ACL {options.acl} needs s3:PutObjectAcl.")
    if options.tags:
        steps.append("Tags need s3:PutObjectTagging.")
    return steps


def is_answered(error: BaseException) -> bool:
    """Whether S3 itself has answered that it did nothing."""
    status = response_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status is not None and status not in _UNKNOWN_OUTCOME


def can_be_sent_again(error: BaseException) -> bool:
    """Whether the same request can succeed a moment later: S3 was busy, or the connection broke.

    What the packager itself found out is final, a time limit above all.
    """
    if isinstance(error, PackagerError):
        return False
    status = response_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status is not None:
        return not BUSY_CODES.isdisjoint((str(status), code_of(error)))
    return isinstance(error, _broken_connection())


_KINDS: tuple[tuple[frozenset[str], type[StoreError], str], ...] = (
    (ABSENT, ArtifactNotFoundError, "Check bucket and key; nothing lies there."),
    (
        CHANGED,
        ArtifactChangedError,
        "The object was replaced meanwhile; package again when whoever writes it is done.",
    ),
    (
        DENIED,
        AccessDeniedError,
        "",
    ),
    (_CREDENTIALS, AccessDeniedError, "Renew the credentials, or name others (AWS_PROFILE, a role)."),
    (_ELSEWHERE, StoreError, "The bucket is in another region; set AWS_REGION to it."),
    (
        frozenset({"307", "TemporaryRedirect"}),
        StoreError,
        "The bucket is new, and its address not known everywhere yet: try again in an hour, or set AWS_REGION.",
    ),
    (BUSY_CODES, StoreError, "S3 is busy; try again in a minute, with fewer targets at once."),
    (
        frozenset({"NoSuchUpload"}),
        StoreError,
        "Somebody, or a rule of the bucket, removed the unfinished upload; package again.",
    ),
    (frozenset({"InvalidObjectState"}), StoreError, "Restore the object from its archive storage class first."),
    (frozenset({"EntityTooSmall"}), StoreError, "The store wants larger parts than 8 MiB; use another one."),
    (
        DAMAGED,
        StoreError,
        "The bytes changed on their way; package again, and look at the network when it happens twice.",
    ),
)


def _kind(code: str) -> tuple[type[StoreError], str]:
    for codes, kind, next_step in _KINDS:
        if code in codes:
            return kind, next_step
    if code.isdecimal():
        return StoreError, "The answer was no document of S3: a proxy may have given it. Check the endpoint."
    return StoreError, "Check the endpoint, the network and the figures of this error."


@cache
def _foreign() -> tuple[type[BaseException], ...]:
    from boto3.exceptions import Boto3Error  # noqa: PLC0415  boto3 only where S3 is spoken
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  same
    from botocore.parsers import ResponseParserError  # noqa: PLC0415  same
    from urllib3.exceptions import HTTPError  # noqa: PLC0415  same

    return (ClientError, BotoCoreError, Boto3Error, ResponseParserError, HTTPError, OSError)


@cache
def _broken_connection() -> tuple[type[BaseException], ...]:
    from botocore import exceptions as b  # noqa: PLC0415  boto3 only where S3 is spoken
    from urllib3 import exceptions as u  # noqa: PLC0415  same

    return (
        b.ConnectionClosedError,
        b.ConnectTimeoutError,
        b.EndpointConnectionError,
        b.IncompleteReadError,
        b.ReadTimeoutError,
        b.ResponseStreamingError,
        u.ProtocolError,
        u.SSLError,  # a connection cut in the middle of a TLS record; a bad certificate is botocore's own SSLError
        u.TimeoutError,
        ConnectionError,
        TimeoutError,
    )
