"""Names of span attributes: OpenTelemetry's semantic conventions where they have one, our own prefix elsewhere.

The conventions still rename things (https://opentelemetry.io/docs/specs/semconv/), so no other module spells them.
"""

from __future__ import annotations

OWN_PREFIX = "packager."

ERROR_TYPE = "error.type"
OUTCOME = OWN_PREFIX + "outcome"
FIGURES = OWN_PREFIX + "figures."
NEXT_STEP = OWN_PREFIX + "next_step"
OPERATION = OWN_PREFIX + "operation"
INCOMPLETE = OWN_PREFIX + "incomplete"

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


def attribute(field: str) -> str:
    """Return the span attribute for a field of the catalog."""
    return CONVENTIONS.get(field) or OWN_PREFIX + field


def attribute_value(field: str, value: object) -> object:
    """Return the value in the form that the conventions ask for."""
    if field == "trigger":
        return TRIGGERS.get(str(value), "other")
    if field == "cold_start":
        return bool(value)
    if field == "log_stream":
        return [str(value)]
    return value
