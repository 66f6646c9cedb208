"""The service: one function with its limits and rights, the ways to it, and the state machines over it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import aws_cdk as cdk
from aws_cdk import (
    aws_codedeploy,
    aws_events,
    aws_events_targets,
    aws_lambda,
    aws_logs,
    aws_s3,
    aws_sqs,
    aws_stepfunctions,
)

from infra import rights, state_machine
from infra.acknowledged import acknowledge
from infra.api import Api
from infra.environment import environment
from infra.values import MIB
from infra.version_alarm import VersionAlarm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constructs import Construct

    from infra.settings import Deployment

HANDLER = "packager.handler.handler"
PRE_TRAFFIC, NEW_VERSION = "packager.portal.pre_traffic.handler", "NEW_VERSION"
"""The hook of deployments, and its variable with the version to probe."""
ALIAS = "live"
HOOKS = "CodeDeployHook_"
"""How the names of functions begin that CodeDeploy may invoke."""
DEAD_LETTERS, PROBE_PLACE, MACHINE = "DEAD_LETTER_QUEUE_URL", "PROBE_PLACE", "REQUEST_MACHINE_ARN"
"""The variables of the function that are known only when it is deployed."""

_ARCHITECTURES = {"arm64": aws_lambda.Architecture.ARM_64, "x86_64": aws_lambda.Architecture.X86_64}


def own_bucket(deployment: Deployment) -> str:
    """Return the name of the service's own bucket, known before it is made: no two accounts can want the same."""
    return f"{deployment.function_name}-{cdk.Aws.ACCOUNT_ID}-{cdk.Aws.REGION}"


