"""Names of span attributes: OpenTelemetry's semantic conventions where they have one, our own prefix elsewhere.

The conventions still rename things (https://opentelemetry.io/docs/specs/semconv/), so no other module spells them.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OWN_PREFIX = "packager."

ERROR_TYPE = "error.type"
OUTCOME = OWN_PREFIX + "outcome"
FIGURES = OWN_PREFIX + "figures."
NEXT_STEP = OWN_PREFIX + "next_step"

CONVENTIONS = {
    "account_id": "cloud.account.id",
    "bucket": "aws.s3.bucket",
    "cold_start": "faas.coldstart",
    "function": "faas.invoked_name",
    "function_version": "faas.version",
    "key": "aws.s3.key",
    "log_stream": "aws.log.stream.names",
    "request_id": "faas.invocation_id",
    "table": "db.collection.name",
    "trigger": "faas.trigger",
}
"""Our field to the attribute of the semantic conventions."""

TRIGGERS = {"api": "http", "event": "pubsub", "direct": "other"}
"""Our triggers to those that `faas.trigger` may have."""

_FORMS: dict[str, Callable[[object], object]] = {
    "cold_start": bool,
    "log_stream": lambda value: [str(value)],
    "trigger": lambda value: TRIGGERS.get(str(value), "other"),
}
"""The forms that the conventions ask for where they are not ours."""

_LARGEST_INTEGER = 2**63 - 1
"""OTLP has 64 bits for an integer; a larger one makes the whole batch impossible to encode."""


@functools.cache
def attribute(field: str) -> str:
    """Return the span attribute for a field of the catalog."""
    return CONVENTIONS.get(field) or OWN_PREFIX + field


def attribute_value(field: str, value: object) -> object:
    """Return a plain value in the form that the conventions ask for."""
    return _FORMS[field](value) if field in _FORMS else scalar(value)


def scalar(value: object) -> object:
    """Return a plain value as one of the scalars of OTLP; what is none as JSON."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return float(value)
    return json.dumps(value) if isinstance(value, (dict, list)) else value
