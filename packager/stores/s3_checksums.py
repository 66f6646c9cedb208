"""Checksums of uploads: sent along, held against what has arrived, left out for servers that refuse them."""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any, TypeVar

from packager.aws_errors import code_of
from packager.errors import StoreError
from packager.stores.s3_calls import Calls, required
from packager.stores.s3_client import is_aws
from packager.stores.s3_errors import CHECKSUM_REFUSED, BrokenTransferError
from packager.stores.s3_object import md5_of_etag
from packager.stores.s3_options import ALWAYS, NEVER
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_refusing: set[str] = set()
"""Endpoints that refused checksums in the life of this process."""
_remembering = threading.Lock()


def as_checksum(crc32: int) -> str:
    """A CRC-32 as S3 wants it: four bytes, big-endian, in base64."""
    return b64encode(crc32.to_bytes(4)).decode()


def without_where_refused(calls: Calls, call: Callable[[bool], T]) -> T:
    """What `call(True)`, a request with checksums, returns; `call(False)` for servers that refuse it for them."""
    endpoint = str(calls.client.meta.endpoint_url)
    if calls.options.checksums == NEVER or (calls.options.checksums != ALWAYS and endpoint in _refusing):
        return call(False)
    try:
        return call(True)
    except Exception as error:
        if calls.options.checksums == ALWAYS or is_aws(calls.client) or code_of(error) not in CHECKSUM_REFUSED:
            raise
        code = code_of(error)
    answer = call(False)
    _remember(endpoint, code)
    return answer


def _remember(endpoint: str, code: str) -> None:
    with _remembering:
        if endpoint in _refusing:  # another part was refused as well
            return
        _refusing.add(endpoint)
    log(
        "warning",
        "checksums refused",
        endpoint=endpoint,
        code=code,
        next_step="Nothing: uploads to this server go without. S3_CHECKSUMS=never asks for none from the start.",
    )


class Arrival:
    """Whether the bytes of one request have arrived as they were sent, however often it is made.

    AWS verifies the CRC-32. Other servers may send it back unread, so their ETag is held against the MD5.
    """

    def __init__(self, calls: Calls, body: bytearray, checksum: str, operation: str, uri: str) -> None:
        self._calls = calls
        self._body = body
        self.checksum = checksum
        self._operation = operation
        self._uri = uri
        self._wrong: set[str] = set()

    @property
    def was_wrong(self) -> bool:
        """Whether other bytes have arrived before."""
        return bool(self._wrong)

    def etag(self, answer: Mapping[str, Any]) -> str:
        """The answer's ETag. BrokenTransferError when other bytes arrived; StoreError when the same ones did before."""
        etag: str = required(answer, "ETag", self._operation, self._uri)
        arrived = answer.get("ChecksumCRC32") or self.checksum
        if arrived != self.checksum:
            raise self._other(f"bytes with CRC-32 {self.checksum} were sent, others ({arrived}) have arrived")
        md5 = None if is_aws(self._calls.client) else md5_of_etag(etag, answer.get("ServerSideEncryption", ""))
        if md5 is not None and (sent := md5_of(self._body)) != md5:
            raise self._other(f"bytes with MD5 {sent} were sent, others ({md5}) have arrived")
        return etag

    def _other(self, what: str) -> Exception:
        """One that lets the request be made again, unless the same wrong bytes arrived before: that is no accident."""
        if what not in self._wrong:
            self._wrong.add(what)
            return BrokenTransferError(what)
        return StoreError(
            f"S3 {self._operation} of {self._uri}, made twice: {what}.",
            next_step="The server, or something on the way to it, changes bytes or their ETag; go around it.",
            operation=self._operation,
            uri=self._uri,
            code="OtherBytes",
        )


def md5_of(body: bytearray) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
