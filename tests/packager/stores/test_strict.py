"""What enterprises ask of S3, against a server over TLS that enforces it: refused in words without, packaged with."""

from __future__ import annotations

import io
import socket
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse

from packager.errors import AccessDeniedError, StoreError
from packager.packaging import package
from packager.stores import Stores, s3_client
from packager.stores.s3_client import client_for
from packager.stores.s3_options import S3Options
from telemetry import Recorder, attached
from tests import archives
from tests.packages import Model, ground
from tests.s3_server import CREDENTIALS, client
from tests.strict_s3 import Rules, strict_s3

OWNER = "123456789012"
PARTS = Model({"compiled.so": 5000, "compiled.params": 9 << 20})
KMS = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "alias/models"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with strict_s3(tmp_path_factory.mktemp("strict")) as server:
        yield server


@pytest.fixture
def strict(server, monkeypatch, tmp_path):
    """The server without rules, known to clients that are made from the environment, of which there are none yet."""
    for each in (*CREDENTIALS, "AWS_PROFILE"):
        monkeypatch.delenv(each, raising=False)
    keys = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_CA_BUNDLE", server.server.ca)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3_client, "_clients", {})
    vars(server.rules).update(vars(Rules()))
    write_keys(keys, *server.server.credentials)
    return server


@pytest.fixture
def bucket(strict):
    """A bucket with a trained artifact and one of two parts."""
    name, direct = strict.server.bucket(), strict.server.client()
    with ground() as here:
        direct.upload_file(here.trained, name, "trained.tar.gz")
        direct.upload_file(here.compiled(PARTS), name, "parts.tar.gz")
    direct.put_object(Bucket=name, Key="small.tar.gz", Body=archives.compiled_model())
    return name


def write_keys(path, key_id, secret):
    path.write_text(f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")


def packaged(strict, bucket, artifact="parts", at=None, **options):
    stores = Stores(endpoint_url=strict.server.endpoint_url, s3=S3Options(**options))
    at = at or f"s3://{bucket}"
    result = package(f"{at}/trained.tar.gz", {"arm64-cpu": f"{at}/{artifact}.tar.gz"}, f"{at}/out", stores=stores)
    return result.components[0]


def assert_packaged(component):
    assert (component.status, component.error) == ("packaged", None)


@pytest.mark.parametrize("artifact", ["parts", "small"])
def test_a_bucket_that_demands_encryption_says_so_and_is_given_it(strict, bucket, artifact):
    strict.rules.creating = KMS
    refused = packaged(strict, bucket, artifact).error
    assert isinstance(refused, AccessDeniedError)
    assert "s3:PutObject" in refused.next_step
    assert "S3_ENCRYPTION" in refused.next_step
    assert_packaged(packaged(strict, bucket, artifact, encryption="aws:kms", kms_key_id="alias/models"))


def test_a_bucket_of_another_owner_is_neither_read_nor_written(strict, bucket):
    strict.rules.owner = OWNER
    for role in ("expected_bucket_owner", "expected_source_owner"):
        assert isinstance(packaged(strict, bucket, **{role: "9" * 12}).error, AccessDeniedError)
    assert_packaged(packaged(strict, bucket, expected_bucket_owner=OWNER, expected_source_owner=OWNER))


def test_a_bucket_whose_requesters_pay_is_told_who_pays_with_every_request(strict, bucket):
    strict.rules.always = {"x-amz-request-payer": "requester"}
    assert isinstance(packaged(strict, bucket).error, AccessDeniedError)
    assert_packaged(packaged(strict, bucket, requester_pays=True))


def test_a_bucket_in_another_region_is_signed_for_there(strict, bucket):
    strict.rules.region = "eu-central-1"
    assert_packaged(packaged(strict, bucket))


def test_keys_that_are_renewed_in_their_file_are_used_while_the_process_lives(strict, bucket, tmp_path):
    assert_packaged(packaged(strict, bucket))
    strict.rules.keys = {"renewed": "another secret"}
    assert isinstance(packaged(strict, bucket, "small").error, AccessDeniedError)
    write_keys(tmp_path / "credentials", "renewed", "another secret")
    assert_packaged(packaged(strict, bucket, "small"))


def test_a_signature_with_a_wrong_secret_is_refused_in_words(strict, bucket, tmp_path):
    write_keys(tmp_path / "credentials", CREDENTIALS["AWS_ACCESS_KEY_ID"], "no secret")
    error = packaged(strict, bucket).error
    assert (type(error), error.code) == (AccessDeniedError, "403")


@pytest.mark.parametrize("mark", [":", "/"])
def test_an_access_point_is_asked_by_its_own_name(strict, bucket, monkeypatch, mark):
    """Its host stands before the endpoint's: names below `localhost` are this machine."""
    look_up = socket.getaddrinfo

    def here(host, *rest, **options):
        return look_up("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    strict.rules.access_points = {f"models-{OWNER}": bucket}
    assert_packaged(packaged(strict, bucket, at=f"s3://arn:aws:s3:us-east-1:{OWNER}:accesspoint{mark}models"))
    assert any(name.startswith(f"models-{OWNER}.") for name in strict.rules.hosts)


PROFILES = """[profile fips]
aws_access_key_id = local
aws_secret_access_key = local
use_fips_endpoint = true
[profile both]
aws_access_key_id = local
aws_secret_access_key = local
use_fips_endpoint = true
use_dualstack_endpoint = true
"""


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, "models.s3.eu-west-1.amazonaws.com"),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "models.s3-fips.eu-west-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "models.s3.dualstack.eu-west-1.amazonaws.com"),
        ({"AWS_PROFILE": "fips"}, "models.s3-fips.eu-west-1.amazonaws.com"),
        ({"AWS_PROFILE": "both"}, "models.s3-fips.dualstack.eu-west-1.amazonaws.com"),
    ],
)
def test_fips_and_dual_stack_of_environment_and_profile_decide_the_host(strict, monkeypatch, tmp_path, variables, host):
    (tmp_path / "config").write_text(PROFILES)
    for name, value in {**variables, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    asked = []

    def answer(request, **_):
        asked.append(request.url)
        return AWSResponse(request.url, 404, {}, io.BytesIO())

    client_for(None, S3Options()).meta.events.register("before-send.s3", answer)
    result = package("s3://models/a", {"arm64-cpu": "s3://models/b"}, "s3://models", stores=Stores(s3=S3Options()))
    assert isinstance(result.components[0].error, StoreError)
    assert {urlsplit(url).hostname for url in asked} == {host}


@pytest.mark.parametrize("setting", ["use_fips_endpoint", "use_dualstack_endpoint"])
def test_an_address_that_overrides_a_setting_of_the_sdk_is_said(strict, bucket, monkeypatch, setting):
    heard = []

    class Heard(Recorder):
        def event(self, level, name, keys):
            heard.append((level, name, keys.get("setting")))

    monkeypatch.setenv(f"AWS_{setting.upper()}", "true")
    with attached(Heard()):
        assert_packaged(packaged(strict, bucket, "small"))
    assert heard.count(("warning", "endpoint setting overridden", setting)) == 1


def test_a_server_whose_certificate_nobody_vouches_for_is_refused_in_words(strict, bucket, monkeypatch):
    monkeypatch.delenv("AWS_CA_BUNDLE")
    error = packaged(strict, bucket).error
    assert "certificate" in error.message.lower()
    assert client(strict.server.endpoint_url, ca=strict.server.ca).list_buckets()
