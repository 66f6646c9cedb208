"""The command told to end, or killed, at random moments: what is left, at once or after the next start."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packager.errors import InsufficientStorageError, StoreError
from packager.packaging import package
from packager.settings import Settings
from tests import archives
from tests import faulty_proxy as faults
from tests.packages import content
from tests.s3_server import CREDENTIALS
from tests.small_disk import needs_root, on_small_disk

PACKAGER = str(Path(sys.executable).with_name("packager"))
WEIGHTS_BYTES = 20 << 20
"""Three parts of an upload."""

KEPT_GOING_S = 60.0

FEW = {"sigterm": 2, "sighup": 1, "sigkill": 1, "full disk": 4, "two writers": 1}
MANY = {"sigterm": 50, "sighup": 13, "sigkill": 13, "full disk": 50, "two writers": 13}
"""How often each is tried in each of the four ways to package, and on a full disk in all."""


def heed_signals() -> None:
    """Whoever runs the tests in the background of a shell has some ignored, and their children with them."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Way:
    """One way to package, and everything there is where it writes."""

    arguments: list[str]
    environment: dict[str, str]
    scratch: Path
    folder: Path | None = None
    client: Any = None
    bucket: str = ""

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PACKAGER, *self.arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_signals,  # noqa: PLW1509  no thread of ours is in the way
        )

    def run(self) -> dict[str, Any]:
        """The document of a run that nobody disturbs."""
        with self.start() as process:
            out, err = process.communicate(timeout=KEPT_GOING_S)
        assert (process.returncode, err) == (0, b""), out.decode()
        return json.loads(out)

    def half_made(self) -> list[str]:
        """What is there and is no component: files, empty folders, uploads that are open."""
        found = [str(path) for path in self.scratch.rglob("*")]
        if self.folder:
            for path in self.folder.rglob("*"):
                if path.is_dir():
                    found += [] if any(path.iterdir()) else [f"{path}/"]
                elif not path.name.endswith("greengrass_model_component.zip"):
                    found.append(str(path))
        else:
            found += [each["Key"] for each in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]
        return found

    def components(self) -> list[Path]:
        """Every component that is visible, as a file."""
        if self.folder:
            return sorted(self.folder.rglob("*greengrass_model_component.zip"))
        fetched = []
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix="model_artifacts/model-")
        for each in listed.get("Contents", []):
            fetched.append(self.scratch.with_name("fetched.zip"))
            self.client.download_file(self.bucket, each["Key"], str(fetched[-1]))
        return fetched

    def empty(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            for each in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", []):
                self.client.delete_object(Bucket=self.bucket, Key=each["Key"])


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    files = [*archives.compiled_files(b"small"), ("weights.bin", content(WEIGHTS_BYTES))]
    (folder / "trained.tar.gz").write_bytes(archives.trained_model())
    (folder / "compiled.tar.gz").write_bytes(archives.gz(archives.tar(files), levels=(0,)))
    return folder


WAYS = [(store, strategy) for store in ("folder", "s3") for strategy in ("streaming", "standard")]


@pytest.fixture(params=WAYS, ids=" ".join)
def way(request, artifacts, tmp_path) -> Way:
    store, strategy = request.param
    scratch = tmp_path / "scratch"
    arguments = [
        "package",
        "--trained",
        f"{artifacts}/trained.tar.gz",
        "--strategy",
        strategy,
        "--json",
        "--quiet",
        "--force",
    ]
    arguments += ["--compiled", f"x86_64-cpu={artifacts}/compiled.tar.gz", "--output"]
    environment = {**os.environ, **CREDENTIALS, "SCRATCH_DIR": str(scratch), "ABANDONED_UPLOAD_AGE": "0"}
    if store == "folder":
        out = tmp_path / "out"
        return Way([*arguments, str(out)], environment, scratch, folder=out)
    server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
    arguments += [f"s3://{bucket}", "--endpoint-url", server.endpoint_url]
    return Way(arguments, environment, scratch, client=server.client(), bucket=bucket)


def moments(count: int, whole_s: float, seed: int) -> list[float]:
    """Random moments of a run, in seconds since its start: one in each stretch of it, so that none is left out.

    The first fifth is Python's own; what is done there is not ours.
    """
    draw = random.Random(seed)
    return [whole_s * (0.2 + 0.8 * (at + draw.random()) / count) for at in range(count)]


def strike(way: Way, number: signal.Signals, moment_s: float | None) -> tuple[int, str]:
    """Send the signal at that moment of a run, or (None) as soon as anything is half made; its status and its words."""
    with way.start() as process:
        if moment_s is None:
            while process.poll() is None and not way.half_made():
                time.sleep(0.005)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment_s or 0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=KEPT_GOING_S)
    assert b"Traceback" not in err, err
    return process.returncode, err.decode()


def undisturbed(way: Way) -> float:
    """How long a run takes that nobody disturbs."""
    started = time.monotonic()
    way.run()
    return time.monotonic() - started


def assert_only_whole_components_are_visible(way: Way) -> None:
    for path in way.components():
        with zipfile.ZipFile(path) as component:
            assert component.getinfo("mochi/weights.bin").file_size == WEIGHTS_BYTES
            assert component.testzip() is None


def times(what: str) -> pytest.MarkDecorator:
    """Few times where every test is run, many in `make reliability`."""
    many = pytest.param(MANY[what], id="many", marks=pytest.mark.reliability)
    return pytest.mark.parametrize("count", [pytest.param(FEW[what], id="few"), many])


