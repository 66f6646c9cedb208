"""The states that go on with a request of the portal which takes longer than its API waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.tasks import NOT_INVOKED, States, caught, invocation

if TYPE_CHECKING:
    from infra.settings import Deployment

START = "BeginRequest"
_PAUSE_S = 60
"""Before a request that AWS or the function failed is sent again; the function has tried for some seconds by itself."""

_BODY = "$.answer.body"


def request_states(deployment: Deployment) -> States:
    """Return the states, of which `START` is the first.

    Their input is `request`: `training_id`, `user_id`, `body` as the API takes it, and the entries that are `done`. The
    function is called as the portal itself calls it, with the user's identity, until nothing is left. Their output is
    what the API would have answered, `statusCode` and `body`. A request that the service fails, or that is not done
    after all continuations, fails the execution.
    """
    return {
        START: _turn({"request.$": "$.request", "continued": 0, "retried": 0}),
        "ServeRequest": {
            **invocation(deployment, _EVENT),
            "ResultSelector": {
                "statusCode.$": "$.Payload.statusCode",
                "body.$": "States.StringToJson($.Payload.body)",
            },
            "ResultPath": "$.answer",
            "Catch": caught("$.failure", "RequestUnserved"),
            "Next": "RequestDone?",
        },
        **_next_turn(deployment),
        "RequestServed": {"Type": "Pass", "OutputPath": "$.answer", "End": True},
        "RequestFailed": _fail("RequestFailed", f"States.JsonToString({_BODY})"),
        "RequestLeft": _fail("RequestLeft", f"States.JsonToString({_BODY})"),
        "RequestUnserved": NOT_INVOKED,
    }


def _next_turn(deployment: Deployment) -> States:
    return {
        "RequestDone?": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [_FAILED, {"Variable": "$.retried", "NumericLessThan": deployment.retries}],
                    "Next": "RequestPause",
                },
                {**_FAILED, "Next": "RequestFailed"},
                {
                    "And": [_LEFT, {"Variable": "$.continued", "NumericLessThan": deployment.continuations}],
                    "Next": "GoOnWithRequest",
                },
                {**_LEFT, "Next": "RequestLeft"},
            ],
            "Default": "RequestServed",
        },
        "RequestPause": {"Type": "Wait", "Seconds": _PAUSE_S, "Next": "RequestAgain"},
        "RequestAgain": _turn(
            {
                "request.$": "$.request",
                "continued.$": "$.continued",
                "retried.$": "States.MathAdd($.retried, 1)",
            }
        ),
        "GoOnWithRequest": _turn(
            {
                "request": {
                    "training_id.$": "$.request.training_id",
                    "user_id.$": "$.request.user_id",
                    "body": {"targets.$": f"{_BODY}.left", "auto_triggered.$": "$.request.body.auto_triggered"},
                    "done.$": f"{_BODY}.packaged_components",
                },
                "continued.$": "States.MathAdd($.continued, 1)",
                "retried.$": "$.retried",
            }
        ),
    }


_FAILED = {"Variable": "$.answer.statusCode", "NumericGreaterThanEquals": 500}
_LEFT = {"Variable": f"{_BODY}.left[0]", "IsPresent": True}
_EVENT = {
    "httpMethod": "POST",
    "path.$": "States.Format('/api/v1/training/{}/package', $.request.training_id)",
    "pathParameters": {"id.$": "$.request.training_id"},
    "body.$": "States.JsonToString($.request.body)",
    "requestContext": {"authorizer": {"userId.$": "$.request.user_id"}},
    "execution": {"id.$": "$$.Execution.Name", "done.$": "$.request.done"},
}


def _turn(parameters: States) -> States:
    return {"Type": "Pass", "Parameters": parameters, "Next": "ServeRequest"}


def _fail(error: str, cause: str) -> States:
    return {"Type": "Fail", "Error": error, "CausePath": cause}
