"""What watches the service: the catalog's dashboards, alarms, runbooks and queries, and whom they call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch, aws_iam, aws_kms, aws_logs, aws_sns, aws_sns_subscriptions

from dashboards.product.layout import dashboard_bodies
from dashboards.product.runbooks import runbook_board
from dashboards.product.specs import Catalog, alarm_parameters
from infra import rights
from infra.automation import Automations
from telemetry.watch import Severity, watching
from telemetry.watch.types import RUNBOOK_BOARD

if TYPE_CHECKING:
    from constructs import Construct

    from infra.settings import Deployment

KILLS = {
    "KilledForTime": '"Task timed out"',
    "KilledForMemory": '"signal: killed"',
}
"""Ends that the function cannot report of itself, by metric, and what the one line says in which Lambda tells each.

The report that follows says `Status: timeout` or `Error Type: Runtime.ExitError` once more, and is not counted.
"""


def catalog_of(deployment: Deployment) -> Catalog:
    """Return the catalog with the limits and the names of a deployment."""
    watched = watching(deployment.limits, deployment.parts)
    return Catalog(
        alarms=watched.alarms, composites=watched.composites, limits=deployment.limits, names=deployment.names
    )


class MonitoringStack(cdk.Stack):
    """Dashboards, alarms, topics, runbooks, saved queries and metric filters of one deployment."""

    def __init__(
        self,
        scope: Construct,
        deployment: Deployment,
        **stack: Any,  # noqa: ANN401  as Stack
    ) -> None:
        super().__init__(scope, f"{deployment.function_name}-monitoring", description="Watches the packager", **stack)
        self.deployment = deployment
        self.source = catalog_of(deployment)
        self.log_group_name = f"/aws/lambda/{deployment.function_name}"
        self._dashboards()
        self._alarms()
        self._queries()
        self._metric_filters()
        Automations(self, deployment, self.source)

    def _dashboards(self) -> None:
        bodies = dashboard_bodies(self.source)
        overview = bodies[self.source.dashboards[0]]["widgets"]
        overview.append(_around_the_function(self.deployment, max(each["y"] + each["height"] for each in overview)))
        for name, body in {**bodies, RUNBOOK_BOARD: runbook_board(self.source)}.items():
            aws_cloudwatch.CfnDashboard(
                self,
                f"Dashboard-{name}",
                dashboard_name=self.source.prefix + name,
                dashboard_body=cdk.Fn.sub(json.dumps(body, ensure_ascii=False)),
            )

    def _alarms(self) -> None:
        """Take over the alarms as they stand: what is tested offline is what is deployed."""
        parameters = alarm_parameters(self.source, self._topics())
        made: dict[str, cdk.CfnResource] = {}
        for kind, type_name in (("MetricAlarms", "Alarm"), ("CompositeAlarms", "CompositeAlarm")):
            for alarm in parameters[kind]:
                resource = cdk.CfnResource(
                    self,
                    f"Alarm-{alarm['AlarmName']}",
                    type=f"AWS::CloudWatch::{type_name}",
                    properties=_with_references(alarm),
                )
                for child in made if type_name == "CompositeAlarm" else ():
                    if f'"{child}"' in alarm["AlarmRule"] or child == alarm.get("ActionsSuppressor"):
                        resource.add_resource_dependency(made[child])
                made[alarm["AlarmName"]] = resource

    def _topics(self) -> dict[str, str]:
        """Return the ARN of the topic for each severity, to which this deployment's alarms may write, and no others.

        CloudWatch needs a key of our own for that: it cannot use the one that SNS offers.
        """
        key = aws_kms.Key(
            self,
            "TopicKey",
            description="Encrypts alarm messages",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        cloudwatch = aws_iam.ServicePrincipal("cloudwatch.amazonaws.com")
        key.grant(cloudwatch, "kms:Decrypt", "kms:GenerateDataKey*")
        alarms = rights.arn("cloudwatch", f"alarm:{self.source.prefix}*")
        emails = {Severity.PAGE: self.deployment.page_emails, Severity.TICKET: self.deployment.ticket_emails}
        topics = {}
        for severity, addresses in emails.items():
            topic = aws_sns.Topic(
                self,
                f"Topic-{severity}",
                topic_name=f"{self.deployment.function_name}-{severity}",
                master_key=key,
                enforce_ssl=True,
            )
            topic.add_to_resource_policy(
                aws_iam.PolicyStatement(
                    actions=["sns:Publish"],
                    principals=[cloudwatch],
                    resources=[topic.topic_arn],
                    conditions={"StringEquals": rights.OWN_ACCOUNT, "ArnLike": {"aws:SourceArn": alarms}},
                )
            )
            for address in addresses:
                topic.add_subscription(aws_sns_subscriptions.EmailSubscription(address))
            topics[str(severity)] = topic.topic_arn
        return topics

    def _queries(self) -> None:
        for alarm in self.source.everything:
            aws_logs.CfnQueryDefinition(
                self,
                f"Query-{alarm.name}",
                name=f"{self.deployment.function_name}/{alarm.name}",
                query_string=alarm.runbook.query,
                log_group_names=[self.log_group_name],
            )

    def _metric_filters(self) -> None:
        for metric, pattern in KILLS.items():
            aws_logs.CfnMetricFilter(
                self,
                f"Filter-{metric}",
                filter_name=metric,
                filter_pattern=pattern,
                log_group_name=self.log_group_name,
                metric_transformations=[
                    aws_logs.CfnMetricFilter.MetricTransformationProperty(
                        metric_namespace=self.deployment.names.namespace,
                        metric_name=metric,
                        metric_value="1",
                        default_value=0,
                        unit="Count",
                    )
                ],
            )


def _with_references(value: Any) -> Any:  # noqa: ANN401  any member of an alarm
    """Return the parameters of an alarm, with what only the deployment knows (`${AWS::Partition}`) put in by it."""
    if isinstance(value, dict):
        return {key: _with_references(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_references(each) for each in value]
    return cdk.Fn.sub(value) if isinstance(value, str) and "${AWS::" in value else value


def _around_the_function(deployment: Deployment, y: int) -> dict[str, Any]:
    """Return the widget of what the function cannot report of itself: it was killed, or never got to run."""
    name = deployment.function_name
    machines = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:"
    return {
        "type": "metric",
        "x": 0,
        "y": y,
        "width": 24,
        "height": 6,
        "properties": {
            "title": "Around the function: kills, failed executions",
            "region": "${AWS::Region}",
            "view": "timeSeries",
            "stat": "Sum",
            "period": 300,
            "metrics": [
                *([deployment.names.namespace, metric] for metric in KILLS),
                ["AWS/States", "ExecutionsFailed", "StateMachineArn", f"{machines}{name}"],
                ["AWS/States", "ExecutionsFailed", "StateMachineArn", f"{machines}{name}-many"],
            ],
            "yAxis": {"left": {"label": "Count", "showUnits": False, "min": 0}},
        },
    }
