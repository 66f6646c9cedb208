"""The objects below a prefix, as SageMaker writes models that it does not compress (CompressionType NONE)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from packager.core.tar import Entry
from packager.stores.collection import FileCollection, Listed
from packager.stores.s3_calls import malformed, required
from packager.stores.s3_object import ObjectName
from packager.stores.s3_source import S3Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.stores.s3_calls import Calls

_OPERATION = "ListObjectsV2"


def s3_prefix(bucket: str, prefix: str, calls: Calls, max_members: int) -> FileCollection:
    """The objects whose keys begin with `prefix`, which ends in a slash; each is read under the ETag of the listing.

    A key that ends in a slash and holds nothing is a folder, as the console makes them.
    """
    uri = f"s3://{bucket}/{prefix}"
    return FileCollection(
        uri, lambda: _objects(bucket, prefix, calls, uri), max_members=max_members, identity_is_at_hand=True
    )


def _objects(bucket: str, prefix: str, calls: Calls, uri: str) -> Iterator[Listed]:
    token = ""
    while True:
        page = calls.make(_OPERATION, uri, partial(_page, bucket, prefix, calls, token))
        for each in page.get("Contents", ()):
            yield _listed(bucket, prefix, each, calls, uri)
        if not page.get("IsTruncated"):
            return
        before, token = token, required(page, "NextContinuationToken", _OPERATION, uri)
        if token == before:
            raise malformed("its NextContinuationToken leads to the same page again", _OPERATION, uri)


def _page(bucket: str, prefix: str, calls: Calls, token: str) -> Any:  # noqa: ANN401  as S3 says
    following: dict[str, Any] = {"ContinuationToken": token} if token else {}
    return calls.client.list_objects_v2(Bucket=bucket, Prefix=prefix, **following, **calls.options.reading())


def _listed(bucket: str, prefix: str, found: Any, calls: Calls, uri: str) -> Listed:  # noqa: ANN401  as S3 says
    key = required(found, "Key", _OPERATION, uri)
    size_bytes = found.get("Size")
    if not key.startswith(prefix) or not isinstance(size_bytes, int) or size_bytes < 0:
        raise malformed("it lists an object that is not below the prefix, or has no size", _OPERATION, uri)
    name = key[len(prefix) :]
    if key.endswith("/") and not size_bytes:
        return Listed(Entry(name, 0, "directory"), None)
    etag = required(found, "ETag", _OPERATION, uri)
    source = S3Source.as_listed(ObjectName(bucket, key), calls, etag, size_bytes)
    return Listed(Entry(name, size_bytes, "file"), source)
