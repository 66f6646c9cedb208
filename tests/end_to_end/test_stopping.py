"""The command told to stop while S3 says nothing: it ends soon, aborts what it can, and names the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import archives
from tests import faulty_proxy as faults
from tests.packages import content
from tests.s3_server import CREDENTIALS

PACKAGER = str(Path(sys.executable).with_name("packager"))
WEIGHTS_BYTES = 18 << 20
ENDS_WITHIN_S = 5
BUSY = int(os.environ.get("PACKAGER_TEST_SLACK", "4"))
"""How many times as slow a machine may be that runs other tests beside this."""

SILENT = {
    "HEAD": ("HeadObject", faults.stall()),
    "GET": ("GetObject", faults.stall()),
    "body": ("GetObject", faults.stall_after(1000)),
    "create": ("CreateMultipartUpload", faults.stall()),
    "part": ("UploadPart", faults.stall()),
    "complete": ("CompleteMultipartUpload", faults.stall()),
    "put": ("PutObject", faults.stall()),
    "abort": ("AbortMultipartUpload", faults.stall()),
}
FEW = {("GET", signal.SIGINT), ("part", signal.SIGTERM), ("complete", signal.SIGHUP), ("abort", signal.SIGINT)}
EACH = [
    pytest.param(name, number, marks=() if (name, number) in FEW else pytest.mark.reliability)
    for name in SILENT
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    files = [*archives.compiled_files(b"small"), ("weights.bin", content(WEIGHTS_BYTES))]
    (folder / "trained.tar.gz").write_bytes(archives.trained_model())
    (folder / "large.tar.gz").write_bytes(archives.gz(archives.tar(files), levels=(0,)))
    (folder / "small.tar.gz").write_bytes(archives.gz(archives.tar(archives.compiled_files(b"small"))))
    return folder


@pytest.fixture
def stored(artifacts, s3_server, bucket):
    """The same artifacts in a bucket."""
    for path in artifacts.iterdir():
        s3_server.client().upload_file(str(path), bucket, path.name)
    return f"s3://{bucket}"


@pytest.fixture
def proxy(s3_server):
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def uploads(s3_server, bucket):
    return lambda: [each["Key"] for each in s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def start(tmp_path, endpoint_url, compiled, output, *, program=(PACKAGER,), **environment):
    trained = compiled[0].rpartition("/")[0].partition("=")[2]
    arguments = ["package", "--trained", f"{trained}/trained.tar.gz", "--output", output, "--json", "--force"]
    arguments += [word for each in compiled for word in ("--compiled", each)]
    return subprocess.Popen(
        [*program, *arguments, "--endpoint-url", endpoint_url],
        env={**os.environ, **CREDENTIALS, "SCRATCH_DIR": str(tmp_path / "scratch"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,  # noqa: PLW1509  no thread of ours is in the way
    )


def heed_signals():
    """Whoever runs the tests in the background of a shell has them ignore SIGINT, and their children with them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition, process):
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def stop(process, number):
    """Status, document and standard error of a process that is told to stop, and how long that took."""
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    took_s = time.monotonic() - began
    assert b"Traceback" not in err, err.decode()
    return process.returncode, json.loads(out or b"null"), err.decode(), took_s


@pytest.mark.parametrize(("name", "number"), EACH)
def test_whatever_s3_does_not_answer_a_signal_ends_the_command_soon(
    tmp_path, stored, proxy, uploads, record_property, *, name, number
):
    operation, fault = SILENT[name]
    artifact = "small" if name == "put" else "large"
    if name == "abort":
        proxy.break_next("UploadPart", faults.stall(), times=1000)
    proxy.break_next(operation, fault, times=1000)
    process = start(tmp_path, proxy.endpoint_url, [f"arm64-cpu={stored}/{artifact}.tar.gz"], f"{stored}/out")
    wait_for(lambda: proxy.asked("UploadPart" if name == "abort" else operation), process)
    status, document, err, took_s = stop(process, number)
    record_property("longest_s", took_s)
    assert status == 128 + number
    assert took_s < ENDS_WITHIN_S * BUSY, took_s
    [component] = document["components"]
    assert (component["status"], document["left"]) == ("left", ["arm64-cpu"])
    assert component["error"]["type"] == "OperationAbortedError"
    assert list((tmp_path / "scratch").glob("*")) == []
    if name == "abort":
        assert "Not removed: s3://" in err
    else:
        assert uploads() == []


