"""Runbooks that start by themselves: the Automation documents, their roles, and the rules that start them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_cdk import Aws, aws_events, aws_iam, aws_ssm
from constructs import Construct

from dashboards.product.automation import automation_documents, started_by
from infra import rights
from infra.packager_stack import own_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import aws_cdk as cdk

    from dashboards.product.automation import Document
    from dashboards.product.specs import Catalog
    from infra.settings import Deployment

_SERVICES = {
    "s3": {"ListMultipartUploads": "ListBucketMultipartUploads", "AbortMultipartUpload": "AbortMultipartUpload"}
}


def calls(document: Document) -> Iterator[tuple[str, str]]:
    """Yield service and IAM action of every API call in a document."""
    for step in document["mainSteps"]:
        inputs = step["inputs"]
        if "Api" in inputs:
            service = inputs["Service"]
            yield service, f"{service}:{_SERVICES.get(service, {}).get(inputs['Api'], inputs['Api'])}"


class Automations(Construct):
    """The documents, a role for each set of rights, and a rule for each document from the alarms that call."""

    def __init__(self, stack: cdk.Stack, deployment: Deployment, source: Catalog) -> None:
        super().__init__(stack, "Automation")
        self._stack, self._deployment = stack, deployment
        self._roles: dict[tuple[str, ...], aws_iam.Role] = {}
        documents = automation_documents(source)
        for name, content in documents.items():
            self._document(name, content)
        starting = started_by(source)
        roles = {name: self._role(document) for name, document in documents.items()}
        starter = self._starter({name: roles[name] for name in starting})
        for name, alarms in starting.items():
            self._rule(name, alarms, roles[name], starter, documents[name])

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

    def _role(self, document: Document) -> aws_iam.Role:
        actions = tuple(sorted({action for _, action in calls(document)}))
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
        places = (*self._deployment.write_to, own_bucket(self._deployment))
        buckets = tuple(rights.s3_arn(place.partition("/")[0]) for place in places)
        objects = tuple(rights.s3_arn(f"{place}/{rights.COMPONENTS}") for place in places)
        table = {
            "logs:StartQuery": (
                (rights.arn("logs", f"log-group:/aws/lambda/{name}:*"),),
                "The streams of the function's own log group.",
            ),
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

    def _rule(
        self, name: str, alarms: Sequence[str], role: aws_iam.Role, starter: aws_iam.Role, document: Document
    ) -> None:
        known = {"AutomationAssumeRole": f'["{role.role_arn}"]', "AlarmTime": '["<time>"]'}
        template = ",".join(f'"{key}":{known[key]}' for key in document["parameters"])
        transformer = aws_events.CfnRule.InputTransformerProperty(
            input_paths_map={"time": "$.time"}, input_template=f"{{{template}}}"
        )
        aws_events.CfnRule(
            self,
            f"Rule-{name}",
            description=document["description"],
            event_pattern=_fired(alarms),
            targets=[
                aws_events.CfnRule.TargetProperty(
                    id="runbook",
                    arn=f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}:{Aws.ACCOUNT_ID}:automation-definition/{name}:$DEFAULT",
                    role_arn=starter.role_arn,
                    input_transformer=transformer,
                )
            ],
        )


def _fired(alarms: Sequence[str]) -> dict[str, Any]:
    return {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "detail": {"alarmName": [*alarms], "state": {"value": ["ALARM"]}},
    }
