"""The alarm that undoes a deployment: on what the new version fails by itself, whatever the old one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import aws_cloudwatch, aws_logs
from constructs import Construct

if TYPE_CHECKING:
    import aws_cdk as cdk
    from aws_cdk import aws_lambda

    from infra.settings import Deployment

_PERIOD_S = 60


class VersionAlarm(Construct):
    """Fires at the first failure of one version: a request that it fails through the service, or a kill by Lambda.

    Metric and alarm have the version in their names, so that a deployment begins with an alarm that has never fired:
    one that is in ALARM already would stop the version that mends it.
    """

    def __init__(
        self,
        stack: cdk.Stack,
        deployment: Deployment,
        version: aws_lambda.Version,
        log_group: aws_logs.ILogGroup,
    ) -> None:
        super().__init__(stack, f"Watched{version.node.id}")
        number, namespace = version.version, deployment.names.namespace
        metric = f"FailedByVersion{number}"
        aws_logs.CfnMetricFilter(
            self,
            "Filter",
            filter_name=metric,
            filter_pattern=(
                f'{{ $.Operation = "InvokeFunction" && $.function_version = "{number}"'
                ' && ($.Fault = "service" || $.ServiceFailed > 0) }'
            ),
            log_group_name=log_group.log_group_name,
            metric_transformations=[
                aws_logs.CfnMetricFilter.MetricTransformationProperty(
                    metric_namespace=namespace, metric_name=metric, metric_value="1", unit="Count"
                )
            ],
        )
        name = deployment.function_name
        of_version = {"FunctionName": name, "Resource": f"{name}:live", "ExecutedVersion": number}
        self.made = aws_cloudwatch.CfnAlarm(
            self,
            "Alarm",
            alarm_name=f"{name}-version-{number}",
            alarm_description="[rollback] The version that takes over failed a request, or was ended by Lambda.",
            metrics=[
                _watched("failed", namespace, metric, {}),
                _watched("killed", "AWS/Lambda", "Errors", of_version),
                aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
                    id="watched", expression="SUM(FILL(METRICS(), 0))", label="failures", return_data=True
                ),
            ],
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=1,
            evaluation_periods=1,
            treat_missing_data="notBreaching",
        )
        self.alarm = aws_cloudwatch.Alarm.from_alarm_arn(self, "Reference", self.made.attr_arn)


def _watched(
    name: str, namespace: str, metric: str, dimensions: dict[str, str]
) -> aws_cloudwatch.CfnAlarm.MetricDataQueryProperty:
    pairs = [aws_cloudwatch.CfnAlarm.DimensionProperty(name=key, value=value) for key, value in dimensions.items()]
    stat = aws_cloudwatch.CfnAlarm.MetricStatProperty(
        metric=aws_cloudwatch.CfnAlarm.MetricProperty(namespace=namespace, metric_name=metric, dimensions=pairs),
        period=_PERIOD_S,
        stat="Sum",
    )
    return aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(id=name, metric_stat=stat, return_data=False)
