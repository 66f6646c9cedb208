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

from tests import archives
from tests.packages import content
from tests.s3_server import CREDENTIALS

PACKAGER = str(Path(sys.executable).with_name("packager"))
WEIGHTS_BYTES = 20 << 20
"""Three parts of an upload."""

KEPT_GOING_S = 60.0

FEW, MANY = 2, 12
"""Moments for each way to package: SIGTERM at FEW or MANY of each four, SIGKILL at half as many."""


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
            [PACKAGER, *self.arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
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


@pytest.fixture(
    params=[(store, strategy) for store in ("folder", "s3") for strategy in ("streaming", "standard")],
    ids=" ".join,
)
def way(request, artifacts, tmp_path) -> Way:
    store, strategy = request.param
    scratch = tmp_path / "scratch"
    arguments = ["package", "--trained", f"{artifacts}/trained.tar.gz", "--strategy", strategy, "--json", "--force"]
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


def strike(way: Way, number: signal.Signals, moment_s: float) -> int:
    """Send the signal at that moment of a run; its exit status."""
    with way.start() as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        process.send_signal(number)
        _, err = process.communicate(timeout=KEPT_GOING_S)
    assert b"Traceback" not in err, err
    return process.returncode


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


counts = pytest.mark.parametrize(
    "count", [pytest.param(FEW, id="few"), pytest.param(MANY + 1, id="many", marks=pytest.mark.slow)]
)


@counts
def test_sigterm_at_random_moments_leaves_nothing_half_made(way, count):
    whole_s = undisturbed(way)
    ended_early = 0
    for moment_s in moments(count, whole_s, count):
        way.empty()
        status = strike(way, signal.SIGTERM, moment_s)
        assert status in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
        ended_early += status != 0
        assert_only_whole_components_are_visible(way)
        assert way.half_made() == []
    assert ended_early or count == FEW, "every signal came too late to tell anything"


@counts
def test_sigkill_at_random_moments_leaves_nothing_half_made_after_the_next_start(way, count):
    whole_s = undisturbed(way)
    left_something = 0
    for moment_s in moments((count + 1) // 2, whole_s, count):
        way.empty()
        strike(way, signal.SIGKILL, moment_s)
        left_something += bool(way.half_made())
        assert_only_whole_components_are_visible(way)
        document = way.run()
        assert [each["status"] for each in document["components"]] == ["packaged"]
        assert_only_whole_components_are_visible(way)
        assert way.half_made() == []
        assert len(way.components()) == 1
    assert left_something or count == FEW, "no signal came when anything was half made"
