"""The function as Lambda runs it: AWS's runtime client in its own process, on a small disk, frozen, late, killed."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import threading
import time
import zlib

import pytest
from isal.isal_zlib import crc32

from tests import models, runtime_api
from tests import portal as local
from tests.faulty_proxy import stall, unbroken
from tests.portal import compilation_event, request, through_gateway
from tests.runtime_api import MIB, function
from tests.small_disk import CHECKOUT

SMALL_DISK = "size=512m"
GIB = 1 << 30

limits = pytest.mark.skipif(
    bool(runtime_api.why_no_limits()), reason=f"NOT TESTED under Lambda's limits: {runtime_api.why_no_limits()}"
)
needs_root = pytest.mark.needs_root


@pytest.fixture(scope="module")
def world(s3_server):
    with local.portal(s3_server.endpoint_url) as world:
        yield world


@pytest.fixture(autouse=True)
def _fresh(world):
    world.assumed.clear()
    world.published.clear()
    yield
    world.proxy.forget()
    local.listen(world)


def no_secrets(world, deployed):
    text = deployed.text()
    for secret in world.secrets:
        assert secret not in text


def packaged(reply):
    assert reply["statusCode"] == 200, reply
    return [each["status"] for each in json.loads(reply["body"])["packaged_components"]]


def machine_event(world, compiled="neo", **change):
    return {
        "trained": world.uris["trained"],
        "compiled": [{"target": "jetson-xavier", "uri": world.uris.get(compiled, compiled)}],
        "output": f"s3://{world.bucket}/machines",
        **change,
    }


def test_every_shape_of_event_is_answered_by_one_process(world):
    usecase = world.usecase(
        cross_account_role_arn="arn:aws:iam::123456789012:role/Portal", external_id=local.EXTERNAL_ID
    )
    user = world.user("DataScientist", usecase)
    mine = world.compiled("x86_64-cpu", status="INPROGRESS")
    world.job(mine)
    with function({**world.environment, "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}) as deployed:
        assert deployed.invoke({"httpMethod": "OPTIONS", "path": "/"})["statusCode"] == 200
        event = through_gateway(request(world.job(usecase=usecase), {"auto_triggered": True}, user=user))
        assert packaged(deployed.invoke(event)) == ["packaged"]
        assert deployed.invoke(through_gateway(request(world.job(), user="system")))["statusCode"] == 403
        assert [each["status"] for each in deployed.invoke(machine_event(world))["components"]] == ["packaged"]
        news = deployed.invoke(compilation_event(mine["compilation_job_name"], artifact=world.uris["neo2"]))
        assert [each["status"] for each in news["packaged_components"]] == ["packaged"]
        assert deployed.invoke("nonsense")["statusCode"] == 400
        assert len(world.assumed) == 1
        invocations = deployed.operations("InvokeFunction")
        assert [line["ColdStart"] for line in invocations] == [1, 0, 0, 0, 0, 0]
        assert [line["trigger"] for line in invocations] == ["api", "api", "api", "direct", "event", "direct"]
        assert sum(line["Faults"] for line in deployed.operations("TelemetryHealth")) == 0
        no_secrets(world, deployed)


def test_warm_invocations_leak_nothing(world, tmp_path):
    """Files, descriptors, threads and memory after 50 invocations, against those after the first few."""
    usecase = world.usecase(cross_account_role_arn="arn:aws:iam::123456789012:role/Portal")
    own, lent = world.job(), world.job(usecase=usecase)
    with function(world.environment) as deployed:

        def invoke(times):
            for number in range(times):
                assert packaged(deployed.invoke(request(own if number % 2 else lent))) == ["packaged"]
                forced = machine_event(world, options={"force": True})
                assert deployed.invoke(forced)["components"][0]["status"] == "packaged"

        invoke(6)
        files, threads, resident = deployed.descriptors(), deployed.threads(), deployed.resident_bytes()
        invoke(25)
        assert deployed.descriptors() <= files
        assert deployed.threads() <= threads
        assert deployed.resident_bytes() - resident < 12 * MIB
        no_secrets(world, deployed)


@needs_root
@limits
def test_scratch_is_as_empty_after_warm_invocations_as_before(world):
    with function(world.environment, tmp=SMALL_DISK, memory_bytes=512 * MIB) as deployed:
        for _ in range(5):
            assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]
        assert deployed.left_in_tmp() == []


@needs_root
@limits
def test_frozen_between_invocations_it_goes_on_unharmed(world):
    with function(world.environment, freezable=True) as deployed:
        for _ in range(4):
            assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]
            deployed.freeze()
            deployed.send(request(world.job()))
            deployed.thaw()
            assert packaged(deployed.answer()) == ["packaged"]
        assert [line["Invocations"] for line in deployed.operations("InvokeFunction")] == list(range(1, 9))
        assert sum(line["Faults"] for line in deployed.operations("TelemetryHealth")) == 0


@needs_root
@limits
@pytest.mark.parametrize("operation", ["HeadObject", "GetObject", "PutObject"])
def test_frozen_in_the_middle_of_the_work_it_goes_on_unharmed(world, operation):
    with function(world.environment, freezable=True) as deployed:

        def freeze(exchange, asked):
            deployed.freeze()
            deployed.thaw()
            unbroken(exchange, asked)

        world.proxy.break_next(operation, freeze, times=5)
        answer = deployed.invoke(machine_event(world, options={"force": True}))
        assert answer["components"][0]["status"] == "packaged"


def test_with_three_seconds_left_the_answer_comes_in_time_and_says_what_is_left(world):
    job = world.job(world.compiled("jetson-xavier"), world.compiled("x86_64-cpu", "neo2"))
    with function(world.environment) as deployed:
        assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]  # cold, the clients alone take a second
        began = time.monotonic()
        reply = deployed.invoke(request(job), left_s=3)
        assert time.monotonic() - began < 3
        body = json.loads(reply["body"])
        assert (reply["statusCode"], body["left"]) == (200, ["jetson-xavier", "x86_64-cpu"])
        [line] = [line for line in deployed.operations("InvokeFunction") if line["AbortedForTime"]]
        assert line["TimeLeft"] > 0
        assert packaged(deployed.invoke(request(job))) == ["packaged", "packaged"]
        assert world.uploads() == []


def test_time_that_runs_out_in_the_middle_leaves_no_upload_and_says_so(world, tmp_path):
    large = models.neo(tmp_path / "large.tar.gz", 64 * MIB, seed="large")
    world.s3.upload_file(str(large), world.bucket, "large.tar.gz")

    one_at_a_time = threading.Lock()
    pace_s = [1.0]

    def slowly(exchange, asked):
        with one_at_a_time:
            world.proxy.released.wait(pace_s[0])
        unbroken(exchange, asked)

    with function({**world.environment, "TIME_RESERVE_S": "3"}) as deployed:
        assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]  # cold, it may not get to an upload
        world.proxy.break_next("GetObject", slowly, times=10**6, where=lambda asked: asked.first_byte > 0)
        for left_s in (9, 18, 36, 72):  # on a busy machine the first may end before anything is uploaded
            pace_s[0] = left_s / 9
            began = time.monotonic()
            answer = deployed.invoke(machine_event(world, f"s3://{world.bucket}/large.tar.gz"), left_s=left_s)
            assert time.monotonic() - began < left_s
            assert (answer["statusCode"], answer["left"]) == (200, ["jetson-xavier"]), answer["components"]
            line = deployed.operations("InvokeFunction")[-1]
            assert line["AbortedForTime"] == 1
            assert world.uploads() == []
            if "UploadsAborted" in line:
                break
        no_secrets(world, deployed)
    assert line["UploadsAborted"] == 1


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_with_three_seconds_left_and_tables_that_do_not_answer_the_reply_comes_in_time(world, operation):
    job = world.job()
    with function(world.environment) as deployed:
        assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]  # cold, the clients alone take a second
        local.breaking(world, operation, stall(), times=10**6)
        began = time.monotonic()
        reply = deployed.invoke(request(job), left_s=3)
        assert time.monotonic() - began < 3
        assert reply["statusCode"] == 500
        assert f"DynamoDB {operation} (training_jobs) was given up" in json.loads(reply["body"])["error"]
        line = deployed.operations("InvokeFunction")[-1]
        assert (line["outcome"], line["AbortedForTime"]) == ("failure", 1)
        assert [line for line in deployed.lines() if line.get("event") == "time is up"] == []
        world.proxy.forget()
        local.listen(world)
        assert packaged(deployed.invoke(request(job))) == ["packaged"]
        no_secrets(world, deployed)


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject", "CreateMultipartUpload", "UploadPart"])
def test_with_three_seconds_to_go_and_a_bucket_that_does_not_answer_the_work_stops_without_a_trace(
    world, tmp_path, operation
):
    large = models.neo(tmp_path / "stalled.tar.gz", 16 * MIB, seed=operation)
    world.s3.upload_file(str(large), world.bucket, f"stalled-{operation}.tar.gz")
    event = machine_event(world, f"s3://{world.bucket}/stalled-{operation}.tar.gz", output=f"s3://{world.bucket}")
    before = world.keys()
    with function({**world.environment, "TIME_RESERVE_S": "2"}) as deployed:
        deployed.invoke(machine_event(world))
        began = time.monotonic()
        deployed.invoke(machine_event(world, options={"force": True}))
        left_s = 7 + 5 * (time.monotonic() - began)  # of which the work has three, and more on a busy machine
        world.proxy.break_next(operation, stall(), times=10**6)
        began = time.monotonic()
        answer = deployed.invoke(event, left_s=left_s)
        assert time.monotonic() - began < left_s
        assert (answer["statusCode"], answer["left"]) == (200, ["jetson-xavier"]), answer
        assert (world.keys(), world.uploads()) == (before, [])
        assert world.proxy.asked(operation)
        world.proxy.forget()
        assert deployed.invoke(event)["components"][0]["status"] == "packaged"
        assert sum(line["Faults"] for line in deployed.operations("TelemetryHealth")) == 0
        no_secrets(world, deployed)


@needs_root
@limits
def test_an_environment_that_was_left_waiting_is_as_good_as_new(world):
    """Threads that waited for an answer in vain, frozen or not, end with their sockets."""
    with function({**world.environment, "TIME_RESERVE_S": "2"}, freezable=True) as deployed:
        assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]
        threads = deployed.threads()
        hung_up = threading.Event()

        def hang(exchange, _):
            hung_up.wait(60)
            exchange.hang_up(reset=True)

        for _ in range(5):
            local.breaking(world, "GetItem", hang, times=10**6)
            assert deployed.invoke(request(world.job()), left_s=2)["statusCode"] == 500
        deployed.freeze()
        hung_up.set()
        deployed.thaw()
        world.proxy.forget()
        local.listen(world)
        while deployed.threads() > threads:
            assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]
        no_secrets(world, deployed)


def test_what_a_killed_run_left_on_scratch_is_gone_after_the_next_start(world, tmp_path):
    """Lambda starts the function again in the same environment, with the same /tmp."""
    foreign = tmp_path / "somebody-elses"
    foreign.mkdir()
    staging = (
        "import sys, pathlib; from packager.limits.scratch import scratch_folder\n"
        "from packager.settings import Settings\n"
        "with scratch_folder(Settings(scratch_dir=pathlib.Path(sys.argv[1])), 'target') as folder:\n"
        "    (folder / 'staged').write_bytes(bytes(1 << 20)); print('staged', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", staging, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT) as killed:
        assert killed.stdout.readline() == b"staged\n"
        killed.kill()
    assert len(list(tmp_path.iterdir())) == 2
    with function({**world.environment, "SCRATCH_DIR": str(tmp_path)}) as deployed:
        assert packaged(deployed.invoke(request(world.job()))) == ["packaged"]
    assert list(tmp_path.iterdir()) == [foreign]


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
def test_a_crash_in_the_middle_leaves_nothing_behind_after_the_next_start(world, tmp_path, strategy):
    large = models.neo(tmp_path / "crash.tar.gz", 32 * MIB, seed=f"crash {strategy}")
    world.s3.upload_file(str(large), world.bucket, f"crash-{strategy}.tar.gz")
    event = machine_event(
        world,
        f"s3://{world.bucket}/crash-{strategy}.tar.gz",
        output=f"s3://{world.bucket}",
        options={"strategy": strategy},
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = world.keys()
    environment = {**world.environment, "SCRATCH_DIR": str(scratch), "ABANDONED_UPLOAD_AGE": "0"}
    with function(environment) as deployed:

        def crash(exchange, asked):
            deployed.process.kill()
            exchange.hang_up(reset=True)

        world.proxy.break_next("UploadPart", crash, times=10**6)
        deployed.send(event)
        deployed.process.wait(60)
    assert world.keys() == before
    assert len(world.uploads()) == 1
    assert bool(list(scratch.iterdir())) == (strategy == "standard")
    world.proxy.forget()
    with function(environment) as deployed:
        [component] = deployed.invoke(event)["components"]
        assert (component["status"], component["strategy"]) == ("packaged", strategy)
    assert len(world.keys()) == len(before) + 1
    assert world.uploads() == []
    assert list(scratch.iterdir()) == []


def large_artifact(path, size_bytes):
    """A compiled artifact that unpacks to `size_bytes`, made in a moment: one packed block again and again."""
    block = random.Random(1).randbytes(20 << 10) + bytes((4 * MIB) - (20 << 10))
    files = [models.small(name, b"{}") for name in ("compiled.so", "compiled.json", "compiled.meta")]
    head = b"".join(models.tar(files))[: -2 * 512]
    head += next(iter(models.tar([("compiled.params", size_bytes, ())])))
    tail = bytes(2 * 512)
    checksum = crc32(head)
    with path.open("wb") as file:
        file.write(models.GZIP_HEAD + _deflated(head, zlib.Z_FULL_FLUSH))
        packed = _deflated(block, zlib.Z_FULL_FLUSH)
        for _ in range(size_bytes // len(block)):
            checksum = crc32(block, checksum)
            file.write(packed)
        checksum = crc32(tail, checksum)
        size = len(head) + size_bytes + len(tail)
        file.write(_deflated(tail, zlib.Z_FINISH) + struct.pack("<LL", checksum, size & 0xFFFFFFFF))
    return path


def _deflated(data, flush):
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(flush)


@pytest.fixture(scope="module")
def huge(world, tmp_path_factory):
    path = large_artifact(tmp_path_factory.mktemp("huge") / "huge.tar.gz", 4 * GIB)
    world.s3.upload_file(str(path), world.bucket, "huge.tar.gz")
    path.unlink()
    return f"s3://{world.bucket}/huge.tar.gz"


@needs_root
@limits
@pytest.mark.parametrize("memory_mib", [3008, 512])
def test_a_compiled_artifact_of_4_gib_is_packaged_on_a_small_disk(world, s3_server, huge, memory_mib):
    environment = {**world.environment, "AWS_ENDPOINT_URL_S3": s3_server.endpoint_url}
    uploads = world.uploads()
    with function(environment, tmp=SMALL_DISK, memory_bytes=memory_mib * MIB) as deployed:
        answer = deployed.invoke(machine_event(world, huge, output=f"s3://{world.bucket}/huge-{memory_mib}"))
        [component] = answer["components"]
        assert (component["status"], component["files"]) == ("packaged", 5), component
        [line] = deployed.operations("InvokeFunction")
        assert line["PeakMemoryBytes"] < 160 * MIB
        [zipped] = deployed.operations("ZipComponent")
        assert zipped["BytesIn"] > 4 * GIB
        assert deployed.left_in_tmp() == []
    head = world.s3.head_object(Bucket=world.bucket, Key=component["uri"].split("/", 3)[3])
    assert head["ContentLength"] == component["size_bytes"]
    assert world.uploads() == uploads
