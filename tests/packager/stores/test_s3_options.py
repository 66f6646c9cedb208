"""What can be asked of S3 beside the bytes reaches the requests that need it, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from packager.errors import RequestError, SettingsError
from packager.stores import Stores
from packager.stores.address import _bucket_and_rest, _key_and_version
from packager.stores.s3_client import calls_of
from packager.stores.s3_options import S3Options
from packager.stores.s3_sink import S3Sink
from tests import faulty_proxy as faults
from tests.s3_server import client

KEY, IDENTITY = "model.zip", "f" * 64
ASKED = S3Options(
    encryption="aws:kms",
    kms_key_id="alias/models",
    bucket_key=True,
    acl="bucket-owner-full-control",
    storage_class="STANDARD_IA",
    tags="team=vision&stage=prod",
    requester_pays=True,
    expected_bucket_owner="123456789012",
)
CREATING = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "alias/models",
    "x-amz-server-side-encryption-bucket-key-enabled": "true",
    "x-amz-acl": "bucket-owner-full-control",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-tagging": "team=vision&stage=prod",
}
ALWAYS = {"x-amz-request-payer": "requester", "x-amz-expected-bucket-owner": "123456789012"}


@pytest.mark.parametrize(
    ("data", "operation"), [(b"small", "PutObject"), (b"x" * 9000, "CreateMultipartUpload")], ids=["whole", "parts"]
)
def test_every_request_of_an_upload_carries_what_was_asked_for(s3_server, bucket, data, operation):
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        calls = replace(calls_of(client(proxy.endpoint_url)), options=ASKED)
        with S3Sink(bucket, "", calls, part_bytes=lambda _: 3000).open(lambda: (KEY, IDENTITY)) as upload:
            upload.write(data)
            upload.commit()
        assert all(each.headers.items() >= ALWAYS.items() for each in proxy.requests)
        assert proxy.asked(operation)[0].headers.items() >= CREATING.items()
    tags = s3_server.client().get_object_tagging(Bucket=bucket, Key=KEY)["TagSet"]
    assert {each["Key"]: each["Value"] for each in tags} == {"team": "vision", "stage": "prod"}


def test_a_version_that_is_named_is_the_one_that_is_read(s3_server, bucket):
    direct = s3_server.client()
    direct.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = direct.put_object(Bucket=bucket, Key=KEY, Body=b"first")["VersionId"]
    direct.put_object(Bucket=bucket, Key=KEY, Body=b"second")
    stores = Stores(direct, s3=S3Options())
    with stores.source(f"s3://{bucket}/{KEY}?versionId={first}").open() as reader:
        assert reader.read() == b"first"
    with stores.source(f"s3://{bucket}/{KEY}").open() as reader:
        assert reader.read() == b"second"


ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint"
OUTPOST = "arn:aws:s3-outposts:eu-west-1:123456789012:outpost"


@pytest.mark.parametrize(
    ("bucket", "rest"),
    [
        ("models", "a/b.tar.gz"),
        (f"{ARN}/models", "a/b.tar.gz"),
        (f"{ARN}:models", "a/b.tar.gz"),
        (f"{OUTPOST}/op-1/accesspoint/models", "a"),
        (f"{OUTPOST}:op-1:accesspoint:models", "a"),
        ("arn:aws:s3::123456789012:accesspoint/models.mrap", "a"),
    ],
)
def test_an_access_point_stands_for_a_bucket_in_both_spellings(bucket, rest):
    assert _bucket_and_rest(f"s3://{bucket}/{rest}", "") == (bucket, rest)
    assert _bucket_and_rest(f"s3://{bucket}", "") == (bucket, "")


def test_what_is_no_bucket_and_no_access_point_is_refused():
    for wrong in ("arn:aws:s3:::bucket/key", "arn:aws:s3:eu:1:accesspoint/", "a/key", "-x/key", "/key"):
        with pytest.raises(RequestError):
            _bucket_and_rest(f"s3://{wrong}", "")


def test_only_a_version_at_the_end_of_a_key_is_one():
    assert _key_and_version("a?b=c?versionId=3sL4kqtJlcpXroDTDmJ_rmSpXd3dIbrHY") == (
        "a?b=c",
        "3sL4kqtJlcpXroDTDmJ_rmSpXd3dIbrHY",
    )
    assert _key_and_version("what?versionId=") == ("what?versionId=", "")
    assert _key_and_version("a?versionId=b/c") == ("a?versionId=b/c", "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("S3_ENCRYPTION", "des"),
        ("S3_KMS_KEY_ID", "alias/x"),
        ("S3_BUCKET_KEY", "true"),
        ("S3_TAGS", "no equals"),
        ("S3_TAGS", "&".join(f"t{n}=1" for n in range(11))),
        ("S3_TAGS", "a=1&a=2"),
        ("S3_EXPECTED_BUCKET_OWNER", "123"),
        ("S3_ACL", "Robert'); --"),
        ("S3_CHECKSUMS", "sometimes"),
        ("S3_GIVE_UP_S", "0"),
        ("S3_ADDRESSING_STYLE", "dns"),
    ],
)
def test_an_option_that_s3_does_not_know_is_refused_by_name(variable, value):
    with pytest.raises(SettingsError, match=variable):
        S3Options.from_environment({variable: value})
