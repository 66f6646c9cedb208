"""What a bucket's policy demands of uploads, where Ceph enforces it: refused in words without, packaged with."""

from __future__ import annotations

import hashlib
import json

import pytest

from packager.errors import AccessDeniedError
from packager.packaging import package
from packager.stores import Stores
from packager.stores.s3_options import S3Options
from tests.ceph import KMS_KEY
from tests.packages import Model, ground
from tests.s3_servers import NotHereError, ceph

pytestmark = pytest.mark.reliability

MODELS = {
    "small": Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")}),
    "parts": Model({"compiled.so": 5000, "compiled.params": 9 << 20}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    try:
        with ceph(tmp_path_factory.mktemp("ceph")) as server:
            yield server
    except NotHereError as error:
        pytest.skip(str(error))


@pytest.fixture
def bucket(server):
    """A bucket with a trained artifact, one that fits in a request and one of two parts."""
    name, direct = server.bucket(), server.client()
    with ground() as here:
        direct.upload_file(here.trained, name, "trained.tar.gz")
        for model, made in MODELS.items():
            direct.upload_file(here.compiled(made), name, f"{model}.tar.gz")
    return name


def packaged(server, bucket, model, **options):
    stores = Stores(server.client(), s3=S3Options(**options))
    artifact = {"arm64-cpu": f"s3://{bucket}/{model}.tar.gz"}
    return package(f"s3://{bucket}/trained.tar.gz", artifact, f"s3://{bucket}/out", stores=stores).components[0]


def demand(server, bucket, condition):
    """Refuse what makes an object while the condition holds."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": condition,
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


DEMANDS = {
    "encryption": (
        {"Null": {"s3:x-amz-server-side-encryption": "true"}},
        {"encryption": "aws:kms", "kms_key_id": KMS_KEY},
    ),
    "acl": (
        {"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
        {"acl": "bucket-owner-full-control"},
    ),
    "tags": ({"Null": {"s3:RequestObjectTag/team": "true"}}, {"tags": "team=vision&stage=prod"}),
}


def assert_refused_in_words(server, bucket, component):
    assert isinstance(component.error, AccessDeniedError)
    assert "s3:PutObject" in component.error.next_step
    assert server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert server.client().list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", []) == []


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("demanded", DEMANDS)
def test_what_a_policy_demands_is_named_when_it_is_missing_and_given_when_asked_for(server, bucket, model, demanded):
    condition, options = DEMANDS[demanded]
    direct = server.client()
    demand(server, bucket, condition)
    refused = packaged(server, bucket, model)
    assert_refused_in_words(server, bucket, refused)
    assert "S3_ENCRYPTION" in refused.error.next_step
    if model == "parts":  # Ceph holds each request of the upload against the policy, without what the first one says
        refused = packaged(server, bucket, model, **options)
        assert_refused_in_words(server, bucket, refused)
        assert refused.error.operation in {"CreateMultipartUpload", "UploadPart"}
        direct.delete_bucket_policy(Bucket=bucket)
    made = packaged(server, bucket, model, **options)
    assert (made.status, made.error) == ("packaged", None)
    key = made.uri.removeprefix(f"s3://{bucket}/")
    answer = direct.get_object(Bucket=bucket, Key=key)
    assert hashlib.sha256(answer["Body"].read()).hexdigest() == made.sha256
    assert answer.get("ServerSideEncryption") == options.get("encryption")
    if (model, demanded) == ("small", "tags"):  # this release forgets those of an upload in parts
        tags = direct.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "vision", "stage": "prod"}


def test_a_version_that_was_replaced_is_read_when_it_is_named(server, bucket):
    direct = server.client()
    direct.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    body = direct.get_object(Bucket=bucket, Key="small.tar.gz")["Body"].read()
    version = direct.put_object(Bucket=bucket, Key="small.tar.gz", Body=body)["VersionId"]
    direct.put_object(Bucket=bucket, Key="small.tar.gz", Body=b"no archive")
    assert packaged(server, bucket, "small").error is not None
    artifact = {"arm64-cpu": f"s3://{bucket}/small.tar.gz?versionId={version}"}
    stores = Stores(server.client())
    result = package(f"s3://{bucket}/trained.tar.gz", artifact, f"s3://{bucket}/out", stores=stores)
    assert result.components[0].error is None
