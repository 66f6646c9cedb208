"""Runbooks that start by themselves: the Automation documents of the alarms, each with a role and a window of time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import Aws, aws_events, aws_iam, aws_ssm
from constructs import Construct

from infra import rights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import aws_cdk as cdk

    from infra.settings import Deployment

Document = dict[str, Any]
WINDOW = '''
from datetime import datetime, timedelta

def window(events, context):
    """Return the hours around an alarm in epoch seconds, as Logs Insights takes them."""
    alarm = datetime.fromisoformat(events["AlarmTime"].replace("Z", "+00:00"))
    start, end = alarm - timedelta(hours=3), alarm + timedelta(hours=1)
    return {"Start": int(start.timestamp()), "End": int(end.timestamp())}
'''
_SERVICES = {
    "s3": {"ListMultipartUploads": "ListBucketMultipartUploads", "AbortMultipartUpload": "AbortMultipartUpload"}
}
_TIMES = ("StartTime", "EndTime")


def timed(document: Document) -> Document:
    """Return a document that takes the time of the alarm in place of two times in epoch seconds.

    An event knows its time as text, and the API of the logs takes numbers only; a step in the middle reads the one and
    gives the other. Documents without times are returned as they are.
    """
    if not set(_TIMES) <= document["parameters"].keys():
        return document
    kept = {name: value for name, value in document["parameters"].items() if name not in _TIMES}
    steps = json.dumps(document["mainSteps"])
    for time, output in zip(_TIMES, ("Start", "End"), strict=True):
        steps = steps.replace(f"{{{{ {time} }}}}", f"{{{{ Window.{output} }}}}")
    return {
        **document,
        "parameters": {**kept, "AlarmTime": {"type": "String", "description": "Time of the alarm, ISO 8601"}},
        "mainSteps": [_WINDOW_STEP, *json.loads(steps)],
    }


_WINDOW_STEP = {
    "name": "Window",
    "action": "aws:executeScript",
    "inputs": {
        "Runtime": "python3.11",
        "Handler": "window",
        "InputPayload": {"AlarmTime": "{{ AlarmTime }}"},
        "Script": WINDOW,
    },
    "outputs": [{"Name": name, "Selector": f"$.Payload.{name}", "Type": "Integer"} for name in ("Start", "End")],
}


def calls(document: Document) -> Iterator[tuple[str, str]]:
    """Yield service and IAM action of every API call in a document."""
    for step in document["mainSteps"]:
        inputs = step["inputs"]
        if "Api" in inputs:
            service = inputs["Service"]
            yield service, f"{service}:{_SERVICES.get(service, {}).get(inputs['Api'], inputs['Api'])}"


def starts_by_itself(document: Document) -> bool:
    """Tell whether an event knows all that a document asks for; the rest waits for a person to fill in."""
    return set(document["parameters"]) <= {"AutomationAssumeRole", "AlarmTime"}


class Automation(Construct):
    """The documents under their alarms' names, one role for each set of rights, and rules from alarm to document."""

    def __init__(
        self, stack: cdk.Stack, deployment: Deployment, documents: Mapping[str, Document], own_bucket: str
    ) -> None:
        super().__init__(stack, "Automation")
        self._stack, self._deployment, self._own_bucket = stack, deployment, own_bucket
        self._roles: dict[tuple[str, ...], aws_iam.Role] = {}
        started: dict[str, aws_iam.Role] = {}
        for name, document in documents.items():
            content = timed(document)
            self._document(name, content)
            role = self._role(tuple(sorted({action for _, action in calls(content)})))
            if starts_by_itself(content):
                started[name] = role
        starter = self._starter(started)
        for name, role in started.items():
            self._rule(name, role, starter, documents[name])

    def _document(self, name: str, content: Document) -> None:
        aws_ssm.CfnDocument(
            self,
            f"Document-{name}",
            name=name,
            document_type="Automation",
            document_format="JSON",
            update_method="NewVersion",
            content=content,
        )

    def _role(self, actions: tuple[str, ...]) -> aws_iam.Role:
        if actions not in self._roles:
            self._roles[actions] = rights.role(
                self._stack,
                f"Runbook{len(self._roles) + 1}Role",
                "ssm.amazonaws.com",
                [self._right(action) for action in actions],
            )
        return self._roles[actions]

    def _right(self, action: str) -> rights.Right:
        name = self._deployment.function_name
        places = (*self._deployment.write_to, self._own_bucket)
        buckets = tuple(rights.s3_arn(place.partition("/")[0]) for place in places)
        objects = tuple(rights.s3_arn(f"{place}/{rights.COMPONENTS}") for place in places)
        logs = (rights.arn("logs", f"log-group:/aws/lambda/{name}:*"),)
        table = {
            "logs:StartQuery": (logs, "The streams of the function's own log group."),
            "logs:GetQueryResults": (("*",), "A query is no resource that could be named."),
            "lambda:GetFunctionConfiguration": ((rights.arn("lambda", f"function:{name}"),), ""),
            "s3:ListBucketMultipartUploads": (buckets, ""),
            "s3:AbortMultipartUpload": (objects, "The name of a component follows from its content."),
        }
        resources, why = table[action]
        return rights.Right((action,), resources, why)

    def _starter(self, started: Mapping[str, aws_iam.Role]) -> aws_iam.Role:
        roles = {role.role_arn: None for role in started.values()}
        to_ssm = {"StringEquals": {"iam:PassedToService": "ssm.amazonaws.com"}}
        return rights.role(
            self._stack,
            "RunbookStarterRole",
            "events.amazonaws.com",
            [
                rights.Right(
                    ("ssm:StartAutomationExecution",),
                    tuple(rights.arn("ssm", f"automation-definition/{name}:$DEFAULT") for name in started),
                ),
                rights.Right(("iam:PassRole",), tuple(roles), conditions=to_ssm),
            ],
        )

    def _rule(self, name: str, role: aws_iam.Role, starter: aws_iam.Role, document: Document) -> None:
        known = {"AutomationAssumeRole": f'["{role.role_arn}"]'}
        if set(_TIMES) <= document["parameters"].keys():
            known["AlarmTime"] = '["<time>"]'
        template = ",".join(f'"{key}":{value}' for key, value in known.items())
        transformer = aws_events.CfnRule.InputTransformerProperty(
            input_paths_map={"time": "$.time"}, input_template=f"{{{template}}}"
        )
        aws_events.CfnRule(
            self,
            f"Rule-{name}",
            description=f"Starts the first steps of the runbook of {name}"[:512],
            event_pattern={
                "source": ["aws.cloudwatch"],
                "detail-type": ["CloudWatch Alarm State Change"],
                "detail": {"alarmName": [name], "state": {"value": ["ALARM"]}},
            },
            targets=[
                aws_events.CfnRule.TargetProperty(
                    id="runbook",
                    arn=f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}:{Aws.ACCOUNT_ID}:automation-definition/{name}:$DEFAULT",
                    role_arn=starter.role_arn,
                    input_transformer=transformer,
                )
            ],
        )
