"""Stores: opens the artifact or the output that a URI names, in S3 or in the file system."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packager.errors import RequestError, printable
from packager.stores.file import FileSource
from packager.stores.folder import FolderSink

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.core.ports import Sink, Source
    from packager.stores.whole_file import Scratch

ACCEPTED = "Accepted: s3://bucket/key, file:///path, or a plain path."
ACCEPTED_OUTPUT = "Accepted: s3://bucket, s3://bucket/prefix/, file:///folder, or a plain path of a folder."

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}|arn:[^/]+(:[^/]+)*")


@dataclass(frozen=True, slots=True)
class Stores:
    """Opens what a URI names: `s3://`, `file:///` or a plain path. Both methods raise RequestError for anything else.

    Attributes:
        client: the S3 client to use; without one, the process's own for `endpoint_url`.
        endpoint_url: address of an S3 service other than AWS.
        scratch: where the files of a client that knows only whole files are staged.
    """

    client: S3Client | None = None
    endpoint_url: str | None = None
    scratch: Scratch | None = None

    def with_scratch(self, scratch: Scratch) -> Stores:
        """The same stores, with a place to stage whole files unless they have one."""
        return self if self.scratch else replace(self, scratch=scratch)

    def source(self, uri: str) -> Source:
        """The artifact at `uri`, an object or a file; nothing is read yet."""
        path = _local_path(uri, ACCEPTED)
        if path is not None:
            return FileSource(path)
        bucket, key = _bucket_and_rest(uri, ACCEPTED)
        if not key or key.endswith("/"):
            raise _refused(uri, "it names no object", ACCEPTED)
        from packager.stores import s3  # noqa: PLC0415  boto3 is loaded only where S3 is used

        return s3.source(bucket, key, self.client or s3.client_for(self.endpoint_url), self.scratch)

    def sink(self, uri: str) -> Sink:
        """The output at `uri`, a bucket with an optional prefix or a folder; nothing is made yet."""
        path = _local_path(uri, ACCEPTED_OUTPUT)
        if path is not None:
            return FolderSink(path)
        bucket, prefix = _bucket_and_rest(uri, ACCEPTED_OUTPUT)
        from packager.stores import s3  # noqa: PLC0415  same

        return s3.sink(bucket, prefix.strip("/"), self.client or s3.client_for(self.endpoint_url), self.scratch)


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
