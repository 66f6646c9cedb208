"""Retries and throttles of AWS calls, counted in the step that makes them."""

from __future__ import annotations

from typing import Any

from telemetry.engine.observing import current


def count_calls(client: Any) -> None:  # noqa: ANN401  any boto3 client; their types are made at run time
    """Count retries and throttles of a boto3 client in the step that makes the call, which must declare both fields."""
    client.meta.events.register("needs-retry.*.*", _count_call, unique_id="telemetry-count-calls")


THROTTLED = frozenset(
    (
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "BandwidthLimitExceeded",
        "ServiceUnavailable",
        "503",
        "429",
    )
)
"""Error codes by which AWS services say that they were asked too often."""


def _count_call(attempts: int = 1, response: Any = None, **_: object) -> None:  # noqa: ANN401  botocore's own shape
    step = current()
    if step is None:
        return
    told = response[1].get("Error") if response else None
    code = told.get("Code") if isinstance(told, dict) else None
    declared = step.row.fields
    if attempts > 1 and "retries" in declared:
        step.add(retries=1)
    if code in THROTTLED and "throttles" in declared:
        step.add(throttles=1)
