"""Errors of botocore and of the connection below it, made the packager's own: mapped once, where S3 is spoken."""

from __future__ import annotations

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
_CHANGED = frozenset({"412", "PreconditionFailed"})
_ELSEWHERE = frozenset({"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"})


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


def convert_s3_error(error: BaseException, operation: str, uri: str) -> StoreError:
    """The packager's error for `error`, with `operation`, `uri`, `code` and S3's own request id as figures."""
    code = code_of(error)
    where = printable(uri, 1100)
    kind, next_step = _kind(code)
    return kind(
        f"S3 {operation} of {where} failed with {code}: {cause_of(error)}.",
        next_step=next_step,
        operation=operation,
        uri=where,
        code=code,
        request_id=response_of(error).get("ResponseMetadata", {}).get("RequestId", ""),
    )


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
        _CHANGED,
        ArtifactChangedError,
        "The object was replaced meanwhile; package again when whoever writes it is done.",
    ),
    (
        DENIED,
        AccessDeniedError,
        "Allow this role to read (s3:GetObject, s3:ListBucket) or write (s3:PutObject, s3:AbortMultipartUpload).",
    ),
    (_CREDENTIALS, AccessDeniedError, "Renew the credentials, or name others (AWS_PROFILE, a role)."),
    (_ELSEWHERE, StoreError, "The bucket is in another region; set AWS_REGION to it."),
    (BUSY_CODES, StoreError, "S3 is busy; try again in a minute, with fewer targets at once."),
    (
        frozenset({"NoSuchUpload"}),
        StoreError,
        "Somebody, or a rule of the bucket, removed the unfinished upload; package again.",
    ),
    (frozenset({"InvalidObjectState"}), StoreError, "Restore the object from its archive storage class first."),
    (frozenset({"EntityTooSmall"}), StoreError, "The store wants larger parts than 8 MiB; use another one."),
    (
        frozenset({"BadDigest", "XAmzContentChecksumMismatch"}),
        StoreError,
        "The bytes changed on their way; package again, and look at the network when it happens twice.",
    ),
)


def _kind(code: str) -> tuple[type[StoreError], str]:
    for codes, kind, next_step in _KINDS:
        if code in codes:
            return kind, next_step
    return StoreError, "Check the endpoint, the network and the figures of this error."


@cache
def _foreign() -> tuple[type[BaseException], ...]:
    from boto3.exceptions import Boto3Error  # noqa: PLC0415  boto3 only where S3 is spoken
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  same
    from urllib3.exceptions import HTTPError  # noqa: PLC0415  same

    return (ClientError, BotoCoreError, Boto3Error, HTTPError, OSError)


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
