"""The state machines as plain data: one model over its targets, and many models over those.

https://states-language.net/spec.html, in JSONPath. `${...}` is filled in where it is deployed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from infra.request_states import START as SERVE_REQUEST
from infra.request_states import request_states
from infra.tasks import BACKOFF, INVOKE, NOT_INVOKED, TURNS, UNREACHED, States, caught, invocation
from packager.portal.settings import SYSTEM_CLAIMS

if TYPE_CHECKING:
    from infra.settings import Deployment

START = "arn:${Partition}:states:::states:startExecution.sync:2"
READ = "arn:${Partition}:states:::s3:getObject"
WRITE = "arn:${Partition}:states:::s3:putObject"
_PAUSE_S = 15
"""The first pause before a target is tried again; each is as much longer than the one before."""

_ANSWER = "$.answer.previous"

_NOT_STARTED = [
    "StepFunctions.AWSStepFunctionsException",
    "StepFunctions.ExecutionLimitExceededException",
    "StepFunctions.SdkClientException",
]
_PREPARE = {
    "trained.$": "$.trained",
    "output.$": "$.output",
    "options.$": "$.options",
    "manifest": "prepare",
    "execution": {"id.$": "$$.Execution.Name"},
}


_UNINVOKED = {"ErrorEquals": UNREACHED, "ResultPath": "$.failure", "Next": "NotInvoked"}


def package_model(deployment: Deployment) -> States:
    """Return the machine that packages one model: its manifest is made once, then one invocation per target.

    Its input is the function's event for machines: `trained`, `compiled`, `output`, and if wanted `options` and
    `publish`. Its output is `components`, one record per target whatever became of it. What Lambda or AWS failed at is
    called again with backoff; a partial result is gone on with; nothing a target does stops another. It fails where the
    function cannot be reached at all, and for an input without a model or with something else than a list. An input
    with `request` is one of the portal's instead, see `request_states`.
    """
    states = {
        "Request?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.request", "IsPresent": True, "Next": SERVE_REQUEST}],
            "Default": "Defaults",
        },
        **_preparation(deployment),
        **_all_targets(deployment),
        **(_publishing() if deployment.publish_function else {}),
        **request_states(deployment),
    }
    return {
        "Comment": "Packages one model for all its targets; every target ends in a record.",
        "StartAt": "Request?",
        "States": states,
    }


def _preparation(deployment: Deployment) -> States:
    defaults = json.dumps({"compiled": [], "options": {}, "publish": {}, "prepared": {"statusCode": 200}})
    return {
        "Defaults": {
            "Type": "Pass",
            "Parameters": {"with.$": f"States.JsonMerge(States.StringToJson('{defaults}'), $, false)"},
            "OutputPath": "$.with",
            "Next": "NoCompiled?",
        },
        # Null stands for a field that is missing.
        "NoCompiled?": _if_null("compiled", "NoCompiled", "NoOptions?"),
        "NoCompiled": {"Type": "Pass", "Result": [], "ResultPath": "$.compiled", "Next": "NoOptions?"},
        "NoOptions?": _if_null("options", "NoOptions", "Count"),
        "NoOptions": {"Type": "Pass", "Result": {}, "ResultPath": "$.options", "Next": "Count"},
        # What is no list cannot be counted, which fails the execution: it must not pass for an imported model.
        "Count": {
            "Type": "Pass",
            "Parameters": {"compiled.$": "States.ArrayLength($.compiled)"},
            "ResultPath": "$.number_of",
            "Next": "Compiled?",
        },
        "Compiled?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.number_of.compiled", "NumericGreaterThan": 0, "Next": "Prepare"}],
            "Default": "ImportedModel",
        },
        # What the trained artifact lacks fails every target. What only this call failed at is up to each of them.
        "Prepare": {
            **invocation(deployment, _PREPARE),
            "ResultSelector": {"statusCode.$": "$.Payload.statusCode", "error.$": "$.Payload.error"},
            "ResultPath": "$.prepared",
            "Catch": [_UNINVOKED, *caught("$.unprepared", "EachTarget")],
            "Next": "EachTarget",
        },
        # An imported model needs no compilation: its artifact is both, and one invocation serves all its targets.
        "ImportedModel": {
            "Type": "Pass",
            "Result": [{"target": "imported", "imported": True}],
            "ResultPath": "$.compiled",
            "Next": "EachTarget",
        },
    }


def _all_targets(deployment: Deployment) -> States:
    return {
        "EachTarget": {
            "Type": "Map",
            "Label": "EachTarget",
            "ItemsPath": "$.compiled",
            "MaxConcurrency": deployment.map_concurrency,
            "ItemSelector": {
                # An entry without a target is for the function to refuse; it must not end the others.
                "number.$": "$$.Map.Item.Index",
                "item.$": "States.JsonMerge(States.StringToJson('{\"target\": null}'), $$.Map.Item.Value, false)",
                "trained.$": "$.trained",
                "output.$": "$.output",
                "options.$": "$.options",
                "prepared.$": "$.prepared",
            },
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "Begin?",
                "States": _one_target(deployment),
            },
            "ResultPath": "$.packaged",
            # Whatever becomes of a target is a record. This fails where the function was not reached, or for an entry
            # that is no object.
            "Catch": caught("$.failure", "TargetsNotRun"),
            "Next": "Merge",
        },
        "NotInvoked": NOT_INVOKED,
        "TargetsNotRun": {"Type": "Fail", "Error": "TargetsNotRun", "Cause": "See the failed runs of EachTarget."},
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


def _one_target(deployment: Deployment) -> States:
    return {**_call(deployment), **_next_call(deployment), **_record_of_target()}


def _call(deployment: Deployment) -> States:
    return {
        "Begin?": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.prepared.statusCode", "NumericGreaterThanEquals": 400},
                        {"Variable": "$.prepared.statusCode", "NumericLessThan": 500},
                    ],
                    "Next": "Unprepared",
                },
                {"Variable": "$.item.imported", "IsPresent": True, "Next": "Imported"},
            ],
            "Default": "Compiled",
        },
        "Compiled": _event({"compiled.$": "States.Array($.item)"}),
        "Imported": _event({"compiled": []}),
        "Package": {
            **invocation(deployment, "$.event"),
            # Under the name that it has in the options of the next call, should there be one.
            "ResultSelector": {"previous.$": "$.Payload"},
            "ResultPath": "$.answer",
            "Catch": [{**_UNINVOKED, "Next": "TargetNotInvoked"}, *caught("$.failure", "Failed")],
            "Next": "Complete?",
        },
    }


def _next_call(deployment: Deployment) -> States:
    return {
        "Complete?": {
            "Type": "Choice",
            "Choices": [
                {"Not": {"Variable": f"{_ANSWER}.components[0]", "IsPresent": True}, "Next": "Refused"},
                _some(f"{_ANSWER}.left", "$.continued", deployment.continuations, "GoOn"),
                _some(f"{_ANSWER}.again", "$.retried", deployment.retries, "Pause"),
            ],
            "Default": "Recorded",
        },
        "GoOn": _again(continued=1),
        # The function has tried for some seconds by itself; each pause is longer than the one before.
        "Pause": {"Type": "Wait", "SecondsPath": "$.pause_s", "Next": "TryAgain"},
        "TryAgain": _again(retried=1, pause_s=_PAUSE_S),
    }


def _record_of_target() -> States:
    return {
        "Recorded": {"Type": "Pass", "Parameters": {"components.$": f"{_ANSWER}.components"}, "End": True},
        "TargetNotInvoked": NOT_INVOKED,
        "Unprepared": _failed("$.item.target", {"error.$": "$.prepared.error"}),
        # The function answered, but could not even begin.
        "Refused": _failed("$.target", {"error.$": f"{_ANSWER}.error"}),
        "Failed": _failed(
            "$.target",
            {
                "error": {
                    "type.$": "$.failure.Error",
                    "message.$": "$.failure.Cause",
                    "next_step": "Look at the function's logs at this time; start the machine again for the rest.",
                }
            },
        ),
    }


_COUNTERS = {"continued": 0, "retried": 0, "pause_s": _PAUSE_S}
"""How often the function has gone on and tried again for a target, and how long the next pause is."""


def _event(compiled: States) -> States:
    return {
        "Type": "Pass",
        "Parameters": {
            "target.$": "$.item.target",
            **_COUNTERS,
            "event": {
                "execution": {"id.$": "$$.Execution.Name", "target_number.$": "$.number"},
                **compiled,
                "trained.$": "$.trained",
                "output.$": "$.output",
                "options.$": "$.options",
                "manifest": "prepared",
            },
        },
        "Next": "Package",
    }


def _again(**more: int) -> States:
    """Return the state that makes the event of the next call, which goes on from the answer to the one before."""
    counters = {f"{name}.$": f"$.{name}" for name in _COUNTERS if name not in more}
    raised = {f"{name}.$": f"States.MathAdd($.{name}, {number})" for name, number in more.items()}
    event = {
        "compiled.$": "$.event.compiled",
        "trained.$": "$.event.trained",
        "output.$": "$.event.output",
        "options.$": "States.JsonMerge($.event.options, $.answer, false)",
        "manifest.$": "$.event.manifest",
        "execution.$": "$.event.execution",
    }
    return {
        "Type": "Pass",
        "Parameters": {"target.$": "$.target", **counters, **raised, "event": event},
        "Next": "Package",
    }


def _if_null(name: str, then: str, otherwise: str) -> States:
    return {
        "Type": "Choice",
        "Choices": [{"Variable": f"$.{name}", "IsNull": True, "Next": then}],
        "Default": otherwise,
    }


def _some(targets: str, counter: str, most: int, then: str) -> States:
    """Return the choice for answers that name targets, as long as the counter is below the most."""
    return {
        "And": [{"Variable": f"{targets}[0]", "IsPresent": True}, {"Variable": counter, "NumericLessThan": most}],
        "Next": then,
    }


def _failed(target: str, error: States) -> States:
    record = {"target.$": target, "status": "failed", "uri": None, **error}
    return {"Type": "Pass", "Parameters": {"components": [record]}, "End": True}


_PUBLISH = {
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
            "requestContext": {"authorizer": {"claims": SYSTEM_CLAIMS}},
        },
    },
    "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 3, "IntervalSeconds": 2, "BackoffRate": 2.0}],
    # Packaged is packaged: the records must not be lost because nobody could be told.
    "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.unpublished", "Next": "Result"}],
    "ResultPath": None,
    "Next": "Result",
}


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
        "Publish": _PUBLISH,
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
                # A model that fails is a record in the results, not the end of the others; when all fail, so does this.
                "ToleratedFailurePercentage": 99.999,
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Model",
                    "States": {
                        "Model": {
                            "Type": "Task",
                            "Resource": START,
                            "Parameters": {"StateMachineArn": "${Machine}", "Input.$": "$"},
                            "Retry": [{"ErrorEquals": _NOT_STARTED, "MaxAttempts": TURNS, **BACKOFF}],
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
