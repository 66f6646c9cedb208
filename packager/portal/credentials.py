"""S3 clients for use cases: with the credentials of a role in their account, or the function's own."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from packager.errors import RequestError
from packager.portal.aws import call_aws, client, map_aws_errors, new_client
from packager.stores.s3_client import client_for
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_s3 import S3Client

    from packager.portal.users import User

LIFETIME_S = 3600
"""Lifetime of assumed credentials: longer than any function runs."""

_LONGEST_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^\w+=,.@-]", re.ASCII)


@contextmanager
def usecase_s3(usecase: Mapping[str, Any], user: User) -> Iterator[S3Client | None]:
    """The S3 client for the use case's bucket, closed after the block; None stands for the process's own client.

    The role is assumed when the use case has an `account_id` and a `cross_account_role_arn` that holds `:role/`.
    Errors: AwsRefusedError when it cannot be assumed; RequestError for a field that is no text.
    """
    role, account, region = (_optional(usecase, name) for name in ("cross_account_role_arn", "account_id", "region"))
    if role and ":role/" in role and account:
        keys = _assumed(role, account, _optional(usecase, "external_id"), user)
    elif region and region != client_for(None).meta.region_name:
        keys = {}
    else:
        yield None
        return
    own: S3Client = new_client(
        "s3", region_name=region or client_for(None).meta.region_name, config=client_for(None).meta.config, **keys
    )
    try:
        yield own
    finally:
        own.close()


def session_name(user: User, epoch_s: int) -> str:
    """Name of the session in the other account's log; characters that AWS does not accept become a dash."""
    return _NOT_IN_NAMES.sub("-", f"pkg-{user.id[:20]}-{epoch_s}")[:_LONGEST_NAME]


def _assumed(role: str, account: str, external_id: str | None, user: User) -> dict[str, str]:
    name = session_name(user, int(time.time()))
    parameters = {"RoleArn": role, "RoleSessionName": name, "DurationSeconds": LIFETIME_S}
    if external_id:
        parameters["ExternalId"] = external_id
    with observe(catalog.ASSUME_ROLE, account_id=account), map_aws_errors("STS AssumeRole"):
        assumed = call_aws(client("sts").assume_role, **parameters)["Credentials"]
    return {
        "aws_access_key_id": assumed["AccessKeyId"],
        "aws_secret_access_key": assumed["SecretAccessKey"],
        "aws_session_token": assumed["SessionToken"],
    }


def _optional(usecase: Mapping[str, Any], name: str) -> str | None:
    value = usecase.get(name)
    if value is not None and not isinstance(value, str):
        raise RequestError(
            f"{name} of the use case is no text.", next_step="Correct its record.", field=f"usecase.{name}"
        )
    return value or None
