"""The metrics that alarms watch: the service's own and those that AWS reports of it."""

from __future__ import annotations

from telemetry.catalog.parts import OPERATION_DIMENSION
from telemetry.watch.types import Severity, Signal

FUNCTION = "{function_name}"
NOTHING_RAN = "no run, no value: nothing happened, so nothing is wrong"
NO_COUNT = "a count that nobody reported is zero"


def ours(operation: str, metric: str, statistic: str = "Sum", name: str = "m1", **dimensions: str) -> Signal:
    """Return a metric of a row, as a whole or of one value of a dimension."""
    return Signal(name, metric, ((OPERATION_DIMENSION, operation), *dimensions.items()), statistic)


def of_lambda(metric: str, name: str = "m1", statistic: str = "Sum") -> Signal:
    return Signal(name, metric, (("FunctionName", FUNCTION),), statistic, "AWS/Lambda")


def of_dead_letters(metric: str) -> Signal:
    return Signal("m1", metric, (("QueueName", f"{FUNCTION}-dead-letters"),), "Maximum", "AWS/SQS")


def of_logs(metric: str, name: str) -> Signal:
    return Signal(name, metric, (("LogGroupName", f"/aws/lambda/{FUNCTION}"),), "Sum", "AWS/Logs")


def of_api(metric: str, statistic: str = "Sum", name: str = "m1") -> Signal:
    return Signal(name, metric, (("ApiName", FUNCTION), ("Stage", "{stage}")), statistic, "AWS/ApiGateway")


def of_topics(metric: str) -> tuple[Signal, ...]:
    """Return a metric of the topics of both severities."""
    return tuple(
        Signal(f"{severity}s", metric, (("TopicName", f"{FUNCTION}-{severity}"),), "Sum", "AWS/SNS")
        for severity in Severity
    )


def of_machines(*metrics: str) -> tuple[Signal, ...]:
    """Return metrics of both state machines."""
    machine = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:" + FUNCTION
    return tuple(
        Signal(f"m{number}{mark[1:]}", metric, (("StateMachineArn", machine + mark),), "Sum", "AWS/States")
        for number, metric in enumerate(metrics, 1)
        for mark in ("", "-many")
    )
