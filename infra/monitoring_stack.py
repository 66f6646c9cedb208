"""What watches the service: the catalog's dashboards, alarms, runbooks and queries, and whom they call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch, aws_logs

from dashboards.product.layout import dashboard_bodies
from dashboards.product.runbooks import runbook_board
from dashboards.product.specs import Catalog, alarm_parameters
from infra.automation import Automations
from infra.settings import CONSOLE_PLACE, CONSOLES
from infra.subscribers import Subscribers
from telemetry.watch import watching
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
        self._consoles: cdk.CfnMapping | None = None
        self.log_group_name = f"/aws/lambda/{deployment.function_name}"
        self._dashboards()
        self._alarms()
        self._queries()
        self._metric_filters()
        Automations(self, deployment, self.source)

    def _dashboards(self) -> None:
        bodies = dashboard_bodies(self.source)
        service = bodies[self.source.dashboards[1]]["widgets"]
        service.append(_around_the_function(self.deployment, max(each["y"] + each["height"] for each in service)))
        for name, body in {**bodies, RUNBOOK_BOARD: runbook_board(self.source)}.items():
            aws_cloudwatch.CfnDashboard(
                self,
                f"Dashboard-{name}",
                dashboard_name=self.source.prefix + name,
                dashboard_body=self._filled(json.dumps(body, ensure_ascii=False)),
            )

    def _alarms(self) -> None:
        """Take over the alarms as they stand: what is tested offline is what is deployed."""
        parameters = alarm_parameters(self.source, Subscribers(self, self.deployment).topics)
        made: dict[str, cdk.CfnResource] = {}
        for kind, type_name in (("MetricAlarms", "Alarm"), ("CompositeAlarms", "CompositeAlarm")):
            for alarm in parameters[kind]:
                resource = cdk.CfnResource(
                    self,
                    f"Alarm-{alarm['AlarmName']}",
                    type=f"AWS::CloudWatch::{type_name}",
                    properties=self._with_references(alarm),
                )
                for child in made if type_name == "CompositeAlarm" else ():
                    if f'"{child}"' in alarm["AlarmRule"] or child == alarm.get("ActionsSuppressor"):
                        resource.add_resource_dependency(made[child])
                made[alarm["AlarmName"]] = resource

    def _filled(self, text: str) -> str:
        """Return a text with what only the deployment knows put in by it: region, account, console of the partition."""
        if CONSOLE_PLACE not in text:
            return cdk.Fn.sub(text)
        if self._consoles is None:
            hosts = {partition: {"host": host} for partition, host in CONSOLES.items()}
            self._consoles = cdk.CfnMapping(self, "Consoles", mapping=hosts)
        host = self._consoles.find_in_map(cdk.Aws.PARTITION, "host")
        return cdk.Fn.sub(text, {CONSOLE_PLACE.strip("${}"): host})

    def _with_references(self, value: Any) -> Any:  # noqa: ANN401  any member of an alarm
        """Return the parameters of an alarm with each text filled in that needs it."""
        if isinstance(value, dict):
            return {key: self._with_references(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._with_references(each) for each in value]
        return self._filled(value) if isinstance(value, str) and "${" in value.replace("${Token[", "") else value

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
