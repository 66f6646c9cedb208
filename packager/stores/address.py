"""From what a caller writes down to the store behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packager.errors import RequestError, printable
from packager.stores.file import FileSource
from packager.stores.folder import FolderSink

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.core.ports import Sink, Source

ACCEPTED = "Accepted: s3://bucket/key, file:///path, or a plain path."
ACCEPTED_OUTPUT = "Accepted: s3://bucket, s3://bucket/prefix/, file:///folder, or a plain path of a folder."

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}|arn:[^/]+(:[^/]+)*")


def open_source(uri: str, *, client: S3Client | None = None, endpoint_url: str | None = None) -> Source:
    """The artifact at `uri`; nothing is read yet. RequestError when it is no URI of ours.

    Args:
        uri: `s3://bucket/key`, `file:///path` or a plain path.
        client: the S3 client to use; without one, the process's own for `endpoint_url`.
        endpoint_url: where S3 is spoken, when that is not AWS.
    """
    path = _local_path(uri, ACCEPTED)
    if path is not None:
        return FileSource(path)
    bucket, key = _bucket_and_rest(uri, ACCEPTED)
    if not key or key.endswith("/"):
        raise _refused(uri, "it names no object", ACCEPTED)
    from packager.stores.s3 import source  # noqa: PLC0415  boto3 only where S3 is spoken

    return source(bucket, key, client=client, endpoint_url=endpoint_url)


def open_sink(uri: str, *, client: S3Client | None = None, endpoint_url: str | None = None) -> Sink:
    """The bucket with its prefix, or the folder, that `uri` names; nothing is made yet. Arguments as open_source."""
    path = _local_path(uri, ACCEPTED_OUTPUT)
    if path is not None:
        return FolderSink(path)
    bucket, prefix = _bucket_and_rest(uri, ACCEPTED_OUTPUT)
    from packager.stores.s3 import sink  # noqa: PLC0415  boto3 only where S3 is spoken

    return sink(bucket, prefix.strip("/"), client=client, endpoint_url=endpoint_url)


def _local_path(uri: str, accepted: str) -> Path | None:
    if not isinstance(uri, str) or not uri or "\0" in uri:
        raise _refused(uri, "it is no path and no URI", accepted)
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return Path(uri)
    if uri.startswith("s3://"):
        return None
    if not uri.startswith("file:///"):
        # Only the scheme is repeated: what follows may hold a password or a signature.
        raise _refused(f"{scheme[1]}:...", "this kind of URI is not spoken here", accepted)
    path = unquote(uri.removeprefix("file://"))
    if "\0" in path:
        raise _refused(uri, "it is no path", accepted)
    return Path(path)


def _bucket_and_rest(uri: str, accepted: str) -> tuple[str, str]:
    bucket, _, rest = uri.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _refused(uri, f"{printable(bucket)!r} is no name of a bucket", accepted)
    return bucket, rest


def _refused(uri: object, why: str, accepted: str) -> RequestError:
    return RequestError(f"Cannot use {printable(uri)!r}: {why}.", next_step=accepted, uri=printable(uri))
