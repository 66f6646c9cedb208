"""Tags of a finished component: some servers take those of an upload in parts, and forget them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from packager.aws_errors import code_of
from packager.stores.s3_client import is_aws
from telemetry import log

if TYPE_CHECKING:
    from packager.stores.s3_calls import Calls
    from packager.stores.s3_object import ObjectName


def warn_of_lost_tags(calls: Calls, name: ObjectName) -> None:
    """Warn when a server other than AWS says that the object has not the tags that were asked for.

    They are not set again: some servers take a request for tags as a new object. Who may not read tags hears nothing.
    """
    if not calls.options.tags or is_aws(calls.client) or not hasattr(calls.client, "get_object_tagging"):
        return
    wanted = dict(parse_qsl(calls.options.tags, keep_blank_values=True))
    try:
        answer = calls.make(
            "GetObjectTagging",
            name.uri,
            lambda: calls.client.get_object_tagging(**name.parameters(), **calls.options.writing()),
        )
        lost = wanted.items() - {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}.items()
    except Exception as error:  # noqa: BLE001  the component is whole, whatever becomes of this
        log("debug", "tags were not looked at", cause=code_of(error), uri=name.uri)
        return
    if lost:
        log(
            "warning",
            "tags not kept",
            uri=name.uri,
            tags=sorted(key for key, _ in lost),
            next_step="The server forgets the tags of an upload: set them on the object yourself, where it can, "
            "or leave S3_TAGS out.",
        )
