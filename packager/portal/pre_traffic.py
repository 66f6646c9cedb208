"""What CodeDeploy asks before a new version gets traffic: the version probes itself, and a failure keeps it out.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from packager.portal.aws import new_client
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "NEW_VERSION"
"""The environment variable with the ARN of the version to probe."""

_ANSWER_S = 240


def handler(event: Mapping[str, Any], _lambda_context: object = None) -> dict[str, str]:
    """Probe the new version and tell CodeDeploy what came of it; whatever goes wrong on the way is a failure too."""
    try:
        status = "Succeeded" if _probe(os.environ[VERSION]) else "Failed"
    except Exception as error:  # noqa: BLE001  CodeDeploy has to be told, or it waits for an hour
        log("error", "version not probed", error_type=type(error).__name__, next_step="Look at the function's logs.")
        status = "Failed"
    _client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )
    return {"status": status}


def _probe(version: str) -> bool:
    """Invoke a version with a probe, and return whether it proved itself."""
    answer = _client("lambda").invoke(FunctionName=version, Payload=b'{"probe": true}')
    told = json.loads(answer["Payload"].read() or b"null")
    passed = "FunctionError" not in answer and isinstance(told, dict) and told.get("statusCode") == 200  # noqa: PLR2004
    passed = passed and told.get("audited") is not False
    next_step = "It takes the traffic over." if passed else "Look at the probe's lines in the log of the function."
    log("info" if passed else "error", "version probed", version=version, passed=passed, next_step=next_step)
    return passed


def _client(service: str) -> Any:  # noqa: ANN401  boto3 makes its clients' types at run time
    """A client that waits for a whole probe, and asks once: a second invocation would be another probe."""
    from botocore.config import Config  # noqa: PLC0415  boto3 only where AWS is called

    attempts = 1 if service == "lambda" else 5
    return new_client(service, config=Config(read_timeout=_ANSWER_S, retries={"total_max_attempts": attempts}))