def left_half_made(way: Way, number: signal.Signals, count: int) -> int:
    """How many of that many signals leave anything; where S3 is too slow to remove an upload in time, it is named."""
    whole_s = undisturbed(way)
    ended_early = left = 0
    for moment_s in moments(count, whole_s, count):
        way.empty()
        status, said = strike(way, number, moment_s)
        assert status in {0, -number, 128 + number}
        ended_early += status != 0
        assert_only_whole_components_are_visible(way)
        found = way.half_made()
        assert all(f"Not removed: s3://{way.bucket}/{name}" in said for name in found), (found, said)
        left += bool(found)
    assert ended_early or count < 10, "every signal came too late to tell anything"
    return left


@times("sigterm")
def test_sigterm_at_random_moments_leaves_nothing_half_made(way, count, record_property):
    left = left_half_made(way, signal.SIGTERM, count)
    record_property("tried", count)
    record_property("held", count - left)
    assert left == 0


@times("sighup")
def test_sighup_at_random_moments_leaves_nothing_half_made(way, count, record_property):
    left = left_half_made(way, signal.SIGHUP, count)
    record_property("tried", count)
    record_property("held", count - left)
    assert left == 0


@times("sigkill")
def test_sigkill_at_random_moments_leaves_nothing_half_made_after_the_next_start(way, count, record_property):
    record_property("tried", count)
    whole_s = undisturbed(way)
    left_something = 0
    for at, moment_s in enumerate(moments(count, whole_s, count)):
        way.empty()
        strike(way, signal.SIGKILL, moment_s if at % 2 else None)
        left_something += bool(way.half_made())
        assert_only_whole_components_are_visible(way)
        document = way.run()
        assert [each["status"] for each in document["components"]] == ["packaged"]
        assert_only_whole_components_are_visible(way)
        assert way.half_made() == []
        assert len(way.components()) == 1
    assert left_something, "no signal came when anything was half made"


def copy_and_say_nothing(exchange, request):
    """S3 copies the part, and the answer never comes."""
    exchange.pass_on(request)
    exchange.server.proxy.released.wait()


@pytest.mark.parametrize("way", [("s3", "streaming")], indirect=True, ids=" ".join)
@pytest.mark.parametrize("fault", [faults.stall(), copy_and_say_nothing], ids=["before the copy", "after it"])
def test_sigkill_while_s3_copies_a_part_leaves_nothing_after_the_next_start(way, artifacts, s3_server, fault):
    for path in artifacts.iterdir():
        way.client.upload_file(str(path), way.bucket, path.name)
    way.arguments = [each.replace(f"{artifacts}", f"s3://{way.bucket}") for each in way.arguments]
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        here = way.arguments.index(s3_server.endpoint_url)
        way.arguments[here] = proxy.endpoint_url
        proxy.break_next("UploadPartCopy", fault, times=1000)
        with way.start() as process:
            until = time.monotonic() + KEPT_GOING_S
            while not proxy.asked("UploadPartCopy"):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=KEPT_GOING_S)
        assert way.half_made() != []
        assert way.components() == []
        proxy.forget()
        document = way.run()
        assert [each["status"] for each in document["components"]] == ["packaged"]
        assert proxy.asked("UploadPartCopy") != []
    assert_only_whole_components_are_visible(way)
    assert way.half_made() == []


@pytest.mark.parametrize(
    ("way", "count"),
    [
        pytest.param(("s3", "streaming"), FEW["two writers"], id="few"),
        *(pytest.param(each, MANY["two writers"], id=f"many {each}", marks=pytest.mark.reliability) for each in WAYS),
    ],
    indirect=["way"],
)
def test_two_writers_of_one_component_leave_one_whole_component(way, count, record_property):
    record_property("tried", count)
    del way.environment["ABANDONED_UPLOAD_AGE"]  # else each takes the upload of the other for a dead run's
    whole_s = undisturbed(way)
    for wait_s in moments(count, whole_s, count):
        way.empty()
        with way.start() as first:
            with suppress(subprocess.TimeoutExpired):
                first.wait(wait_s / 2)
            way.run()
            out, err = first.communicate(timeout=KEPT_GOING_S)
        assert first.returncode == 0, out.decode() + err.decode()
        assert_only_whole_components_are_visible(way)
        assert way.half_made() == []
        assert len(way.components()) == 1


@needs_root
@times("full disk")
def test_a_full_disk_at_any_moment_leaves_nothing_half_made(artifacts, count, record_property):
    record_property("tried", count)
    refused = 0
    for number in range(count):
        strategy = ("streaming", "standard")[number % 2]

        def work(disk: Path, strategy: str = strategy) -> bool:
            limits = Settings(scratch_dir=disk / "scratch", max_attempts=1)
            result = package(
                f"{artifacts}/trained.tar.gz",
                {"x86_64-cpu": f"{artifacts}/compiled.tar.gz"},
                str(disk / "out"),
                strategy=strategy,
                settings=limits,
            )
            [component] = result.components
            there = [path for path in disk.rglob("*") if path.is_file()]
            assert there == ([Path(component.uri)] if component.uri else [])
            if component.error:
                full = isinstance(component.error, StoreError) and component.error.code == "ENOSPC"
                assert full or isinstance(component.error, InsufficientStorageError), component.error
            return component.uri is None

        refused += on_small_disk(work, (1 << 20) + 2 * WEIGHTS_BYTES * number // count)
    assert 0 < refused < count
