"""What the states of all machines are made of: calls of the function, and what becomes of their failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.settings import Deployment

States = dict[str, Any]
INVOKE = "arn:${Partition}:states:::lambda:invoke"
_GRACE_S = 30
"""How long after the function's own end an answer may still come."""

BACKOFF = {"IntervalSeconds": 2, "BackoffRate": 2.0, "JitterStrategy": "FULL", "MaxDelaySeconds": 300}
_THROTTLED = ["Lambda.TooManyRequestsException"]
TURNS = 200
"""How often what is throttled waits for its turn: some eight hours, with pauses of 150 s on average."""

_PASSING = [
    # https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    # Lambda killed the invocation, or its answer never came: a new environment has its memory and disk to itself.
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Runtime.OutOfMemory",
    "Sandbox.Timedout",
    "States.Timeout",
    # What can leave the function by Python's own name: connections and memory that were gone before any target began.
    "ConnectionError",
    "ConnectionResetError",
    "MemoryError",
    "TimeoutError",
]
"""Failures after which the same call can succeed; all others would fail the same way, and are recorded at once."""

UNREACHED = [
    "Lambda.AWSLambdaException",  # the role may not invoke the function, among others
    "Lambda.AccessDeniedException",
    "Lambda.ResourceNotFoundException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "States.Permissions",
]
"""Failures to reach the function at all, after all attempts: none of the targets can be at fault."""
NOT_INVOKED: States = {"Type": "Fail", "ErrorPath": "$.failure.Error", "CausePath": "$.failure.Cause"}


def invocation(deployment: Deployment, payload: str | States) -> States:
    """Return a task that invokes the function with a payload, or with what lies at a path."""
    return {
        "Type": "Task",
        "Resource": INVOKE,
        "Parameters": {
            "FunctionName": "${Function}",
            **({"Payload.$": payload} if isinstance(payload, str) else {"Payload": payload}),
        },
        # Lambda ends an invocation by itself; this is for the answer that never comes.
        "TimeoutSeconds": deployment.time_s + _GRACE_S,
        "Retry": [
            # Other executions hold the function's concurrency: there is no harm in waiting for a turn.
            {"ErrorEquals": _THROTTLED, "MaxAttempts": TURNS, **BACKOFF},
            {"ErrorEquals": _PASSING, "MaxAttempts": deployment.retries, **BACKOFF},
        ],
    }


def caught(path: str, then: str) -> list[States]:
    """Return the catchers of every failure; an answer too large for a state has to be named beside all the others."""
    return [
        {"ErrorEquals": [names], "ResultPath": path, "Next": then}
        for names in ("States.DataLimitExceeded", "States.ALL")
    ]
