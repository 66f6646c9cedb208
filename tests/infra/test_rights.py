"""Who may do what, as a list that has to be changed together with the rights."""

from __future__ import annotations

import ast
import json

import pytest

from infra import rights
from infra.bundle import ROOT
from infra.settings import Deployment
from tests.infra.conftest import of_type, templates

OBSERVING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
LOG_DELIVERY = {
    f"logs:{action}"
    for action in (
        "CreateLogDelivery", "DeleteLogDelivery", "DescribeLogGroups", "DescribeResourcePolicies",
        "GetLogDelivery", "ListLogDeliveries", "PutResourcePolicy", "UpdateLogDelivery",
    )
}  # fmt: skip
KEY_ARN = "arn:aws:kms:eu-west-1:123456789012:key/abc"
MAP = {"states:StartExecution", "states:DescribeExecution", "states:StopExecution"}
MACHINE = OBSERVING | LOG_DELIVERY | MAP | {"xray:GetSamplingRules", "xray:GetSamplingTargets"}
WRITING = {
    "s3:AbortMultipartUpload", "s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket", "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts", "s3:PutObject",
}  # fmt: skip
ALONE = OBSERVING | WRITING | {"s3:DeleteObject", "logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}
FUNCTION = ALONE | {
    "s3:GetObjectVersion",
    "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan", "dynamodb:UpdateItem",
    "kms:Decrypt", "kms:GenerateDataKey", "lambda:InvokeFunction", "sts:AssumeRole",
    "states:DescribeExecution", "states:StartExecution",
}  # fmt: skip
MAY = {
    ("service", "Role"): FUNCTION,
    ("service", "PreTrafficRole"): {
        "codedeploy:PutLifecycleEventHookExecutionStatus",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    },
    ("service", "ModelRole"): MACHINE | {"lambda:InvokeFunction"},
    ("service", "ModelsRole"): MACHINE
    | {"events:DescribeRule", "events:PutRule", "events:PutTargets"}
    | {"kms:Decrypt", "s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"},
    ("monitoring", "SlackRole"): {
        "cloudwatch:DescribeAlarms",
        "cloudwatch:GetMetricData",
        "cloudwatch:GetMetricWidgetImage",
    },
    ("monitoring", "RunbookStarterRole"): {"iam:PassRole", "ssm:StartAutomationExecution"},
}
READING = {
    "logs:StartQuery",
    "logs:GetQueryResults",
    "lambda:GetFunctionConfiguration",
    "s3:ListBucketMultipartUploads",
}
RUNBOOKS = READING | {"s3:AbortMultipartUpload"}


def statements(template):
    """Every statement of every role and policy: (name of the role, statement)."""
    for name, role in of_type(template, "AWS::IAM::Role").items():
        for policy in role.get("Policies", ()):
            yield from ((name, each) for each in policy["PolicyDocument"]["Statement"])
    for name, policy in of_type(template, "AWS::IAM::Policy").items():
        yield from ((name, each) for each in policy["PolicyDocument"]["Statement"])


def listed(value):
    return value if isinstance(value, list) else [value]


def actions(template):
    found = {}
    for name, statement in statements(template):
        found.setdefault(name[:-8], set()).update(listed(statement["Action"]))
    return found


def test_every_role_may_do_what_is_listed_here_and_nothing_else(everything):
    found = {(stack, name): may for stack, each in templates(everything).items() for name, may in actions(each).items()}
    runbooks = {key: may for key, may in found.items() if key[1].startswith("Runbook") and key not in MAY}
    assert {key: may for key, may in found.items() if key not in runbooks} == MAY
    assert runbooks
    for key, may in runbooks.items():
        assert may <= RUNBOOKS, key


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ({"s3_tags": "team=vision"}, {"s3:PutObjectTagging"}),
        ({"s3_acl": "bucket-owner-full-control"}, {"s3:PutObjectAcl"}),
        ({"s3_encryption": "aws:kms", "s3_kms_key_id": KEY_ARN}, {"kms:Decrypt", "kms:GenerateDataKey"}),
        ({"s3_storage_class": "STANDARD_IA", "s3_requester_pays": "true"}, set()),
    ],
)
def test_what_is_asked_of_s3_brings_exactly_the_rights_it_needs(asked, more):
    plain, wanted = (
        {
            (action, resource)
            for right in rights.function(Deployment.from_context({"stages": {"dev": given}}), "dead", "own")
            for action in right.actions
            for resource in right.resources
        }
        for given in ({}, asked)
    )
    assert plain <= wanted
    assert {action for action, _ in wanted - plain} == more


def test_only_sweeping_runbooks_may_abort_uploads(monitoring):
    changing = {
        name for name, may in actions(monitoring).items() if name.startswith("Runbook") and may & (RUNBOOKS - READING)
    }
    started = json.dumps([each["Targets"] for each in of_type(monitoring, "AWS::Events::Rule").values()])
    assert changing
    assert not [name for name in changing if f'"{name}' in started]


def test_without_a_portal_the_function_has_no_right_to_tables_roles_or_functions(small):
    assert actions(templates(small)["service"])["Role"] == ALONE


