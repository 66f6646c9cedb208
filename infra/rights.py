"""Who may do what: every right that is granted, with the reason for each wildcard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aws_cdk import Aws, Stack, aws_iam

from infra.acknowledged import acknowledge, wildcard
from infra.passed_on import variable
from packager.portal.settings import PROBE_ID
from packager.stores.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.settings import Deployment

OWN_ACCOUNT = {"aws:SourceAccount": Aws.ACCOUNT_ID}
"""The condition that a service acts for this account, and was not sent by somebody else's resource."""

PROBES = "probes"
"""The prefix of the own bucket in which probes write and remove."""

COMPONENTS = "model_artifacts/*"
"""Where the packager writes, below the prefix of a place."""


@dataclass(frozen=True)
class Right:
    """Actions on resources; `why` is the reason when a resource has a wildcard."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    why: str = ""
    conditions: Mapping[str, Any] = field(default_factory=dict)


def role(stack: Stack, name: str, service: str, rights: Sequence[Right], **more: Any) -> aws_iam.Role:  # noqa: ANN401  as Role
    """Return a role for a service with exactly these rights; what other constructs would add is not taken.

    Services that act for many accounts may take it only on behalf of this one. Lambda does not say on whose behalf.
    """
    statements = [
        aws_iam.PolicyStatement(actions=[*right.actions], resources=[*right.resources], conditions={**right.conditions})
        for right in rights
        if right.resources
    ]
    made = aws_iam.Role(
        stack,
        name,
        assumed_by=aws_iam.ServicePrincipal(
            service, conditions={} if service == "lambda.amazonaws.com" else {"StringEquals": OWN_ACCOUNT}
        ),
        inline_policies={"rights": aws_iam.PolicyDocument(statements=statements, minimize=False)},
        **more,
    )
    acknowledge(made, {wildcard(stack, each): right.why for right in rights for each in right.resources if "*" in each})
    return made


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource in this account and region."""
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def s3_arn(resource: str) -> str:
    """Return the ARN of a bucket or of objects."""
    return f"arn:{Aws.PARTITION}:s3:::{resource}"


def function(deployment: Deployment, dead_letters_arn: str, own_bucket: str) -> list[Right]:
    """Return what the function may do: the buckets, tables, keys and roles of the settings, its logs and traces."""
    return [
        Right(
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            (arn("logs", f"log-group:/aws/lambda/{deployment.function_name}:*"),),
            "Lambda names the streams of the function's own log group.",
        ),
        TRACES,
        Right(("sqs:SendMessage",), (dead_letters_arn,)),
        *_reading(deployment.read_from),
        *_writing((*deployment.write_to, own_bucket), _options(deployment)),
        *(_probing(deployment, own_bucket) if deployment.probe_minutes else ()),
        _keys(deployment, "kms:Decrypt", "kms:GenerateDataKey"),
        *(_portal(deployment) if deployment.portal else ()),
        Right(("sts:AssumeRole",), deployment.use_case_roles),
        Right(("lambda:InvokeFunction",), publisher(deployment)),
        *(_handing_over(deployment.function_name) if deployment.hands_over else ()),
    ]


def pre_traffic(function: str, hook: str) -> list[Right]:
    """Return what the hook of deployments may do: have a version probe itself, and tell CodeDeploy."""
    streams = "Lambda names the streams of the hook's own log group."
    logs = arn("logs", f"log-group:/aws/lambda/{hook}:*")
    return [
        Right(("logs:CreateLogStream", "logs:PutLogEvents"), (logs,), streams),
        Right(
            ("lambda:InvokeFunction",),
            (arn("lambda", f"function:{function}:*"),),
            "Lambda numbers the versions of the function.",
        ),
        Right(
            ("codedeploy:PutLifecycleEventHookExecutionStatus",),
            (arn("codedeploy", f"deploymentgroup:{function}/*"),),
            "CodeDeploy names the group of the deployments.",
        ),
    ]


def _handing_over(machine: str) -> list[Right]:
    """Return what the function does with requests that take longer than the API waits."""
    name = "The function names the executions."
    return [
        Right(("states:StartExecution",), (machine_arn(machine),)),
        Right(("states:DescribeExecution",), (arn("states", f"execution:{machine}:*"),), name),
    ]


def machine_arn(name: str) -> str:
    """Return the ARN of a state machine, known before it is made: it invokes the function, which starts it."""
    return arn("states", f"stateMachine:{name}")


TRACES = Right(
    ("xray:PutTraceSegments", "xray:PutTelemetryRecords"), ("*",), "X-Ray knows no resources that could be named."
)


def publisher(deployment: Deployment) -> tuple[str, ...]:
    """Return the ARN of the publishing function, if there is one."""
    name = deployment.publish_function
    return (arn("lambda", f"function:{name}"),) if name else ()


def _reading(places: Sequence[str]) -> list[Right]:
    objects = tuple(s3_arn(f"{place}/*") for place in places)
    actions = ("s3:GetObject", "s3:GetObjectVersion")  # the second where a URI ends in ?versionId=
    return [Right(actions, objects, "The names of artifacts and lists are the users'."), *_listing(places)]


def _options(deployment: Deployment) -> S3Options:
    """Return what the function will ask of S3 beside the bytes."""
    return S3Options.from_environment({variable(name): value for name, value in deployment.packager})


