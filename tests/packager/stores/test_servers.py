"""One suite over every S3 server that can be had: the same bytes, or a refusal that says why."""

from __future__ import annotations

import hashlib

import pytest
from botocore.exceptions import ClientError

from packager.errors import StoreError
from packager.packaging import package
from packager.settings import Settings
from tests import faulty_proxy as faults
from tests.packages import Model, ground
from tests.s3_server import client
from tests.s3_servers import SERVERS, NotHereError

MIB = 1 << 20
SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})
LARGE = Model({"compiled.so": 5000, "compiled.params": 17 * MIB}, seed=7)
HEAVY = ("s3rver", "ceph", "swift")
"""Servers that need more than a package from PyPI."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.reliability if name in HEAVY else ()) for name in SERVERS],
)
def server(request, tmp_path_factory):
    try:
        with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
            yield server
    except NotHereError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def made():
    """What the components are when no S3 has a part in them, by model; and the artifacts they are made from."""
    with ground() as here:
        models = {id(SMALL): SMALL, id(LARGE): LARGE}
        compiled = {name: here.compiled(model) for name, model in models.items()}
        results = {name: package(here.trained, {"arm64-cpu": uri}, here.out) for name, uri in compiled.items()}
        yield here, compiled, {name: models[name].component(result) for name, result in results.items()}


@pytest.fixture
def limits(tmp_path):
    return Settings(scratch_dir=tmp_path / "scratch")


@pytest.fixture
def bucket(server, made):
    """A bucket with every artifact."""
    here, compiled, _ = made
    name, direct = server.bucket(), server.client()
    direct.upload_file(here.trained, name, "trained.tar.gz")
    for model, path in compiled.items():
        direct.upload_file(path, name, f"{model}.tar.gz")
    return name


def run(bucket, model, by, limits, **options):
    artifact = {"arm64-cpu": f"s3://{bucket}/{id(model)}.tar.gz"}
    result = package(
        f"s3://{bucket}/trained.tar.gz", artifact, f"s3://{bucket}/out", client=by, settings=limits, **options
    )
    assert result.error is None
    return result.components[0]


def lying_at(server, uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return server.client().get_object(Bucket=bucket, Key=key)["Body"].read()


def open_uploads(server, bucket):
    try:
        listed = server.client().list_multipart_uploads(Bucket=bucket)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NotImplemented"  # noqa: PT017  one of them cannot tell
        return []
    return [each["Key"] for each in listed.get("Uploads", [])]


@pytest.mark.parametrize("model", [SMALL, LARGE], ids=["one request", "parts"])
def test_the_same_bytes_lie_there_and_are_found_again(server, bucket, made, limits, model):
    direct = server.client()
    first = run(bucket, model, direct, limits)
    assert (first.status, first.error) == ("packaged", None)
    content_of = lying_at(server, first.uri)
    assert content_of == made[2][id(model)]
    assert first.sha256 == hashlib.sha256(content_of).hexdigest()
    again = run(bucket, model, direct, limits)
    assert (again.status, again.uri, again.sha256) == ("already_there", first.uri, first.sha256)
    assert run(bucket, model, direct, limits, force=True).status == "packaged"
    assert lying_at(server, first.uri) == content_of
    assert open_uploads(server, bucket) == []


@pytest.mark.parametrize("operation", ["UploadPart", "PutObject"])
def test_a_byte_that_flips_on_its_way_up_is_sent_again(server, bucket, made, limits, operation):
    model = LARGE if operation == "UploadPart" else SMALL
    with faults.faulty_proxy(server.endpoint_url) as proxy:
        proxy.break_next(operation, faults.flipped_request(1000))
        made_here = run(bucket, model, client(proxy.endpoint_url, server.credentials), limits)
        assert made_here.error is None
        assert lying_at(server, made_here.uri) == made[2][id(model)]


def test_a_byte_that_always_flips_on_its_way_up_is_refused_in_words(server, bucket, limits):
    with faults.faulty_proxy(server.endpoint_url) as proxy:
        proxy.break_next("UploadPart", faults.flipped_request(1000), times=1000)
        failed = run(bucket, LARGE, client(proxy.endpoint_url, server.credentials), limits)
    assert isinstance(failed.error, StoreError)
    assert failed.error.next_step
    assert open_uploads(server, bucket) == []


def test_a_byte_that_flips_on_its_way_down_is_read_again(server, bucket, made, limits):
    with faults.faulty_proxy(server.endpoint_url) as proxy:
        proxy.break_next("GetObject", faults.flipped(4 * MIB), where=lambda request: request.first_byte > 0)
        made_here = run(bucket, LARGE, client(proxy.endpoint_url, server.credentials), limits)
        assert made_here.error is None
        assert lying_at(server, made_here.uri) == made[2][id(LARGE)]


def test_what_fails_half_way_leaves_nothing(server, bucket, limits):
    def fail(state):
        if state.phase == "packaging" and state.bytes_done > 9 * MIB:
            raise ZeroDivisionError

    failed = run(bucket, LARGE, server.client(), limits, on_progress=fail)
    assert failed.error is not None
    assert open_uploads(server, bucket) == []
    assert server.client().list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", []) == []
