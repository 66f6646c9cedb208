"""The version of OpenTelemetry's semantic conventions that is followed, and the names that the engine itself writes.

Rows name the attributes of their fields; no other module spells one. https://opentelemetry.io/docs/specs/semconv/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

SERVICE_NAME, SERVICE_VERSION = "service.name", "service.version"
ERROR_TYPE = "error.type"
EXCEPTION, EXCEPTION_TYPE = "exception", "exception.type"
EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE = "exception.message", "exception.stacktrace"

CLOUD_PROVIDER, CLOUD_PLATFORM, CLOUD_REGION = "cloud.provider", "cloud.platform", "cloud.region"
CLOUD_ACCOUNT_ID, CLOUD_RESOURCE_ID = "cloud.account.id", "cloud.resource_id"
FAAS_NAME, FAAS_VERSION, FAAS_INSTANCE = "faas.name", "faas.version", "faas.instance"
FAAS_MAX_MEMORY = "faas.max_memory"
FAAS_COLDSTART, FAAS_INVOCATION_ID, FAAS_TRIGGER = "faas.coldstart", "faas.invocation_id", "faas.trigger"
FAAS_INVOKED_NAME, FAAS_INVOKED_PROVIDER = "faas.invoked_name", "faas.invoked_provider"
FAAS_INVOKED_REGION = "faas.invoked_region"
AWS_INVOKED_ARN = "aws.lambda.invoked_arn"
AWS_LOG_GROUP_NAMES, AWS_LOG_STREAM_NAMES = "aws.log.group.names", "aws.log.stream.names"

RPC_SYSTEM_NAME, RPC_METHOD = "rpc.system.name", "rpc.method"
SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"
HTTP_STATUS, HTTP_RESEND_COUNT = "http.response.status_code", "http.request.resend_count"
AWS_REQUEST_ID, AWS_EXTENDED_REQUEST_ID = "aws.request_id", "aws.extended_request_id"
S3_BUCKET, S3_KEY = "aws.s3.bucket", "aws.s3.key"
S3_UPLOAD_ID, S3_PART_NUMBER = "aws.s3.upload_id", "aws.s3.part_number"
DB_SYSTEM_NAME, DB_COLLECTION_NAME, DB_OPERATION_NAME = "db.system.name", "db.collection.name", "db.operation.name"
DYNAMODB_TABLE_NAMES = "aws.dynamodb.table_names"

OF_EVERY_CALL = (RPC_SYSTEM_NAME, RPC_METHOD, SERVER_ADDRESS, SERVER_PORT, CLOUD_REGION)
OF_SOME_CALLS = (
    *(HTTP_STATUS, HTTP_RESEND_COUNT, AWS_REQUEST_ID, AWS_EXTENDED_REQUEST_ID),
    *(S3_BUCKET, S3_KEY, S3_UPLOAD_ID, S3_PART_NUMBER),
    *(DB_SYSTEM_NAME, DB_COLLECTION_NAME, DB_OPERATION_NAME, DYNAMODB_TABLE_NAMES),
    *(FAAS_INVOKED_NAME, FAAS_INVOKED_PROVIDER, FAAS_INVOKED_REGION),
)
"""What a span of a call of AWS may say, besides `error.type`."""

ALL = frozenset(
    value for name, value in vars().items() if name.isupper() and isinstance(value, str) and "://" not in value
)
"""Every name here."""

FORMS: dict[str, Callable[[object], object]] = {
    FAAS_COLDSTART: bool,
    AWS_LOG_STREAM_NAMES: lambda value: [str(value)],
}
"""How a field's value is written where the conventions ask for another type."""
