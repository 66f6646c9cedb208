"""The state machines as plain data: one model over its targets, and many models over those.

https://states-language.net/spec.html, in JSONPath. `${...}` is filled in where it is deployed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.settings import Deployment

States = dict[str, Any]
INVOKE = "arn:${Partition}:states:::lambda:invoke"
START = "arn:${Partition}:states:::states:startExecution.sync:2"
READ = "arn:${Partition}:states:::s3:getObject"
WRITE = "arn:${Partition}:states:::s3:putObject"
_GRACE_S = 30
_THROTTLED = (
    "Lambda.TooManyRequestsException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
)


def package_model(deployment: Deployment) -> States:
    """Return the machine that packages one model: one invocation per target.

    Its input is the function's event for machines: `trained`, `compiled`, `output`, and if wanted `options` and
    `publish`. Its output is `components`, one record per target whatever became of it. What Lambda or AWS failed at is
    called again with backoff; a partial result is gone on with; nothing a target does stops another.
    """
    states = {
        "Defaults": {
            "Type": "Pass",
            "Parameters": {
                "with.$": "States.JsonMerge("
                'States.StringToJson(\'{"compiled": [], "options": {}, "publish": {}}\'), $, false)'
            },
            "OutputPath": "$.with",
            "Next": "Compiled?",
        },
        "Compiled?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.compiled[0]", "IsPresent": True, "Next": "EachTarget"}],
            "Default": "ImportedModel",
        },
        # An imported model needs no compilation: its artifact is both, and one invocation serves all its targets.
        "ImportedModel": {
            "Type": "Pass",
            "Result": [{"target": "imported"}],
            "ResultPath": "$.compiled",
            "Next": "EachTarget",
        },
        "EachTarget": {
            "Type": "Map",
            "Label": "EachTarget",
            "ItemsPath": "$.compiled",
            "MaxConcurrency": deployment.map_concurrency,
            "ItemSelector": {
                "item.$": "$$.Map.Item.Value",
                "target.$": "$$.Map.Item.Value.target",
                "trained.$": "$.trained",
                "output.$": "$.output",
                "options.$": "$.options",
            },
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "Imported?",
                "States": _one_target(deployment),
            },
            "ResultPath": "$.packaged",
            "Next": "Merge",
        },
        "Merge": {
            "Type": "Pass",
            "Parameters": {
                "publish.$": "$.publish",
                "statuses.$": "$.packaged[*].components[*].status",
                "result": {"components.$": "$.packaged[*].components[*]"},
            },
            **({"Next": "Publish?"} if deployment.publish_function else {"OutputPath": "$.result", "End": True}),
        },
    }
    return {
        "Comment": "Packages one model for all its targets; every target ends in a record.",
        "StartAt": "Defaults",
        "States": {**states, **(_publishing() if deployment.publish_function else {})},
    }


def _one_target(deployment: Deployment) -> States:
    common = {"trained.$": "$.trained", "output.$": "$.output", "options.$": "$.options"}
    return {
        "Imported?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.item.uri", "IsPresent": True, "Next": "Compiled"}],
            "Default": "Imported",
        },
        "Compiled": _event({"compiled.$": "States.Array($.item)", **common}),
        "Imported": _event({"compiled": [], **common}),
        "Package": {
            **_invocation(deployment),
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Failed"}],
            "Next": "Complete?",
        },
        "Complete?": {
            "Type": "Choice",
            "Choices": [
                {"Not": {"Variable": "$.answer.document.components[0]", "IsPresent": True}, "Next": "Refused"},
                {
                    "And": [
                        {"Variable": "$.answer.document.left[0]", "IsPresent": True},
                        {"Variable": "$.continued", "NumericLessThan": deployment.continuations},
                    ],
                    "Next": "GoOn",
                },
            ],
            "Default": "Recorded",
        },
        "GoOn": {
            "Type": "Pass",
            "Parameters": {
                "target.$": "$.target",
                "continued.$": "States.MathAdd($.continued, 1)",
                "event.$": "$.event",
                "more": {"previous.$": "$.answer.document"},
            },
            "Next": "WithPrevious",
        },
        "WithPrevious": {
            "Type": "Pass",
            "Parameters": {
                "target.$": "$.target",
                "continued.$": "$.continued",
                "event": {
                    "trained.$": "$.event.trained",
                    "compiled.$": "$.event.compiled",
                    "output.$": "$.event.output",
                    "options.$": "States.JsonMerge($.event.options, $.more, false)",
                },
            },
            "Next": "Package",
        },
        "Recorded": {"Type": "Pass", "Parameters": {"components.$": "$.answer.document.components"}, "End": True},
        # The function answered, but could not even begin.
        "Refused": {
            "Type": "Pass",
            "Parameters": _failed({"error.$": "$.answer.document.error"}),
            "End": True,
        },
        "Failed": {
            "Type": "Pass",
            "Parameters": _failed(
                {
                    "error": {
                        "type.$": "$.failure.Error",
                        "message.$": "$.failure.Cause",
                        "next_step": "Look at the function's logs at this time; start the machine again for the rest.",
                    }
                }
            ),
            "End": True,
        },
    }


def _event(event: States) -> States:
    return {
        "Type": "Pass",
        "Parameters": {"target.$": "$.target", "continued": 0, "event": event},
        "Next": "Package",
    }


def _failed(error: States) -> States:
    return {"components": [{"target.$": "$.target", "status": "failed", "uri": None, **error}]}


def _invocation(deployment: Deployment) -> States:
    """Return a task that invokes the function with `$.event`; the answer is `$.answer.document`."""
    return {
        "Type": "Task",
        "Resource": INVOKE,
        "Parameters": {"FunctionName": "${Function}", "Payload.$": "$.event"},
        "ResultSelector": {"document.$": "$.Payload"},
        "ResultPath": "$.answer",
        # Lambda ends an invocation by itself; this is for the answer that never comes.
        "TimeoutSeconds": deployment.time_s + _GRACE_S,
        "Retry": _retries(deployment),
    }


def _retries(deployment: Deployment) -> list[States]:
    backoff = {"IntervalSeconds": 2, "BackoffRate": 2.0, "JitterStrategy": "FULL", "MaxDelaySeconds": 300}
    return [
        # Other executions hold the function's concurrency; there is no harm in waiting for them.
        {"ErrorEquals": [*_THROTTLED], "MaxAttempts": 5 * deployment.retries, **backoff},
        {"ErrorEquals": ["States.ALL"], "MaxAttempts": deployment.retries, **backoff},
    ]


def _publishing() -> States:
    """Return the states that ask the publishing function to go on, as the portal does, when something was packaged."""
    done = [
        {"Variable": f"$.any_{status}", "BooleanEquals": True, "Next": "Publish"}
        for status in ("packaged", "already_there")
    ]
    return {
        "Publish?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.publish.training_id", "IsPresent": True, "Next": "AnythingPackaged"}],
            "Default": "Result",
        },
        "AnythingPackaged": {
            "Type": "Pass",
            "Parameters": {
                "publish.$": "$.publish",
                "result.$": "$.result",
                "any_packaged.$": "States.ArrayContains($.statuses, 'packaged')",
                "any_already_there.$": "States.ArrayContains($.statuses, 'already_there')",
            },
            "Next": "AnythingPackaged?",
        },
        "AnythingPackaged?": {"Type": "Choice", "Choices": done, "Default": "Result"},
        "Publish": {
            "Type": "Task",
            "Resource": INVOKE,
            "Parameters": {
                "FunctionName": "${Publisher}",
                "InvocationType": "Event",
                "Payload": {
                    "httpMethod": "POST",
                    "path.$": "States.Format('/api/v1/training/{}/publish', $.publish.training_id)",
                    "pathParameters": {"id.$": "$.publish.training_id"},
                    "body.$": "States.JsonToString($.publish)",
                    "requestContext": {
                        "authorizer": {"claims": dict.fromkeys(("sub", "email", "cognito:username"), "system")}
                    },
                },
            },
            "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 3, "IntervalSeconds": 2, "BackoffRate": 2.0}],
            # Packaged is packaged: the records must not be lost because nobody could be told.
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.unpublished", "Next": "Result"}],
            "ResultPath": None,
            "Next": "Result",
        },
        "Result": {"Type": "Pass", "OutputPath": "$.result", "End": True},
    }


def package_models(deployment: Deployment) -> States:
    """Return the machine that packages many models: a JSON list of inputs in S3, one execution for each.

    Its input is `bucket` and `key` of the list. Results and failures are written to the bucket of the service, below
    `runs/`; the output says where.
    """
    return {
        "Comment": "Packages every model of a list in S3.",
        "StartAt": "EachModel",
        "States": {
            "EachModel": {
                "Type": "Map",
                "Label": "EachModel",
                "ItemReader": {
                    "Resource": READ,
                    "ReaderConfig": {"InputType": "JSON"},
                    "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.key"},
                },
                "MaxConcurrency": deployment.map_concurrency,
                # A model that fails is a record in the results, not the end of the others.
                "ToleratedFailurePercentage": 100.0,
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Model",
                    "States": {
                        "Model": {
                            "Type": "Task",
                            "Resource": START,
                            "Parameters": {"StateMachineArn": "${Machine}", "Input.$": "$"},
                            "OutputPath": "$.Output",
                            "End": True,
                        }
                    },
                },
                "ResultWriter": {"Resource": WRITE, "Parameters": {"Bucket": "${Bucket}", "Prefix": "runs"}},
                "End": True,
            }
        },
    }
