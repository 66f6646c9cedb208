"""The source and the sink for an S3 client: streaming ones, or whole-file ones for a client that cannot stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packager.errors import RequestError
from packager.stores.s3_client import calls_for, calls_of
from packager.stores.s3_object import ObjectName
from packager.stores.s3_prefix import s3_prefix
from packager.stores.s3_sink import S3Sink
from packager.stores.s3_source import S3Source
from packager.stores.whole_file import WholeFileSink, WholeFileSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.core.ports import Sink, Source
    from packager.stores.s3_calls import Calls
    from packager.stores.s3_options import S3Options
    from packager.stores.whole_file import Scratch

__all__ = ["ObjectName", "calls", "sink", "source"]

_READING = ("head_object", "get_object")
_WRITING = (
    "put_object",
    "create_multipart_upload",
    "upload_part",
    "complete_multipart_upload",
    "abort_multipart_upload",
    "list_parts",
    "head_object",
    "get_object",
)


def calls(client: S3Client | None, endpoint_url: str | None, options: S3Options | None) -> Calls:
    """How S3 is called: with the caller's client, or with the process's own."""
    return calls_for(endpoint_url, options) if client is None else calls_of(client, options)


def source(name: ObjectName, calls: Calls, scratch: Scratch | None) -> Source:
    """The object as a source. RequestError when the client can neither read ranges nor download a file."""
    if not _missing(calls.client, _READING):
        return S3Source(name, calls)
    if hasattr(calls.client, "download_file"):
        return WholeFileSource(name.bucket, name.key, calls.client, _needed(scratch))
    raise _too_little(_missing(calls.client, _READING), "download_file")


def prefix(bucket: str, prefix: str, calls: Calls, max_members: int) -> Source:
    """Every object below a prefix as one source. RequestError when the client can neither list nor read ranges."""
    if missing := _missing(calls.client, ("list_objects_v2", *_READING)):
        raise RequestError(
            f"This S3 client has no {', '.join(missing)}, and cannot read what is below a prefix.",
            next_step="Pass a client of boto3, or name one object.",
            missing=missing,
        )
    return s3_prefix(bucket, prefix, calls, max_members)


def sink(bucket: str, prefix: str, calls: Calls, scratch: Scratch | None) -> Sink:
    """The bucket as a sink. RequestError when the client can neither upload parts nor a file."""
    if not _missing(calls.client, _WRITING):
        return S3Sink(bucket, prefix, calls)
    if hasattr(calls.client, "upload_file"):
        return WholeFileSink(bucket, prefix, calls.client, _needed(scratch))
    raise _too_little(_missing(calls.client, _WRITING), "upload_file")


def check_bucket(bucket: str, calls: Calls) -> None:
    """StoreError when the bucket is not there, or may not be asked for; a client that cannot ask says nothing."""
    if not _missing(calls.client, ("head_bucket",)):
        calls.make(
            "HeadBucket",
            f"s3://{bucket}",
            lambda: calls.client.head_bucket(Bucket=bucket, **calls.options.writing()),
        )


def _needed(scratch: Scratch | None) -> Scratch:
    if scratch is None:
        raise RequestError(
            "This S3 client knows only whole files, and there is no scratch to stage them on.",
            next_step="Pass a client of boto3, or Stores(client, scratch=StorageManager()).",
        )
    return scratch


def _missing(client: object, methods: tuple[str, ...]) -> list[str]:
    return [method for method in methods if not hasattr(client, method)]


def _too_little(missing: list[str], instead: str) -> RequestError:
    return RequestError(
        f"This S3 client has no {', '.join(missing)}.",
        next_step=f"Pass a client of boto3, or one that has {instead} for small objects.",
        missing=missing,
    )
