"""A busy S3, many packages in one process, many targets at once: what succeeds, and what it takes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from packager.packaging import package
from tests import faulty_proxy as faults
from tests.packages import Model, ground
from tests.s3_server import CREDENTIALS

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
MANY = pytest.mark.reliability


@pytest.fixture(scope="module")
def stored(s3_server):
    """A bucket with a trained artifact, a small one, one of two ranges and two parts, and a large one."""
    bucket, client = s3_server.bucket(), s3_server.client()
    models = {
        "small": Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")}),
        "parts": Model({"compiled.so": 5000, "compiled.params": 9 * MIB}),
        "large": Model({"compiled.so": 5000, "model.onnx": 40 * MIB}),
    }
    with ground() as here:
        client.upload_file(here.trained, bucket, "trained.tar.gz")
        for name, model in models.items():
            client.upload_file(here.compiled(model), bucket, f"{name}.tar.gz")
    return bucket


# -- an S3 that refuses many requests --------------------------------------------------------------------------------

AT_ONCE = 12
"""Packages under way: nearly all of their time is waiting."""


def packaged_through(stored, s3_server, share, runs, seed):
    """How many of the packages succeed while that share of all requests is answered with 503."""
    draw, drawing = random.Random(seed), threading.Lock()

    def unlucky(_):
        with drawing:
            return draw.random() < share

    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        for operation in OPERATIONS:
            proxy.break_next(operation, faults.refuse(503, "SlowDown"), times=10**9, where=unlucky)

        def one(number):
            result = package(
                f"s3://{stored}/trained.tar.gz",
                {"arm64-cpu": f"s3://{stored}/parts.tar.gz"},
                f"s3://{stored}/{share}/{number}",
                endpoint_url=proxy.endpoint_url,
            )
            return result.succeeded

        with ThreadPoolExecutor(AT_ONCE) as pool:
            held = sum(pool.map(one, range(runs)))
        assert len(proxy.requests) > 8 * runs
    uploads = s3_server.client().list_multipart_uploads(Bucket=stored, Prefix=f"{share}/").get("Uploads", [])
    return held, uploads


OPERATIONS = (
    "HeadObject",
    "GetObject",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListMultipartUploads",
)
runs_of = pytest.mark.parametrize("runs", [pytest.param(4, id="few"), pytest.param(100, id="many", marks=MANY)])


@pytest.fixture
def _credentials(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@runs_of
@pytest.mark.usefixtures("_credentials")
def test_30_of_100_requests_refused_still_let_every_package_succeed(stored, s3_server, record_property, runs):
    held, uploads = packaged_through(stored, s3_server, 0.3, runs, runs)
    record_property("tried", runs)
    record_property("held", held)
    assert (held, uploads) == (runs, [])


@runs_of
@pytest.mark.usefixtures("_credentials")
def test_50_of_100_requests_refused_still_let_nearly_every_package_succeed(stored, s3_server, record_property, runs):
    held, _ = packaged_through(stored, s3_server, 0.5, runs, runs)
    record_property("tried", runs)
    record_property("held", held)
    assert held >= 0.95 * runs if runs > 20 else held >= runs - 1


# -- memory ----------------------------------------------------------------------------------------------------------


def probed(module, *arguments):
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.end_to_end.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **CREDENTIALS},
        capture_output=True,
        text=True,
        check=True,
        timeout=1800,
    )
    return json.loads(done.stdout.splitlines()[-1])


MOST_MIB = {1: 64, 8: 400}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("at_once", [1, pytest.param(8, marks=MANY)])
def test_memory_of_targets_from_s3_to_s3_is_bounded(stored, s3_server, at_once):
    found = probed("memory_probe", s3_server.endpoint_url, stored, str(at_once))
    assert found["succeeded"]
    assert found["over_bytes"] < MOST_MIB[at_once] * MIB


# -- many packages in one process ------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [pytest.param(18, id="few"), pytest.param(300, id="many", marks=MANY)])
def test_300_packages_in_one_process_take_no_more_than_the_first_third_of_them(
    stored, s3_server, tmp_path, record_property, runs
):
    """Twelve packages that each kept one buffer of a part would keep 96 MiB; the first dozens fill caches."""
    record_property("tried", runs)
    found = probed("growth_probe", s3_server.endpoint_url, stored, str(tmp_path), str(runs))
    assert found["failed"] == 0
    assert found["bytes"] < MIB
    assert found["objects"] < 2_000
    assert found["resident"] < (16 if runs == 300 else 48) * MIB
    assert found["files"] <= 2  # a connection more
    assert found["threads"] <= 0
    assert list(tmp_path.iterdir()) == []
