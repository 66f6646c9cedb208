"""A warm function whose connections died in silence while it was idle: the next call succeeds, and soon."""

from __future__ import annotations

import threading
import time

import boto3
import pytest

from packager.packaging import package
from packager.portal import aws
from packager.portal.aws import READ_TIMEOUT_S
from packager.stores import s3_client
from packager.stores.s3_options import S3Options
from tests import archives
from tests.faulty_proxy import faulty_proxy
from tests.firewall import firewall
from tests.packages import Model, ground
from tests.s3_server import CREDENTIALS

COSTS_S = 5
BUSY_S = 10
"""What else a call may take where other tests run beside this; a dead connection to S3 that is used costs 20 s."""

PARTS = Model({"compiled.so": 5000, "compiled.params": 9 << 20})


@pytest.fixture
def wall(s3_server, monkeypatch):
    """A firewall before a proxy that keeps connections open: the server closes those that brought a body."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_client, "_clients", {})
    with faulty_proxy(s3_server.endpoint_url) as keeping, firewall(keeping.endpoint_url) as wall:
        yield wall


@pytest.fixture
def stored(s3_server, bucket):
    """A bucket with a trained artifact and one of two ranges and two parts."""
    direct = s3_server.client()
    with ground() as here:
        direct.upload_file(here.trained, bucket, "trained.tar.gz")
        direct.upload_file(here.compiled(PARTS), bucket, "parts.tar.gz")
    direct.put_object(Bucket=bucket, Key="small.tar.gz", Body=archives.compiled_model())
    return f"s3://{bucket}"


def packaged(wall, stored, artifact, number):
    """How long one package takes, which succeeds."""
    began = time.monotonic()
    result = package(
        f"{stored}/trained.tar.gz",
        {"arm64-cpu": f"{stored}/{artifact}.tar.gz"},
        f"{stored}/out/{number}",
        endpoint_url=wall.endpoint_url,
    )
    assert (result.components[0].status, result.components[0].error) == ("packaged", None)
    return time.monotonic() - began


@pytest.mark.parametrize("artifact", ["small", "parts"])
def test_a_package_after_every_connection_to_s3_died_uses_none_of_them(wall, stored, artifact):
    packaged(wall, stored, artifact, 1)
    made = wall.connections
    wall.forget()
    took_s = packaged(wall, stored, artifact, 2)
    assert wall.connections > made
    assert wall.lost_bytes == 0
    assert took_s < COSTS_S + BUSY_S


def test_a_second_dead_connection_is_no_dearer_when_two_packages_end_at_once(wall, stored):
    packages = [threading.Thread(target=packaged, args=(wall, stored, "parts", number)) for number in (1, 2)]
    for each in packages:
        each.start()
    for each in packages:
        each.join()
    wall.forget()
    assert packaged(wall, stored, "parts", 3) < COSTS_S + BUSY_S
    assert wall.lost_bytes == 0


def test_a_dead_connection_to_another_service_is_given_up_in_time_and_the_request_made_again(
    wall, s3_server, monkeypatch
):
    """S3's are closed before each call; those of STS, DynamoDB and the rest are tried, and have a short time-out."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", wall.endpoint_url)
    monkeypatch.setattr(aws, "READ_TIMEOUT_S", READ_TIMEOUT_S)
    boto3.client("sts", endpoint_url=s3_server.endpoint_url).get_caller_identity()  # which the server loads at first
    own = aws._client.__wrapped__("sts", 0)
    aws.call_aws(own.get_caller_identity)
    wall.forget()
    began = time.monotonic()
    assert aws.call_aws(own.get_caller_identity)["Account"]
    assert READ_TIMEOUT_S <= time.monotonic() - began < COSTS_S + BUSY_S
    assert wall.lost_bytes > 0
    assert own.meta.config.read_timeout + 1 < COSTS_S  # the pause before the second try is at most 1 s


def test_a_client_of_s3_is_of_no_call_that_is_over(wall):
    """With nothing under way the connections of earlier calls are closed, whatever became of those."""
    calls = s3_client.calls_for(wall.endpoint_url, S3Options())
    calls.make("ListBuckets", "s3://", calls.client.list_buckets)
    made = wall.connections
    wall.forget()
    again = s3_client.calls_for(wall.endpoint_url, S3Options())
    again.make("ListBuckets", "s3://", again.client.list_buckets)
    assert (again.client, wall.connections, wall.lost_bytes) == (calls.client, made + 1, 0)
