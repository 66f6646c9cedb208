"""The faults: each is really there while the function runs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.recording import Recording
from dashboards.cloudwatch.series import Sample
from dashboards.drills import artifacts, portal
from dashboards.drills.function import FunctionRun, every
from dashboards.drills.s3 import BUCKET, FaultyBucket, bucket
from dashboards.drills.world import HOUR_S, MINUTE_S
from dashboards.product.specs import metric_of
from telemetry.watch import Names
from telemetry.watch.signals import of_lambda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
SMALL_DISK_BYTES = 32 * MIB
_BALLAST_BYTES = 29 * MIB
_SLOW_BYTES_PER_S = 3 * MIB
_CLOCK_SPEED = 75
"""900 s pass in 12 s."""

_ON_A_SMALL_DISK = 'mount -t tmpfs -o "size=$1,mode=0700" drill "$2" && cp "$3" "$2/" && shift 3 && exec "$@"'


@dataclass(frozen=True)
class Injected:
    """What a run with a fault recorded, and how the fault was made."""

    recording: Recording
    how: str


def none(folder: Path) -> Injected:
    """Package two targets from S3 to S3, and a third on the disk."""
    with _s3() as (environment, store):
        store.objects["whole"] = artifacts.compiled()
        event = _event(f"s3://{BUCKET}/out", dict.fromkeys(("arm64-cpu", "jetson-xavier-jp5"), f"s3://{BUCKET}/whole"))
        local = _local(folder, {"jetson-xavier": artifacts.compiled(300_000)})
        recorded = FunctionRun([event, {**local, "options": {"strategy": "standard"}}], environment).recorded()
    return Injected(recorded, "no fault; two targets from and to S3, one staged on the disk")


def small_disk(folder: Path) -> Injected:
    """Ask for files on a disk that is full; beside it, package what streams."""
    streams = _local(folder, {"arm64-cpu": artifacts.compiled()})
    stages = {**_local(folder, {"jetson-xavier-jp5": artifacts.compiled(2 * MIB)}), "options": {"strategy": "standard"}}
    (ballast := folder / "ballast").write_bytes(bytes(_BALLAST_BYTES))
    (scratch := folder / "scratch").mkdir()
    environment = {"SCRATCH_DIR": str(scratch)}
    inside = _mounting(scratch)
    if inside:
        how = f"a file system of {SMALL_DISK_BYTES / MIB:.0f} MiB in memory, 29 MiB of it taken"
        inside += ["sh", "-c", _ON_A_SMALL_DISK, "sh", str(SMALL_DISK_BYTES), str(scratch), str(ballast)]
    else:
        how = "nothing may be mounted here: an ordinary folder that holds 29 MiB, thresholds of 24 and 28 MiB"
        shutil.copy(ballast, scratch)
        lines = {"WARNING": SMALL_DISK_BYTES * 3 // 4, "CRITICAL": SMALL_DISK_BYTES * 7 // 8}
        environment |= {f"STORAGE_{level}_THRESHOLD": str(line) for level, line in lines.items()}
    return Injected(FunctionRun([streams, stages], environment, inside=inside).recorded(), how)


def _mounting(folder: Path) -> list[str]:
    """Return the command in which a file system can be mounted that nobody else sees; empty when it cannot."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare"):
        return []
    trial = [*command, "mount", "-t", "tmpfs", "-o", "size=64k", "drill", str(folder)]
    return command if subprocess.run(trial, capture_output=True, check=False).returncode == 0 else []  # noqa: S603  see `FunctionRun`


def slow_s3(folder: Path) -> Injected:
    """Read an artifact that comes too slowly for the time there is, after one that is small enough."""
    with _s3() as (environment, store):
        store.objects |= {"small": artifacts.compiled(), "slow": artifacts.compiled(36 * MIB)}
        store.bytes_per_s = _SLOW_BYTES_PER_S
        # The first is by the real clock: beginning takes long on a busy machine, and is no fault of S3's.
        compiled = {"jetson-xavier-jp5": "small", "arm64-cpu": "slow"}
        events = [_event(str(folder / "out"), {target: f"s3://{BUCKET}/{key}"}) for target, key in compiled.items()]
        # The work looks at the clock after every MiB and waits for one more to stop: 50 s of this clock for both.
        recorded = FunctionRun(events, {**environment, "TIME_RESERVE_S": "86"}, speed=_CLOCK_SPEED).recorded()
    return Injected(recorded, f"S3 gives 3 MiB a second; the function's clock runs {_CLOCK_SPEED} times as fast")