def test_what_a_probe_may_remove_is_its_own(service):
    removals = {"s3:DeleteObject", "dynamodb:DeleteItem"}
    objects, record = [each for _, each in statements(service) if removals & {*listed(each["Action"])}]
    assert "/probes/*" in json.dumps(objects["Resource"])
    assert record["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["packager-probe"]}}


def test_no_statement_allows_an_action_with_a_wildcard_or_denies(everything):
    for template in templates(everything).values():
        for name, statement in statements(template):
            assert statement["Effect"] == "Allow", name
            assert not [each for each in listed(statement["Action"]) if "*" in each], name


def test_every_resource_with_a_wildcard_has_a_reason_beside_it(everything):
    for template in templates(everything).values():
        for name, statement in statements(template):
            wild = [each for each in listed(statement["Resource"]) if "*" in json.dumps(each)]
            known = template["Resources"][name].get("Metadata", {}).get("cdk_nag", {}).get("rules_to_suppress", ())
            reasons = [rule for rule in known if rule["id"].startswith("AwsSolutions-IAM5[Resource::")]
            assert not wild or reasons, (name, wild)


def test_whole_services_are_named_only_where_aws_knows_no_resources(everything):
    unnameable = OBSERVING | LOG_DELIVERY | {"xray:GetSamplingRules", "xray:GetSamplingTargets", "logs:GetQueryResults"}
    unnameable |= {"cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage"}
    for template in templates(everything).values():
        for name, statement in statements(template):
            if "*" in listed(statement["Resource"]):
                assert set(listed(statement["Action"])) <= unnameable, name


def test_the_function_reaches_only_the_places_tables_roles_and_keys_of_the_settings(service):
    reached = {
        json.dumps(each)
        for name, statement in statements(service)
        if name.startswith("Role")
        for each in listed(statement["Resource"])
    }
    named = ("models/trained/*", "compiled-models/*", "components/edge/model_artifacts/*", "role/use-case")
    named += ("table/training-jobs", "table/usecases", "table/user-roles", "table/audit-log", "key/1234")
    named += ("function:publish-components", ":stateMachine:edge-model-packager-test", ":execution:edge-model-packager")
    for each in named:
        assert [resource for resource in reached if each in resource], each
    allowed = (
        *named,
        "log-group:/aws/lambda/edge-model-packager-test:*",
        ":models",
        ":compiled-models",
        ":components",
        "edge-model-packager-test-",
        "DeadLetters",
        '"*"',
    )
    assert [resource for resource in reached if not any(part in resource for part in allowed)] == []


def test_services_take_a_role_only_for_this_account(everything):
    for template in templates(everything).values():
        for name, role in of_type(template, "AWS::IAM::Role").items():
            for statement in role["AssumeRolePolicyDocument"]["Statement"]:
                for_us = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
                told = statement["Principal"]["Service"] not in {"lambda.amazonaws.com", "codedeploy.amazonaws.com"}
                assert statement.get("Condition") == (for_us if told else None), name


def test_only_alarms_of_this_deployment_may_write_to_the_topics(monitoring):
    policies = of_type(monitoring, "AWS::SNS::TopicPolicy").values()
    assert policies
    for policy in policies:
        (allowed,) = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
        assert (allowed["Action"], allowed["Principal"]) == ("sns:Publish", {"Service": "cloudwatch.amazonaws.com"})
        assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        assert ":alarm:edge-model-packager-test-*" in json.dumps(allowed["Condition"]["ArnLike"]["aws:SourceArn"])


def test_keys_are_used_for_buckets_and_tables_only(everything):
    used = [
        each
        for template in templates(everything).values()
        for _, each in statements(template)
        if any(action.startswith("kms:") for action in listed(each["Action"]))
    ]
    assert used
    assert {json.dumps(each["Condition"]) for each in used} == {
        '{"StringLike": {"kms:ViaService": ["s3.*", "dynamodb.*"]}}'
    }


def test_the_function_is_called_only_by_the_rule_and_the_routes(service):
    permissions = of_type(service, "AWS::Lambda::Permission").values()
    assert {each["Principal"] for each in permissions} == {"events.amazonaws.com", "apigateway.amazonaws.com"}
    for each in permissions:
        source = json.dumps(each["SourceArn"])
        assert "CompilationEnded" in source or "Probes" in source or "api/v1/training/*/package" in source
        assert "test-invoke-stage" not in source


CALLS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload", "assume_role": "sts:AssumeRole",
    "complete_multipart_upload": "s3:PutObject", "create_multipart_upload": "s3:PutObject",
    "delete_item": "dynamodb:DeleteItem", "delete_object": "s3:DeleteObject",
    "describe_execution": "states:DescribeExecution",
    "get_item": "dynamodb:GetItem", "get_object": "s3:GetObject", "get_object_tagging": "s3:GetObjectTagging",
    "head_bucket": "s3:ListBucket", "head_object": "s3:GetObject", "invoke": "lambda:InvokeFunction",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads", "list_parts": "s3:ListMultipartUploadParts",
    "put_item": "dynamodb:PutItem", "put_object": "s3:PutObject",
    "query": "dynamodb:Query", "scan": "dynamodb:Scan", "start_execution": "states:StartExecution",
    "update_item": "dynamodb:UpdateItem",
    "upload_part": "s3:PutObject", "upload_part_copy": "s3:PutObject",
}  # fmt: skip
"""The right that each call of the packager needs."""
OF_CALLERS = {"download_file", "get_caller_identity", "upload_file", "upload_fileobj"}
"""Calls on clients that callers of the library bring along, or that publishing makes; the function does neither."""


def test_every_call_that_the_packager_makes_is_one_that_the_function_may_make():
    import boto3  # noqa: PLC0415  beside its use

    services = ("s3", "dynamodb", "sts", "lambda", "stepfunctions")
    names = {name for service in services for name in dir(boto3.client(service, "us-east-1"))}
    spoken = (
        {
            node.attr
            for path in (ROOT / "packager").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Attribute) and node.attr in names and not node.attr.startswith("_")
        }
        - {"close", "meta", "exceptions", "generate_presigned_url"}
        - OF_CALLERS
    )
    assert spoken == set(CALLS)
    assert {CALLS[name] for name in spoken} <= FUNCTION | {"dynamodb:Query"}
