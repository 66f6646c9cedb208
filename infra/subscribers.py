"""Whom the alarms call: topics of our own with e-mails, HTTPS endpoints and Slack channels, and topics that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import Aws, aws_chatbot, aws_iam, aws_kms, aws_sns
from constructs import Construct

from infra import rights
from telemetry.watch import Severity

if TYPE_CHECKING:
    from infra.settings import Deployment, Heard

_CHARTS = ("cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage")


class Subscribers(Construct):
    """The topics for pages and tickets, and all who hear them; `topics` gives by severity the ARNs to write to.

    CloudWatch needs a key of our own for our topics: it cannot use the one that SNS offers.
    """

    def __init__(self, stack: cdk.Stack, deployment: Deployment) -> None:
        super().__init__(stack, "Subscribers")
        self._stack, self._deployment = stack, deployment
        self._key = aws_kms.Key(
            stack,
            "TopicKey",
            description="Encrypts alarm messages",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        self._key.grant(_cloudwatch(), "kms:Decrypt", "kms:GenerateDataKey*")
        self._alarms = rights.arn("cloudwatch", f"alarm:{deployment.names.prefix}*")
        heard = {severity: deployment.heard(severity) for severity in Severity}
        own = {severity: self._topic(severity, each) for severity, each in heard.items()}
        self.topics = {str(severity): (own[severity].topic_arn, *heard[severity].topics) for severity in Severity}
        self._slack({severity: (own[severity], each.slack) for severity, each in heard.items()})

    def _topic(self, severity: Severity, heard: Heard) -> aws_sns.Topic:
        """Return a topic to which this deployment's alarms may write, and no others, with its subscriptions."""
        topic = aws_sns.Topic(
            self._stack,
            f"Topic-{severity}",
            topic_name=f"{self._deployment.function_name}-{severity}",
            master_key=self._key,
            enforce_ssl=True,
        )
        topic.add_to_resource_policy(
            aws_iam.PolicyStatement(
                actions=["sns:Publish"],
                principals=[_cloudwatch()],
                resources=[topic.topic_arn],
                conditions={"StringEquals": rights.OWN_ACCOUNT, "ArnLike": {"aws:SourceArn": self._alarms}},
            )
        )
        for protocol, endpoints in (("email", heard.emails), ("https", heard.endpoints)):
            for number, endpoint in enumerate(endpoints, 1):
                aws_sns.CfnSubscription(
                    self,
                    f"{severity}-{protocol}-{number}",
                    topic_arn=topic.topic_arn,
                    protocol=protocol,
                    endpoint=endpoint,
                )
        return topic

    def _slack(self, channels: dict[Severity, tuple[aws_sns.Topic, tuple[str, ...]]]) -> None:
        """Have AWS Chatbot write to channels: one configuration for each, which is all that it takes."""
        names = dict.fromkeys(name for _, found in channels.values() for name in found)
        if not names:
            return
        role = rights.role(
            self._stack,
            "SlackRole",
            "chatbot.amazonaws.com",
            [
                rights.Right(("cloudwatch:DescribeAlarms",), (self._alarms,), "The alarms of this deployment."),
                rights.Right(_CHARTS, ("*",), "A chart is no resource that could be named."),
            ],
        )
        for name in names:
            aws_chatbot.CfnSlackChannelConfiguration(
                self,
                f"Slack-{name}",
                configuration_name=f"{self._deployment.function_name}-{name}",
                slack_workspace_id=self._deployment.slack_workspace,
                slack_channel_id=name,
                iam_role_arn=role.role_arn,
                sns_topic_arns=[topic.topic_arn for topic, found in channels.values() if name in found],
                # Without it whoever is in the channel may do all that the role may ever be given.
                guardrail_policies=[f"arn:{Aws.PARTITION}:iam::aws:policy/CloudWatchReadOnlyAccess"],
                logging_level="ERROR",
            )


def _cloudwatch() -> aws_iam.ServicePrincipal:
    return aws_iam.ServicePrincipal("cloudwatch.amazonaws.com")