def failing_s3(_: Path) -> Injected:
    """Read one artifact that S3 gives and one that it fails to give, again and again."""
    with _s3() as (environment, store):
        store.objects |= {"whole": artifacts.compiled(), "failing": artifacts.compiled(150_000)}
        store.failing = frozenset({"failing"})
        compiled = {"arm64-cpu": f"s3://{BUCKET}/whole", "jetson-xavier-jp5": f"s3://{BUCKET}/failing"}
        event = _event(f"s3://{BUCKET}/out", compiled)
        few = {"MAX_ATTEMPTS": "1", "AWS_MAX_ATTEMPTS": "2"}  # of the target, of a call: more would only take time
        recorded = FunctionRun([event], {**environment, **few}).recorded()
    return Injected(recorded, "S3 answers 503 SlowDown or breaks off, for one of two artifacts; one attempt a target")


def corrupt_artifact(folder: Path) -> Injected:
    """Package one whole artifact and one whose checksum is wrong."""
    whole = artifacts.compiled()
    event = _local(folder, {"arm64-cpu": whole, "jetson-xavier-jp5": artifacts.damaged(whole)})
    return Injected(FunctionRun([event]).recorded(), "one of two artifacts has a wrong checksum at its end")


def corrupt_artifacts(folder: Path) -> Injected:
    """Package nothing but an artifact whose checksum is wrong."""
    event = _local(folder, {"arm64-cpu": artifacts.damaged(artifacts.compiled())})
    return Injected(FunctionRun([event]).recorded(), "the only artifact has a wrong checksum at its end")


def dead_endpoint(folder: Path) -> Injected:
    """Send traces where nobody listens, in three periods."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    event = _local(folder, {"arm64-cpu": artifacts.compiled()})
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1"}
    runs = [FunctionRun([event] * 3, environment).recorded() for _ in range(3)]
    return Injected(every(300, runs), "no one listens at the trace endpoint; three runs, laid 300 s apart")


def refused(*operations: str) -> Callable[[Path], Injected]:
    """Return the fault in which these calls of the portal's are denied, in two requests of a user one after another."""

    def inject(_: Path) -> Injected:
        with _s3() as (environment, store):
            store.objects["whole"] = artifacts.compiled()
            store.portal = portal.RefusingPortal(portal.job(BUCKET, "trained", "whole"), frozenset(operations))
            given = {**environment, **portal.TABLES, "GREENGRASS_PUBLISH_FUNCTION_NAME": portal.PUBLISHER}
            recorded = FunctionRun([portal.request()] * 2, given).recorded()
        return Injected(recorded, f"denied to the function in two requests: {', '.join(operations)}")

    return inject


def no_log_group(folder: Path) -> Injected:
    """Run where no line arrives: only Lambda counts that it ran, every five minutes of an hour."""
    recorded = FunctionRun([_local(folder, {"arm64-cpu": artifacts.compiled()})]).recorded()
    begin_s = int((recorded.store.span_s() or (0.0, 0.0))[0])
    told = Recording()
    for time_s in range(begin_s, begin_s + HOUR_S, 5 * MINUTE_S):
        told.store.add(metric_of(of_lambda("Invocations"), Names()), Sample(time_s, 1.0))
    return Injected(told, "the function runs for an hour, and its lines go to a log group that is not there")


def no_time(folder: Path) -> Injected:
    """Begin when the time is nearly up."""
    event = _local(folder, {"arm64-cpu": artifacts.compiled()})
    return Injected(FunctionRun([event], left_s=8).recorded(), "8 s of 900 s are left when the invocation begins")


@contextmanager
def _s3() -> Iterator[tuple[dict[str, str], FaultyBucket]]:
    store = FaultyBucket({"trained": artifacts.trained()})
    with bucket(store) as environment:
        yield environment, store


def _event(output: str, compiled: dict[str, str], trained: str = f"s3://{BUCKET}/trained") -> dict[str, Any]:
    listed = [{"target": target, "uri": uri} for target, uri in compiled.items()]
    return {"trained": trained, "compiled": listed, "output": output}


def _local(folder: Path, compiled: dict[str, bytes]) -> dict[str, Any]:
    """Return the event that packages artifacts on this disk into a folder there."""
    (trained := folder / "trained.tar.gz").write_bytes(artifacts.trained())
    paths = {target: folder / f"{target}.tar.gz" for target in compiled}
    for target, path in paths.items():
        path.write_bytes(compiled[target])
    return _event(str(folder / "out"), {target: str(path) for target, path in paths.items()}, str(trained))
