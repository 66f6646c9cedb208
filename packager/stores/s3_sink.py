"""A bucket that components are written to: what lies there already, and what dead runs left."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from packager.aws_errors import code_of
from packager.core.ports import KEYS_BEGIN_WITH, StoredComponent
from packager.errors import PackagerError
from packager.stores.leftovers import remove_leftovers
from packager.stores.s3_calls import Calls, required
from packager.stores.s3_copy import PartCopies
from packager.stores.s3_multipart import part_size_bytes
from packager.stores.s3_object import ObjectHead, ObjectName, is_absent_or_hidden
from packager.stores.s3_upload import KEPT_IDENTITY, KEPT_SHA256, S3Upload, is_what_was_written
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef

    from packager.core.ports import Source, Upload

_SWEEP_S = 10.0
"""What looking for leftovers may take: it is worth no more than that when S3 is silent."""

_RECORDS_BEGIN_WITH = "model_artifacts/sha256/"
_COMPONENTS_BEGIN_WITH = "model_artifacts/"
_RECORD_BYTES = 4096


class S3Sink:
    """A bucket with an optional prefix. Memory of one upload: three parts.

    The SHA-256 of a component in parts is known when its metadata can no longer be set, and nothing is written to a key
    whose component is complete: some servers take a request for tags or metadata as a new object. So it lies in an
    object of its own, a record that names the ETag it speaks of. Written last, it leaves nothing behind when the
    process dies; without it the component is packaged again.
    """

    def __init__(
        self, bucket: str, prefix: str, calls: Calls, *, part_bytes: Callable[[int], int] = part_size_bytes
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._calls = calls
        self._part_bytes = part_bytes

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def find(self, key: str) -> StoredComponent | None:
        name = self._name(key)
        head = self._head(name)
        identity = head.metadata.get(KEPT_IDENTITY) if head else None
        if head is None or identity is None or not is_what_was_written(head):
            return None
        sha256 = head.metadata.get(KEPT_SHA256) or self._recorded_sha256(key, head) or self._tagged_sha256(name)
        return StoredComponent(name.uri, head.size_bytes, identity, sha256) if sha256 else None

    def sweep(self, older_than_s: float) -> int:
        """One request, more only when something is found; without the right to list or abort, nothing."""
        try:
            listed = self._calls.make(
                "ListMultipartUploads",
                self.uri,
                lambda: self._calls.client.list_multipart_uploads(
                    Bucket=self._bucket, Prefix=f"{self._prefix}{KEYS_BEGIN_WITH}", **self._calls.options.writing()
                ),
                longest_s=_SWEEP_S,
            )
            dead_before = datetime.now(UTC) - timedelta(seconds=older_than_s)
            dead = [each for each in listed.get("Uploads", []) if each["Initiated"] <= dead_before]
        except Exception as error:  # noqa: BLE001  as promised: a lifecycle rule does it as well
            log("debug", "abandoned uploads were not listed", cause=code_of(error), bucket=self._bucket)
            return 0
        return remove_leftovers(dead, self._abort)

    @contextmanager
    def open(self, key: Callable[[], tuple[str, str]], source: Source | None = None) -> Iterator[Upload]:
        keys: list[str] = []

        def destination() -> tuple[ObjectName, str]:
            below, identity = key()
            keys.append(below)
            return self._name(below), identity

        with observe(
            catalog.WRITE_COMPONENT, store="s3", bucket=self._bucket, retries=0, throttles=0, aborted=0, left_behind=0
        ) as step:
            upload = S3Upload(
                self._calls,
                destination,
                self._part_bytes,
                lambda head, stored: self._record(keys[0], head, stored),
                PartCopies.between(source, self._calls, self._bucket),
            )
            try:
                yield upload
            except BaseException as error:
                failure = upload.give_up()
                step.add(aborted=int(failure is None), left_behind=int(failure is not None))
                if failure is not None:
                    error.add_note(f"The upload was not removed: {failure}")
                raise
            else:
                if (failure := upload.give_up()) is not None:
                    step.add(left_behind=1)
                    raise failure
            finally:
                step.add(**upload.figures())

    def _name(self, key: str) -> ObjectName:
        return ObjectName(self._bucket, self._prefix + key)

    def _record_name(self, key: str) -> ObjectName:
        return self._name(f"{_RECORDS_BEGIN_WITH}{key.removeprefix(_COMPONENTS_BEGIN_WITH)}.json")

    def _abort(self, upload: MultipartUploadTypeDef) -> int:
        self._calls.make(
            "AbortMultipartUpload",
            self._name(upload["Key"]).uri,
            lambda: self._calls.client.abort_multipart_upload(
                Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"], **self._calls.options.writing()
            ),
            longest_s=_SWEEP_S,
        )
        return 0  # S3 does not say how much that was

    def _head(self, name: ObjectName) -> ObjectHead | None:
        """What lies there; None when that is nothing, or hidden: writing will tell which it was."""
        try:
            answer = self._calls.make(
                "HeadObject",
                name.uri,
                lambda: self._calls.client.head_object(**name.parameters(), **self._calls.options.writing()),
                unchanged=is_absent_or_hidden,
            )
        except PackagerError:
            raise
        except Exception as error:
            if is_absent_or_hidden(error):
                return None
            raise
        return ObjectHead.of(answer, name.uri)

    def _record(self, key: str, head: ObjectHead, stored: StoredComponent) -> None:
        """Keep the SHA-256 of a component. Where that is not allowed it stays unfound, and a warning says so."""
        name = self._record_name(key)
        kept = {"etag": head.etag, "size_bytes": head.size_bytes, "identity": stored.identity, "sha256": stored.sha256}
        creating = {name: value for name, value in self._calls.options.creating().items() if name != "StorageClass"}
        try:
            self._calls.make(
                "PutObject",
                name.uri,
                lambda: self._calls.client.put_object(
                    **name.parameters(),
                    Body=json.dumps(kept).encode(),
                    ContentType="application/json",
                    **self._calls.options.writing(),
                    **creating,
                ),
                reserve_s=0.0,
            )
        except PackagerError as error:
            log(
                "warning",
                "SHA-256 not kept",
                error_type=type(error).__name__,
                error=error.message,
                figures=error.figures,
                next_step=f"Allow s3:PutObject on {name.uri}; without it the component is packaged again each time.",
            )

    def _recorded_sha256(self, key: str, head: ObjectHead) -> str | None:
        try:
            kept = json.loads(self._read(self._record_name(key)))
            spoken_of = (kept["etag"], kept["size_bytes"], kept["identity"])
            sha256 = kept["sha256"]
        except (PackagerError, ValueError, LookupError, TypeError, RecursionError):
            return None
        same = spoken_of == (head.etag, head.size_bytes, head.metadata.get(KEPT_IDENTITY))
        return sha256 if same and isinstance(sha256, str) else None

    def _read(self, name: ObjectName) -> bytes:
        def read() -> bytes:
            answer = self._calls.client.get_object(**name.parameters(), **self._calls.options.writing())
            with answer["Body"] as body:
                return bytes(body.read(_RECORD_BYTES))

        return self._calls.make("GetObject", name.uri, read)

    def _tagged_sha256(self, name: ObjectName) -> str | None:
        """Where components were tagged with it, before there were records."""

        def read() -> Any:  # noqa: ANN401  an answer
            return self._calls.client.get_object_tagging(**name.parameters(), **self._calls.options.writing())

        try:
            tags = required(
                self._calls.make("GetObjectTagging", name.uri, read), "TagSet", "GetObjectTagging", name.uri
            )
            return next((tag["Value"] for tag in tags if tag["Key"] == KEPT_SHA256), None)
        except (PackagerError, KeyError, TypeError):
            return None