class PackagerStack(cdk.Stack):
    """The function behind its alias, its log group, role, dead letters, bucket, state machines, rule and API."""

    def __init__(
        self,
        scope: Construct,
        deployment: Deployment,
        code: aws_lambda.Code,
        **stack: Any,  # noqa: ANN401  as Stack
    ) -> None:
        super().__init__(scope, f"{deployment.function_name}-service", description="Packages models", **stack)
        self.deployment = deployment
        self.name = deployment.function_name
        self.log_group = self._log_group("Logs", f"/aws/lambda/{self.name}")
        self.bucket = self._bucket()
        self.dead_letters = self._dead_letters()
        self._code = code
        self.alias = self._alias(self._function(code))
        self.machine = self._machine(
            "Model",
            self.name,
            state_machine.package_model(deployment),
            {
                "Function": self.alias.function_arn,
                **dict(zip(["Publisher"], rights.publisher(deployment), strict=False)),
            },
            rights.model_machine(deployment, self.alias.function_arn),
        )
        self.machine_of_many = self._machine(
            "Models",
            f"{self.name}-many",
            state_machine.package_models(deployment),
            {"Machine": self.machine.ref, "Bucket": self.bucket.bucket_name},
            rights.models_machine(deployment, own_bucket(deployment)),
        )
        if deployment.portal:
            self._compilations()
        if deployment.probe_minutes:
            self._probes()
        if deployment.user_pool:
            Api(self, deployment, self.alias, self._log_group("ApiLogs", f"/aws/apigateway/{self.name}"))
        cdk.CfnOutput(self, "FunctionArn", value=self.alias.function_arn)
        cdk.CfnOutput(self, "MachineArn", value=self.machine.ref)
        cdk.CfnOutput(self, "MachineOfManyArn", value=self.machine_of_many.ref)
        cdk.CfnOutput(self, "BucketName", value=self.bucket.bucket_name)

    def _log_group(self, name: str, log_group_name: str) -> aws_logs.ILogGroup:
        made = aws_logs.CfnLogGroup(
            self, name, log_group_name=log_group_name, retention_in_days=self.deployment.log_retention_days
        )
        made.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        return aws_logs.LogGroup.from_log_group_name(self, f"{name}Reference", made.ref)

    def _bucket(self) -> aws_s3.Bucket:
        """Return the bucket for the results of many models; components may be written to it as well."""
        bucket = aws_s3.Bucket(
            self,
            "Bucket",
            bucket_name=own_bucket(self.deployment),
            block_public_access=aws_s3.BlockPublicAccess.BLOCK_ALL,
            encryption=aws_s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
            lifecycle_rules=[
                aws_s3.LifecycleRule(
                    id="abort-incomplete-uploads", abort_incomplete_multipart_upload_after=cdk.Duration.days(1)
                ),
                # What a probe that was killed could not remove.
                aws_s3.LifecycleRule(id="expire-probes", prefix=f"{rights.PROBES}/", expiration=cdk.Duration.days(1)),
                aws_s3.LifecycleRule(id="expire-runs", prefix="runs/", expiration=cdk.Duration.days(90)),
            ],
        )
        acknowledge(bucket, {"AwsSolutions-S1": "Data events of CloudTrail tell the same without a second bucket."})
        return bucket

    def _dead_letters(self) -> aws_sqs.Queue:
        queue = aws_sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"{self.name}-dead-letters",
            retention_period=cdk.Duration.days(14),
            encryption=aws_sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        acknowledge(queue, {"AwsSolutions-SQS3": "This is the queue of dead letters."})
        return queue

    def _function(self, code: aws_lambda.Code) -> aws_lambda.Function:
        deployment = self.deployment
        role = rights.role(
            self,
            "Role",
            "lambda.amazonaws.com",
            rights.function(deployment, self.dead_letters.queue_arn, own_bucket(deployment)),
        )
        function = aws_lambda.Function(
            self,
            "Function",
            function_name=self.name,
            runtime=aws_lambda.Runtime.PYTHON_3_13,
            architecture=_ARCHITECTURES[deployment.architecture],
            handler=HANDLER,
            code=code,
            memory_size=deployment.memory_bytes // MIB,
            ephemeral_storage_size=cdk.Size.mebibytes(deployment.scratch_bytes // MIB),
            timeout=cdk.Duration.seconds(deployment.time_s),
            reserved_concurrent_executions=deployment.reserved_concurrency,
            environment={**environment(deployment), **self._known_when_deployed()},
            role=role.without_policy_updates(),
            log_group=self.log_group,
            tracing=aws_lambda.Tracing.ACTIVE,
            dead_letter_queue=self.dead_letters,
            current_version_options=aws_lambda.VersionOptions(removal_policy=cdk.RemovalPolicy.RETAIN),
        )
        acknowledge(function, {"AwsSolutions-L1": "The newest Python that the packager is tested with."})
        return function

    def _alias(self, function: aws_lambda.Function) -> aws_lambda.Alias:
        """Return the alias that callers use; a new version takes it over step by step, and back when alarms fire."""
        alias = aws_lambda.Alias(
            self,
            "Alias",
            alias_name=ALIAS,
            version=function.current_version,
            # Of events without a caller who waits; after that they are dead letters.
            retry_attempts=2,
            max_event_age=cdk.Duration.hours(6),
        )
        application = aws_codedeploy.LambdaApplication(self, "Application", application_name=self.name)
        group = aws_codedeploy.LambdaDeploymentGroup(
            self,
            "Deployment",
            alias=alias,
            application=application,
            deployment_config=aws_codedeploy.LambdaDeploymentConfig.from_lambda_deployment_config_name(
                self, "Steps", _steps(self.deployment.deployment)
            ),
            alarms=[VersionAlarm(self, self.deployment, function.current_version, self.log_group).alarm],
            auto_rollback=aws_codedeploy.AutoRollbackConfig(
                failed_deployment=True, stopped_deployment=True, deployment_in_alarm=True
            ),
        )
        if self.deployment.probe_minutes:
            self._probe_before_traffic(function.current_version, alias, group)
        acknowledge(
            group,
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AWSCodeDeployRoleForLambdaLimited]": "AWS keeps what its own deployments need in this policy."
            },
        )
        return alias

    def _probe_before_traffic(
        self, version: aws_lambda.Version, alias: aws_lambda.Alias, group: aws_codedeploy.LambdaDeploymentGroup
    ) -> None:
        hook = self._pre_traffic(version)
        # Not the group's `pre_hook`, which adds rights: AWS's policy lets CodeDeploy invoke functions of this name.
        made = cast("aws_lambda.CfnAlias", alias.node.default_child)
        made.cfn_options.update_policy = cdk.CfnUpdatePolicy(
            code_deploy_lambda_alias_update=cdk.CfnCodeDeployLambdaAliasUpdate(
                application_name=group.application.application_name,
                deployment_group_name=group.deployment_group_name,
                before_allow_traffic_hook=hook.function_name,
            )
        )

    def _pre_traffic(self, version: aws_lambda.Version) -> aws_lambda.Function:
        """Return the hook that has a version probe itself before it gets traffic."""
        name = f"{HOOKS}{self.name}"
        log_group = self._log_group("PreTrafficLogs", f"/aws/lambda/{name}")
        hook = aws_lambda.Function(
            self,
            "PreTraffic",
            function_name=name,
            runtime=aws_lambda.Runtime.PYTHON_3_13,
            architecture=_ARCHITECTURES[self.deployment.architecture],
            handler=PRE_TRAFFIC,
            code=self._code,
            memory_size=256,
            timeout=cdk.Duration.minutes(5),
            environment={NEW_VERSION: version.function_arn},
            role=rights.role(
                self, "PreTrafficRole", "lambda.amazonaws.com", rights.pre_traffic(self.name, name)
            ).without_policy_updates(),
            log_group=log_group,
        )
        acknowledge(hook, {"AwsSolutions-L1": "The newest Python that the packager is tested with."})
        return hook

    def _machine(
        self,
        name: str,
        full_name: str,
        definition: Mapping[str, Any],
        filled_in: Mapping[str, str],
        allowed: Sequence[rights.Right],
    ) -> aws_stepfunctions.CfnStateMachine:
        logs = self._log_group(f"{name}Logs", f"/aws/vendedlogs/states/{full_name}")
        destination = aws_stepfunctions.CfnStateMachine.LogDestinationProperty(
            cloud_watch_logs_log_group=aws_stepfunctions.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                log_group_arn=logs.log_group_arn
            )
        )
        role = rights.role(self, f"{name}Role", "states.amazonaws.com", allowed)
        return aws_stepfunctions.CfnStateMachine(
            self,
            f"{name}Machine",
            state_machine_name=full_name,
            role_arn=role.role_arn,
            definition_string=_filled(json.dumps(definition), {"Partition": cdk.Aws.PARTITION, **filled_in}),
            # The data of executions is the users': names of models and buckets stay out of the logs.
            logging_configuration=aws_stepfunctions.CfnStateMachine.LoggingConfigurationProperty(
                level="ALL", include_execution_data=False, destinations=[destination]
            ),
            tracing_configuration=aws_stepfunctions.CfnStateMachine.TracingConfigurationProperty(enabled=True),
        )

    def _compilations(self) -> None:
        """Have the function told of every compilation that ended."""
        aws_events.Rule(
            self,
            "CompilationEnded",
            description="A compilation ended: package its target",
            event_pattern=aws_events.EventPattern(
                source=["aws.sagemaker"],
                detail_type=["SageMaker Compilation Job State Change"],
                detail={"CompilationJobStatus": ["COMPLETED", "FAILED", "STOPPED", "Completed", "Failed", "Stopped"]},
            ),
            targets=[
                aws_events_targets.LambdaFunction(
                    self.alias,
                    dead_letter_queue=self.dead_letters,
                    max_event_age=cdk.Duration.hours(6),
                    retry_attempts=10,
                )
            ],
        )

    def _known_when_deployed(self) -> dict[str, str]:
        place = f"s3://{own_bucket(self.deployment)}/{rights.PROBES}"
        return {
            DEAD_LETTERS: self.dead_letters.queue_url,
            **({PROBE_PLACE: place} if self.deployment.probe_minutes else {}),
            **({MACHINE: rights.machine_arn(self.name)} if self.deployment.hands_over else {}),
        }

    def _probes(self) -> None:
        """Have the function probe itself. A probe that cannot be delivered is none: the alarm hears its silence."""
        minutes = self.deployment.probe_minutes
        aws_events.Rule(
            self,
            "Probes",
            description="Packages a tiny model through everything that the function may use",
            schedule=aws_events.Schedule.rate(cdk.Duration.minutes(minutes)),
            targets=[
                aws_events_targets.LambdaFunction(
                    self.alias,
                    event=aws_events.RuleTargetInput.from_object({"probe": True}),
                    max_event_age=cdk.Duration.minutes(minutes),
                    retry_attempts=2,
                )
            ],
        )


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def _steps(deployment: str) -> str:
    return f"CodeDeployDefault.Lambda{deployment}"
