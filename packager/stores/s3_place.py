"""One key of a bucket, where a component lies or will lie, and what is kept of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from packager.aws_errors import code_of
from packager.core.ports import StoredComponent
from packager.deadline import COMMIT_RESERVE_S, call_with_deadline
from packager.errors import PackagerError
from packager.stores.s3_client import ATTEMPTS, count, pause_s, with_retries
from packager.stores.s3_errors import ABSENT, DENIED, can_be_sent_again, map_s3_errors
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, TaggingTypeDef

KEPT_IDENTITY = "edge-model-packager-identity"
"""Metadata of the object."""

KEPT_SHA256 = "edge-model-packager-sha256"
"""Metadata of a small object. A large one's is known when metadata can no longer be set, and is a tag."""


class Place:
    """A bucket and a key."""

    def __init__(self, client: S3Client, bucket: str, key: str) -> None:
        self.client = client
        self.bucket = bucket
        self.key = key
        self.uri = f"s3://{bucket}/{key}"

    def find(self) -> StoredComponent | None:
        """What lies here, or None when that is nothing, or its identity or SHA-256 is not known."""
        head = self._look()
        identity = head["Metadata"].get(KEPT_IDENTITY) if head else None
        if head is None or identity is None:
            return None
        sha256 = head["Metadata"].get(KEPT_SHA256) or self._tagged_sha256()
        return StoredComponent(self.uri, head["ContentLength"], identity, sha256) if sha256 else None

    def settle(self, make_visible: Callable[[], object], operation: str, identity: str, size_bytes: int) -> bool:
        """Call `make_visible` until the component is here. False when that was seen here, not answered to the call.

        An answer can be lost after the work was done, and one that says 200 can hold an error: so after every failure
        the first thing is to look.
        """
        with map_s3_errors(operation, self.uri):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    call_with_deadline(make_visible, COMMIT_RESERVE_S)
                except Exception as error:
                    if self._holds(identity, size_bytes):
                        return False
                    if attempt == ATTEMPTS or not can_be_sent_again(error):
                        raise
                else:
                    break
                count(retries=1)
                time.sleep(pause_s(attempt))
        return True

    def keep_sha256(self, sha256: str) -> None:
        """Tag the object. Where that is not allowed the component stays, is not found again, and a warning says so."""
        tags: TaggingTypeDef = {"TagSet": [{"Key": KEPT_SHA256, "Value": sha256}]}
        try:
            with map_s3_errors("PutObjectTagging", self.uri):
                with_retries(
                    lambda: self.client.put_object_tagging(Bucket=self.bucket, Key=self.key, Tagging=tags),
                    threading.Event(),
                    reserve_s=0.0,
                )
        except PackagerError as error:
            log(
                "warning",
                "SHA-256 not kept",
                error_type=type(error).__name__,
                error=error.message,
                figures=error.figures,
                next_step="Allow s3:PutObjectTagging; without the tag this component is packaged again each time.",
            )

    def _look(self) -> HeadObjectOutputTypeDef | None:
        with map_s3_errors("HeadObject", self.uri):
            try:
                return with_retries(
                    lambda: self.client.head_object(Bucket=self.bucket, Key=self.key), threading.Event()
                )
            except Exception as error:
                # Without s3:ListBucket S3 answers 403 for what is not there. Writing will tell which it was.
                if code_of(error) in ABSENT | DENIED:
                    return None
                raise

    def _holds(self, identity: str, size_bytes: int) -> bool:
        try:
            head = self._look()
        except PackagerError:
            return False
        return head is not None and (head["Metadata"].get(KEPT_IDENTITY), head["ContentLength"]) == (
            identity,
            size_bytes,
        )

    def _tagged_sha256(self) -> str | None:
        try:
            with map_s3_errors("GetObjectTagging", self.uri):
                answer = with_retries(
                    lambda: self.client.get_object_tagging(Bucket=self.bucket, Key=self.key), threading.Event()
                )
        except PackagerError:
            return None
        return next((tag["Value"] for tag in answer["TagSet"] if tag["Key"] == KEPT_SHA256), None)
