"""Stores: opens the artifact or the output that a URI names, in S3 or in the file system."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote

from packager.errors import RequestError, printable
from packager.stores.file import FileSource
from packager.stores.folder import FolderSink
from packager.stores.standard_streams import STREAM, StandardInput, StandardOutput

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.core.ports import Sink, Source
    from packager.settings import Settings
    from packager.stores.s3_options import S3Options
    from packager.stores.whole_file import Scratch

ACCEPTED = (
    "Accepted: s3://bucket/key, s3://bucket/key?versionId=..., file:///path, or a plain path; "
    "the ARN of an access point can stand for the bucket."
)
ACCEPTED_OUTPUT = (
    "Accepted: s3://bucket, s3://bucket/prefix/, file:///folder, or a plain path of a folder; "
    "the ARN of an access point can stand for the bucket."
)
_ACCEPTED_FOLDER = "Accepted: file:///folder, or a plain path of a folder."

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}"
_ACCESS_POINT = rf"arn:[a-z-]+:s3[a-z-]*:[a-z0-9-]*:\d*:(?:outpost[/:]{_NAME}[/:])?accesspoint[/:]{_NAME}"
_BUCKET = re.compile(rf"({_ACCESS_POINT}|{_NAME})(?:/|$)")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html"""

_VERSION = re.compile(r"\?versionId=([^?&=/#]+)$")


@dataclass(frozen=True, slots=True)
class Stores:
    """Opens what a URI names: `s3://`, `file:///` or a plain path. All methods raise RequestError for anything else.

    Attributes:
        client: the S3 client to use; without one, the process's own for `endpoint_url`.
        endpoint_url: address of an S3 service other than AWS.
        s3: what is asked of S3 beside the bytes; default: from the environment.
        scratch: where the files of a client that knows only whole files are staged.
        standard_input, standard_output: what `-` stands for; without them it is refused.
    """

    client: S3Client | None = None
    endpoint_url: str | None = None
    s3: S3Options | None = None
    scratch: Scratch | None = None
    standard_input: IO[bytes] | None = None
    standard_output: IO[bytes] | None = None

    def with_scratch(self, scratch: Scratch) -> Stores:
        """The same stores, with a place to stage whole files unless they have one."""
        return self if self.scratch else replace(self, scratch=scratch)

    def source(self, uri: str) -> Source:
        """The artifact at `uri`, an object or a file; nothing is read yet. With `-` it is what is piped in."""
        if uri == STREAM and self.standard_input is not None:
            return StandardInput(self.standard_input)
        path = _local_path(uri, ACCEPTED)
        if path is not None:
            return FileSource(path)
        bucket, rest = _bucket_and_rest(uri, ACCEPTED)
        key, version = _key_and_version(rest)
        if not key or key.endswith("/"):
            raise _refused(uri, "it names no object", ACCEPTED)
        from packager.stores import s3  # noqa: PLC0415  boto3 is loaded only where S3 is used

        name = s3.ObjectName(bucket, key, version)
        return s3.source(name, s3.calls(self.client, self.endpoint_url, self.s3), self.scratch)

    def model(self, uri: str, settings: Settings) -> Source:
        """The model at `uri`: a file, a folder, an object, or every object below a prefix that ends in a slash."""
        path = _local_path(uri, ACCEPTED)
        if uri == STREAM:
            if self.standard_input is None:
                raise _refused(uri, "there is no standard input here", "Write it to a file first, and name that.")
            return self.source(uri)
        if path is not None and path.is_dir():
            from packager.stores.collection import local_folder  # noqa: PLC0415  a file needs none of it

            return local_folder(path, settings.max_members)
        if path is not None:
            return FileSource(path)
        bucket, key = _bucket_and_rest(uri, ACCEPTED)
        if not key.endswith("/"):
            return self.source(uri)
        from packager.stores import s3  # noqa: PLC0415  boto3 is loaded only where S3 is used

        return s3.prefix(bucket, key, s3.calls(self.client, self.endpoint_url, self.s3), settings.max_members)

    def sink(self, uri: str) -> Sink:
        """The output at `uri`, a bucket with an optional prefix or a folder; nothing is made yet."""
        path = _local_path(uri, ACCEPTED_OUTPUT)
        if uri == STREAM and self.standard_output is not None:
            return StandardOutput(self.standard_output)
        _check_output(uri, path, ACCEPTED_OUTPUT)
        if path is not None:
            return FolderSink(path)
        bucket, prefix = _bucket_and_rest(uri, ACCEPTED_OUTPUT)
        if not {".", ".."}.isdisjoint(prefix.split("/")):
            raise _refused(uri, "a prefix of S3 climbs nowhere: '.' and '..' are no part of a key", ACCEPTED_OUTPUT)
        from packager.stores import s3  # noqa: PLC0415  same

        return s3.sink(bucket, prefix.strip("/"), s3.calls(self.client, self.endpoint_url, self.s3), self.scratch)

    def check_bucket(self, uri: str) -> None:
        """StoreError, ArtifactNotFoundError above all, when the bucket of an output cannot be reached."""
        bucket, _ = _bucket_and_rest(uri, ACCEPTED_OUTPUT)
        from packager.stores import s3  # noqa: PLC0415  boto3 is loaded only where S3 is used

        s3.check_bucket(bucket, s3.calls(self.client, self.endpoint_url, self.s3))


def path_within(uri: str, folder: str) -> str | None:
    """The path of `uri` below a folder, or below a prefix that ends in a slash; None where it lies elsewhere."""
    path, root = _local_path(uri, ACCEPTED_OUTPUT), _local_path(folder, ACCEPTED)
    if path is not None and root is not None:
        path, root = path.resolve(), root.resolve()
        return path.relative_to(root).as_posix() if root.is_dir() and path.is_relative_to(root) else None
    if path is not None or root is not None or not folder.endswith("/"):
        return None
    whole = f"{uri.rstrip('/')}/"
    return whole.removeprefix(folder).rstrip("/") if whole.startswith(folder) else None


def output_folder(uri: str) -> Path:
    """The local folder that `uri` names as an output, which need not be there; RequestError for anything else."""
    path = _local_path(uri, _ACCEPTED_FOLDER)
    if path is None:
        raise _refused(uri, "this output is a folder of the file system", _ACCEPTED_FOLDER)
    _check_output(uri, path, _ACCEPTED_FOLDER)
    return path


def _check_output(uri: str, path: Path | None, accepted: str) -> None:
    if uri == STREAM or (uri.lower().endswith(".zip") and not (path and path.is_dir())):
        raise _refused(uri, "components get names of their own below a folder or a prefix", accepted)
    if path is not None and path.exists() and not path.is_dir():
        raise _refused(uri, "it is a file that is there already, and no folder", accepted)


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
    """The bucket, or the ARN of an access point, in which a slash is as good as a colon; and what follows it."""
    whole = uri.removeprefix("s3://")
    bucket = _BUCKET.match(whole)
    if bucket is None or ".." in bucket[1] or bucket[1][-1] in ".-":
        raise _refused(uri, f"{printable(whole.partition('/')[0])!r} is no name of a bucket", accepted)
    return bucket[1], whole[bucket.end() :]


def _key_and_version(rest: str) -> tuple[str, str]:
    """A key may hold question marks; only `?versionId=` at its end asks for a version."""
    version = _VERSION.search(rest)
    return (rest[: version.start()], version[1]) if version else (rest, "")


def _refused(uri: object, why: str, accepted: str) -> RequestError:
    return RequestError(f"Cannot use {printable(uri)!r}: {why}.", next_step=accepted, uri=printable(uri))
