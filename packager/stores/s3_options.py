"""How S3 is asked: encryption, rights, checksums, time-outs; one frozen record, read from the environment."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from packager.settings import EnvironmentSettings, refused, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

ALWAYS, WHEN_SUPPORTED, NEVER = "always", "when_supported", "never"

_MOST_TAGS = 10


@dataclass(frozen=True, slots=True)
class S3Options(EnvironmentSettings):
    """What is asked of S3 beside the bytes. Empty text asks for nothing, and the bucket's own defaults hold.

    Times are seconds. Each field's metadata holds its environment variable and meaning.
    """

    checksums: str = setting(
        "S3_CHECKSUMS",
        WHEN_SUPPORTED,
        "Whether uploads carry CRC-32 checksums: always, when_supported (not where the server refuses them), never.",
        form=f"{ALWAYS}|{WHEN_SUPPORTED}|{NEVER}",
    )
    copy_parts: str = setting(
        "S3_COPY_PARTS",
        WHEN_SUPPORTED,
        "Whether S3 copies parts of components from artifacts: when_supported (not where it refuses), never.",
        form=f"{WHEN_SUPPORTED}|{NEVER}",
    )
    addressing_style: str = setting(
        "S3_ADDRESSING_STYLE",
        "auto",
        "Where the bucket stands in a request: path, virtual (host name), auto (path for servers other than AWS).",
        form="auto|path|virtual",
    )
    connect_timeout_s: int = setting("S3_CONNECT_TIMEOUT_S", 5, "Seconds to wait for a connection to S3.")
    read_timeout_s: int = setting("S3_READ_TIMEOUT_S", 20, "Seconds to wait for S3's next bytes on a connection.")
    give_up_s: int = setting("S3_GIVE_UP_S", 120, "Seconds without any answer of S3 after which the work fails.")
    encryption: str = setting(
        "S3_ENCRYPTION",
        "",
        "Encryption of what is written: AES256, aws:kms or aws:kms:dsse.",
        form="AES256|aws:kms(:dsse)?",
    )
    kms_key_id: str = setting("S3_KMS_KEY_ID", "", "KMS key (id or ARN) to encrypt with; empty: the account's own.")
    bucket_key: bool = setting("S3_BUCKET_KEY", False, "Whether S3 encrypts with a bucket key, which asks KMS less.")
    requester_pays: bool = setting("S3_REQUESTER_PAYS", False, "Whether the requester pays for requests and transfer.")
    acl: str = setting("S3_ACL", "", "Canned ACL of what is written, as bucket-owner-full-control.", form="[a-z-]+")
    storage_class: str = setting("S3_STORAGE_CLASS", "", "Storage class of components, as STANDARD_IA.", form="[A-Z_]+")
    tags: str = setting("S3_TAGS", "", "Tags of what is written, as team=vision&stage=prod; at most 10.")
    expected_bucket_owner: str = setting(
        "S3_EXPECTED_BUCKET_OWNER", "", "Account that must own the bucket that is written to.", form=r"\d{12}"
    )
    expected_source_owner: str = setting(
        "S3_EXPECTED_SOURCE_OWNER",
        "",
        "Account that must own the buckets that are read from.",
        form=r"\d{12}",
    )

    def __post_init__(self) -> None:
        EnvironmentSettings.__post_init__(self)
        by_name = {each.name: each for each in fields(self)}
        for name in ("kms_key_id", "bucket_key"):
            if getattr(self, name) and not self.encryption.startswith("aws:kms"):
                raise refused(by_name[name], getattr(self, name), "left out without S3_ENCRYPTION=aws:kms")
        if self.tags and not _are_tags(self.tags):
            raise refused(by_name["tags"], self.tags, f"of the form team=vision&stage=prod, at most {_MOST_TAGS}")

    def reading(self) -> dict[str, Any]:
        """Parameters of every request about an artifact."""
        return self._of_bucket(self.expected_source_owner)

    def writing(self) -> dict[str, Any]:
        """Parameters of every request about the output."""
        return self._of_bucket(self.expected_bucket_owner)

    def creating(self) -> dict[str, Any]:
        """Parameters, besides `writing()`, of the requests that make an object."""
        wanted = {
            "ServerSideEncryption": self.encryption,
            "SSEKMSKeyId": self.kms_key_id,
            "BucketKeyEnabled": self.bucket_key,
            "ACL": self.acl,
            "StorageClass": self.storage_class,
            "Tagging": self.tags,
        }
        return {name: value for name, value in wanted.items() if value}

    def _of_bucket(self, owner: str) -> dict[str, Any]:
        payer = {"RequestPayer": "requester"} if self.requester_pays else {}
        return {**payer, "ExpectedBucketOwner": owner} if owner else payer


OF_REQUESTS: Mapping[str, type[str | bool]] = {
    "encryption": str,
    "kms_key_id": str,
    "bucket_key": bool,
    "requester_pays": bool,
    "acl": str,
    "storage_class": str,
    "tags": str,
    "expected_bucket_owner": str,
    "expected_source_owner": str,
}
"""Fields that a request to the function may set; how long S3 is waited for is the deployment's."""


@cache
def from_process_environment() -> S3Options:
    """The process's options, checked once."""
    return S3Options.from_environment()


def _are_tags(text: str) -> bool:
    try:
        names = [name for name, _ in parse_qsl(text, keep_blank_values=True, strict_parsing=True)]
    except ValueError:
        return False
    return len(names) <= _MOST_TAGS and len(names) == len(set(names)) and all(names)
