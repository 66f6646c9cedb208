"""The portal's DynamoDB tables: consistent reads, and conditional writes that lose no concurrent update."""

from __future__ import annotations

import re
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeVar

from packager.aws_errors import code_of
from packager.deadline import time_left_s
from packager.portal.aws import AwsRefusedError, call_aws, client, map_aws_errors
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from packager.portal.settings import PortalSettings

T = TypeVar("T")
Record = dict[str, Any]

ATTEMPTS = 25
"""How often a conditional write is tried; each conflict means that another write succeeded."""

_LONGEST_PAUSE_S = 1.0


class ConflictError(Exception):
    """A conditional write failed: the record was changed meanwhile."""


class Records:
    """Reads and writes items of the tables training_jobs, usecases, user_roles and audit_log.

    Errors: AwsRefusedError; SettingsError when a table that is needed has no name.
    """

    def __init__(self, settings: PortalSettings) -> None:
        self._settings = settings

    def get(self, table: str, key: Mapping[str, str]) -> Record | None:
        """The record, read consistently, or None."""
        with observe(catalog.READ_RECORD, table=table), map_aws_errors(f"DynamoDB GetItem ({table})"):
            answer = call_aws(
                client("dynamodb").get_item,
                TableName=self._settings.table(table),
                Key=_stored(key),
                ConsistentRead=True,
            )
        return _loaded(answer["Item"]) if "Item" in answer else None

    def pages(self, table: str, **parameters: Any) -> Iterator[list[Record]]:  # noqa: ANN401  of a scan or a query
        """The records of a scan, or of a query when the parameters name an index, page by page."""
        operation = "Query" if "IndexName" in parameters else "Scan"
        if "ExpressionAttributeValues" in parameters:
            parameters["ExpressionAttributeValues"] = _stored(parameters["ExpressionAttributeValues"])
        last: dict[str, Any] = {}
        while True:
            with observe(catalog.READ_RECORD, table=table), map_aws_errors(f"DynamoDB {operation} ({table})"):
                method = client("dynamodb").query if operation == "Query" else client("dynamodb").scan
                answer = call_aws(method, TableName=self._settings.table(table), **parameters, **last)
            yield [_loaded(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            last = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def update(self, table: str, key: Mapping[str, str], expression: str, condition: str, **values: Any) -> Record:  # noqa: ANN401  anything a record holds
        """Update a record that exists and meets the condition; the whole record afterwards.

        A value `x` stands in the expressions as `:x`, and every name as `#name`. ConflictError when the condition does
        not hold.
        """
        names = {f"#{name}": name for name in re.findall(r"#(\w+)", f"{expression} {condition}")}
        with map_aws_errors(f"DynamoDB UpdateItem ({table})"):
            try:
                answer = call_aws(
                    client("dynamodb").update_item,
                    TableName=self._settings.table(table),
                    Key=_stored(key),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=_stored({f":{name}": value for name, value in values.items()}),
                    ReturnValues="ALL_NEW",
                )
            except Exception as error:
                if code_of(error) == "ConditionalCheckFailedException":
                    raise ConflictError from None
                raise
        return _loaded(answer["Attributes"])

    def delete(self, table: str, key: Mapping[str, str]) -> None:
        """Remove a record; nothing when there is none."""
        with map_aws_errors(f"DynamoDB DeleteItem ({table})"):
            call_aws(client("dynamodb").delete_item, TableName=self._settings.table(table), Key=_stored(key))

    def put_new(self, table: str, record: Record, key: str) -> None:
        """Write a new record; ConflictError when there is one with the same `key`."""
        with map_aws_errors(f"DynamoDB PutItem ({table})"):
            try:
                call_aws(
                    client("dynamodb").put_item,
                    TableName=self._settings.table(table),
                    Item=_stored(record),
                    ConditionExpression="attribute_not_exists(#key)",
                    ExpressionAttributeNames={"#key": key},
                )
            except Exception as error:
                if code_of(error) == "ConditionalCheckFailedException":
                    raise ConflictError from None
                raise


def retry_on_conflict(table: str, write: Callable[[], T]) -> T:
    """What `write` returns; it is called again, and has to read again, after each ConflictError and a growing pause.

    AwsRefusedError after `ATTEMPTS` conflicts.
    """
    with observe(catalog.UPDATE_RECORD, table=table, conflicts=0) as step:
        for attempt in range(ATTEMPTS):
            try:
                return write()
            except ConflictError:
                step.add(conflicts=1)
                pause_s = max(0.0, min(_LONGEST_PAUSE_S, 0.01 * 2**attempt, time_left_s()))
                time.sleep(SystemRandom().uniform(0, pause_s))
        raise AwsRefusedError(
            f"A record of {table} was changed by others {ATTEMPTS} times in a row.",
            next_step="Send the request again; what was packaged is found again, not packaged twice.",
            operation="UpdateItem",
            code="ConditionalCheckFailedException",
        )


def now_ms() -> int:
    """The time as the portal's tables hold it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _stored(record: Mapping[str, Any]) -> dict[str, Any]:
    from boto3.dynamodb.types import TypeSerializer  # noqa: PLC0415  boto3 only where DynamoDB is called

    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in record.items()}


def _loaded(item: Mapping[str, Any]) -> Record:
    from boto3.dynamodb.types import TypeDeserializer  # noqa: PLC0415  same

    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}
