"""The portal around the function for a drill, on this machine: tables, a role to assume, a function that publishes.

What is refused is refused in the words of AWS:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

TABLES = {
    "TRAINING_JOBS_TABLE": "training-jobs",
    "USECASES_TABLE": "usecases",
    "USER_ROLES_TABLE": "user-roles",
    "AUDIT_LOG_TABLE": "audit-log",
}
PUBLISHER = "publish"
_JSON = {"Content-Type": "application/x-amz-json-1.0"}
_LENT = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
    "<AccessKeyId>lent</AccessKeyId><SecretAccessKey>lent</SecretAccessKey><SessionToken>lent</SessionToken>"
    "<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
)
_DENIED = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>AccessDenied</Code><Message>not authorized to assume it</Message></Error></ErrorResponse>"
)

Answer = tuple[HTTPStatus, bytes, dict[str, str]]


@dataclass
class RefusingPortal:
    """One record in each table, in DynamoDB's JSON, and what is refused: `GetItem user-roles`, `AssumeRole`."""

    records: dict[str, dict[str, Any]]
    refused: frozenset[str] = frozenset()

    def answer(self, path: str, target: str, body: bytes) -> Answer:
        """Answer a call of DynamoDB, STS or Lambda."""
        if target:
            return self._of_dynamodb(target.rpartition(".")[2], json.loads(body))
        if path.endswith("/invocations"):
            return self._of_lambda()
        assert parse_qs(body.decode())["Action"] == ["AssumeRole"]  # noqa: S101  nothing else is asked of STS
        if "AssumeRole" in self.refused:
            return HTTPStatus.FORBIDDEN, _DENIED.encode(), {}
        return HTTPStatus.OK, _LENT.encode(), {}

    def _of_lambda(self) -> Answer:
        if "Invoke" in self.refused:
            denied = {"Message": "not authorized to invoke it"}
            return HTTPStatus.FORBIDDEN, json.dumps(denied).encode(), {"x-amzn-ErrorType": "AccessDeniedException"}
        return HTTPStatus.ACCEPTED, b"", {}

    def _of_dynamodb(self, operation: str, asked: dict[str, Any]) -> Answer:
        table = asked["TableName"]
        if f"{operation} {table}" in self.refused:
            denied = {
                "__type": "com.amazon.coral.service#AccessDeniedException",
                "Message": f"not allowed to {operation}",
            }
            return HTTPStatus.BAD_REQUEST, json.dumps(denied).encode(), _JSON
        record = self.records.setdefault(table, {})
        found: dict[str, Any] = {}
        if operation == "GetItem":
            found = {"Item": record}
        elif operation == "UpdateItem":
            names, values = asked["ExpressionAttributeNames"], asked["ExpressionAttributeValues"]
            for name, value in re.findall(r"(#\w+) = (:\w+)", asked["UpdateExpression"]):
                record[names[name]] = values[value]
            found = {"Attributes": record}
        return HTTPStatus.OK, json.dumps(found).encode(), _JSON


def job(bucket: str, trained: str, compiled: str) -> dict[str, dict[str, Any]]:
    """Return the records of one training job, its use case in another account, and a user who may package it."""
    compilation = {
        "target": {"S": "arm64-cpu"},
        "status": {"S": "COMPLETED"},
        "compilation_job_name": {"S": "drill-arm64-cpu"},
        "compiled_model_s3": {"S": f"s3://{bucket}/{compiled}"},
    }
    return {
        "training-jobs": {
            "training_id": {"S": "drill"},
            "usecase_id": {"S": "warehouse"},
            "model_name": {"S": "drill"},
            "model_type": {"S": "classification"},
            "source": {"S": "trained"},
            "artifact_s3": {"S": f"s3://{bucket}/{trained}"},
            "compilation_jobs": {"L": [{"M": compilation}]},
        },
        "usecases": {
            "usecase_id": {"S": "warehouse"},
            "account_id": {"S": "210987654321"},
            "s3_bucket": {"S": bucket},
            "cross_account_role_arn": {"S": "arn:aws:iam::210987654321:role/drill"},
        },
        "user-roles": {"user_id": {"S": "user"}, "usecase_id": {"S": "warehouse"}, "role": {"S": "DataScientist"}},
    }


def request() -> dict[str, Any]:
    """Return the request of a user through the API, which has the component published too."""
    return {
        "httpMethod": "POST",
        "resource": "/api/v1/training/{id}/package",
        "path": "/api/v1/training/drill/package",
        "pathParameters": {"id": "drill"},
        "body": json.dumps({"auto_triggered": True}),
        "requestContext": {"apiId": "drill", "authorizer": {"claims": {"sub": "user"}}},
    }