def _objects_written(options: S3Options) -> tuple[str, ...]:
    return (
        "s3:AbortMultipartUpload",
        "s3:GetObject",
        "s3:GetObjectTagging",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
        *(("s3:PutObjectAcl",) if options.acl else ()),
        *(("s3:PutObjectTagging",) if options.tags else ()),
    )


def _writing(places: Sequence[str], options: S3Options) -> list[Right]:
    objects = tuple(s3_arn(f"{place}/{COMPONENTS}") for place in places)
    buckets = tuple(dict.fromkeys(s3_arn(place.partition("/")[0]) for place in places))
    return [
        Right(_objects_written(options), objects, "The name of a component follows from its content."),
        # What a run that was killed left open is found by listing, for which S3 knows no prefix.
        Right(("s3:ListBucketMultipartUploads",), buckets),
        *_listing(places),
    ]


def _probing(deployment: Deployment, own_bucket: str) -> list[Right]:
    """Return what a probe does beyond packaging: it writes artifacts of its own, and removes all that is its own."""
    objects = s3_arn(f"{own_bucket}/{PROBES}/*")
    record = Right(
        ("dynamodb:DeleteItem",),
        (arn("dynamodb", f"table/{deployment.training_jobs_table}"),),
        conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [PROBE_ID]}},
    )
    return [
        Right(
            (*_objects_written(_options(deployment)), "s3:DeleteObject"),
            (objects,),
            "Each probe has a prefix of its own.",
        ),
        *([record] if deployment.portal else []),
    ]


def _keys(deployment: Deployment, *actions: str) -> Right:
    """Return the use of the keys for what lies in buckets and tables; by themselves they encrypt nothing for anyone."""
    wanted = _options(deployment).kms_key_id
    keys = (*deployment.encryption_keys, *((wanted,) if wanted.startswith("arn:") else ()))
    return Right(
        actions, tuple(dict.fromkeys(keys)), conditions={"StringLike": {"kms:ViaService": ["s3.*", "dynamodb.*"]}}
    )


def _listing(places: Sequence[str]) -> list[Right]:
    """Return the rights without which S3 answers "forbidden" instead of "not there"."""
    rights = []
    for place in places:
        bucket, _, prefix = place.partition("/")
        within = {"StringLike": {"s3:prefix": f"{prefix}/*"}} if prefix else {}
        rights.append(Right(("s3:ListBucket",), (s3_arn(bucket),), conditions=within))
    return rights


def _portal(deployment: Deployment) -> list[Right]:
    jobs = arn("dynamodb", f"table/{deployment.training_jobs_table}")
    index = deployment.compilation_job_index
    look_up = Right(("dynamodb:Query",), (f"{jobs}/index/{index}",)) if index else Right(("dynamodb:Scan",), (jobs,))
    others = (deployment.usecases_table, deployment.user_roles_table)
    return [
        Right(("dynamodb:GetItem", "dynamodb:UpdateItem"), (jobs,)),
        look_up,
        Right(("dynamodb:GetItem",), tuple(arn("dynamodb", f"table/{table}") for table in others)),
        Right(("dynamodb:PutItem",), (arn("dynamodb", f"table/{deployment.audit_log_table}"),)),
    ]


_LOG_DELIVERY = Right(
    (
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:GetLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:UpdateLogDelivery",
    ),
    ("*",),
    "Deliveries of logs know no resources that could be named.",
)
_SAMPLING = Right(("xray:GetSamplingRules", "xray:GetSamplingTargets"), ("*",), TRACES.why)


def _children(name: str) -> list[Right]:
    """Return what a machine with a distributed Map does with the executions it is made of."""
    executions = tuple(arn("states", f"execution:{name}{mark}*") for mark in ":/")
    return [
        Right(("states:StartExecution",), (machine_arn(name),)),
        Right(("states:DescribeExecution", "states:StopExecution"), executions, "Step Functions names the executions."),
    ]


def model_machine(deployment: Deployment, function_arn: str) -> list[Right]:
    """Return what the machine of one model may do."""
    return [
        Right(("lambda:InvokeFunction",), (function_arn, *publisher(deployment))),
        *_children(deployment.function_name),
        _LOG_DELIVERY,
        TRACES,
        _SAMPLING,
    ]


def models_machine(deployment: Deployment, own_bucket: str) -> list[Right]:
    """Return what the machine of many models may do: read lists, start the other machine, write what came of it."""
    lists = (*deployment.read_from, own_bucket)
    results = (s3_arn(f"{own_bucket}/runs/*"),)
    waiting = arn("events", "rule/StepFunctionsGetEventsForStepFunctionsExecutionRule")
    return [
        *_children(f"{deployment.function_name}-many"),
        *_children(deployment.function_name),
        Right(("events:DescribeRule", "events:PutRule", "events:PutTargets"), (waiting,)),
        Right(
            ("s3:GetObject",),
            tuple(s3_arn(f"{place}/*") for place in lists),
            "The names of artifacts and lists are the users'.",
        ),
        _keys(deployment, "kms:Decrypt"),
        Right(
            ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"),
            results,
            "Step Functions names the results of a run.",
        ),
        _LOG_DELIVERY,
        TRACES,
        _SAMPLING,
    ]