def test_what_is_finished_stands_in_the_document_of_a_stopped_command(tmp_path, stored, proxy):
    proxy.break_next("UploadPart", faults.stall(), times=1000)
    compiled = [f"arm64-cpu={stored}/small.tar.gz", f"x86_64-cpu={stored}/large.tar.gz"]
    process = start(tmp_path, proxy.endpoint_url, compiled, f"{stored}/out")
    made = lambda: len(proxy.asked("PutObject")) and len(proxy.asked("UploadPart")) == 2  # noqa: E731
    wait_for(made, process)
    time.sleep(1)  # the small one is asked for, and done
    status, document, _, _ = stop(process, signal.SIGINT)
    assert status == 130
    assert [each["status"] for each in document["components"]] == ["packaged", "left"]
    assert document["left"] == ["x86_64-cpu"]


def test_a_second_signal_ends_the_command_at_once(tmp_path, stored, proxy):
    proxy.break_next("UploadPart", faults.stall(), times=1000)
    proxy.break_next("AbortMultipartUpload", faults.stall(), times=1000)
    process = start(tmp_path, proxy.endpoint_url, [f"arm64-cpu={stored}/large.tar.gz"], f"{stored}/out")
    wait_for(lambda: proxy.asked("UploadPart"), process)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: proxy.asked("AbortMultipartUpload"), process)
    status, document, err, _ = stop(process, signal.SIGTERM)
    assert (status, document) == (143, None)
    assert "Not removed: s3://" in err


HANGING_NAMES = """
import socket, sys, time
socket.getaddrinfo = lambda *_, **__: (print("asked", file=sys.stderr, flush=True), time.sleep(1000))
from packager.cli.main import main
main()
"""


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.reliability) for each in (signal.SIGTERM, signal.SIGHUP))],
)
def test_a_name_that_is_never_resolved_does_not_keep_the_command(tmp_path, stored, record_property, number):
    url = "http://s3.example.invalid:9"
    program = (sys.executable, "-c", HANGING_NAMES)
    with start(tmp_path, url, [f"arm64-cpu={stored}/large.tar.gz"], f"{stored}/out", program=program) as process:
        assert process.stderr.readline() == b"asked\n"
        status, document, _, took_s = stop(process, number)
    record_property("longest_s", took_s)
    assert (status, document["left"]) == (128 + number, ["arm64-cpu"])
    assert took_s < ENDS_WITHIN_S * BUSY, took_s


def test_a_hangup_in_the_middle_of_a_folder_leaves_no_temporary_file(tmp_path, stored, proxy):
    proxy.break_next("GetObject", faults.stall_after(1000), times=1000, where=lambda asked: asked.first_byte > 0)
    process = start(tmp_path, proxy.endpoint_url, [f"arm64-cpu={stored}/large.tar.gz"], str(tmp_path / "out"))
    wait_for(lambda: list(tmp_path.glob("out/.edge*")), process)
    status, _, _, _ = stop(process, signal.SIGHUP)
    assert (status, list(tmp_path.glob("out/*"))) == (129, [])


@pytest.mark.parametrize(
    "operation",
    [
        "UploadPart",
        *(
            pytest.param(name, marks=pytest.mark.reliability)
            for name in ("HeadObject", "GetObject", "CreateMultipartUpload", "CompleteMultipartUpload")
        ),
    ],
)
def test_without_a_signal_a_silent_s3_ends_with_a_typed_error_in_the_time_that_is_set(
    tmp_path, stored, proxy, operation
):
    proxy.break_next(operation, faults.stall(), times=1000)
    patience = {"S3_GIVE_UP_S": "4", "S3_READ_TIMEOUT_S": "1"}
    process = start(tmp_path, proxy.endpoint_url, [f"arm64-cpu={stored}/large.tar.gz"], f"{stored}/out", **patience)
    wait_for(lambda: proxy.asked(operation), process)
    began = time.monotonic()
    with process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    [component] = json.loads(out)["components"]
    assert component["error"]["type"] == "StoreError"
    assert component["error"]["code"] == "Silent"
    assert component["error"]["operation"] == operation
    assert time.monotonic() - began < 4 + 5 * BUSY
