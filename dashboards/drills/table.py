"""Every drill: the fault, who has to fire and call, and what the runbooks' first queries have to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dashboards.drills import faults
from telemetry.watch import BURN_RATES, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Drill:
    """One drill.

    Attributes:
        fires: The alarms that go into ALARM, by their names in the catalog; all others stay silent.
        calls: The one of them that calls somebody: one fault, one call.
        finds: By alarm, a field that the first query of its runbook shows, and the text that has to stand there.
        limits: What the function has here; the thresholds follow from it.
    """

    name: str
    inject: Callable[[Path], faults.Injected]
    fires: tuple[str, ...] = ()
    calls: str = ""
    finds: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


_FAILED = ("target-failures", "packaging-impaired")
_ONE_FAILED = (*_FAILED, *(f"targets-packaged-{rate.name}-short" for rate in BURN_RATES))
"""A target that fails is a ticket, and shows in the short windows of its SLO, which alone call nobody."""

_ONE_REFUSED = (*_FAILED, *(f"requests-answered-{rate.name}-short" for rate in BURN_RATES))
"""So is one that is refused: its request is answered with an error of ours."""

DRILLS = (
    Drill("healthy", faults.none),
    Drill(
        "small-disk",
        faults.small_disk,
        fires=(*_ONE_REFUSED, "storage-warning", "storage-critical", "limits-near", "packaging-broken"),
        calls="packaging-broken",
        finds={
            "storage-critical": ("Level", "critical"),
            "target-failures": ("error_type", "InsufficientStorageError"),
        },
        limits=Limits(scratch_bytes=faults.SMALL_DISK_BYTES),
    ),
    Drill(
        "slow-s3",
        faults.slow_s3,
        fires=(*_ONE_FAILED, "uploads-aborted", "time-nearly-up", "limits-near"),
        calls="packaging-impaired",
        finds={
            "time-nearly-up": ("Operation", "ReadArtifact"),
            "target-failures": ("error_type", "OutOfTimeError"),
            "limits-near": ("Operation", "InvokeFunction"),
        },
    ),
    Drill(
        "failing-s3",
        faults.failing_s3,
        fires=(*_ONE_FAILED, "uploads-aborted", "retries-exhausted", "packaging-broken"),
        calls="packaging-broken",
        finds={"retries-exhausted": ("cause", "S3 GetObject"), "target-failures": ("error_type", "StoreError")},
    ),
    Drill(
        "corrupt-artifact",
        faults.corrupt_artifact,
        fires=(*_ONE_FAILED, "uploads-aborted"),
        calls="packaging-impaired",
        finds=dict.fromkeys(("packaging-impaired", "target-failures", "uploads-aborted"), ("error", "checksum")),
    ),
    Drill(
        "corrupt-artifacts",
        faults.corrupt_artifacts,
        fires=(*_ONE_FAILED, "uploads-aborted", "no-work-done", "packaging-broken"),
        calls="packaging-broken",
        finds={"no-work-done": ("error", "checksum"), "packaging-broken": ("error_type", "ExtractionError")},
    ),
    Drill(
        "dead-endpoint",
        faults.dead_endpoint,
        fires=("telemetry-endpoint-dead", "telemetry-broken"),
        calls="telemetry-broken",
        finds=dict.fromkeys(("telemetry-broken", "telemetry-endpoint-dead"), ("endpoint_dead", "1")),
    ),
    Drill(
        "no-time",
        faults.no_time,
        fires=(*_ONE_FAILED, "time-nearly-up", "limits-near"),
        calls="packaging-impaired",
        finds={"time-nearly-up": ("AbortedForTime", "1"), "target-failures": ("error_type", "OutOfTimeError")},
    ),
)
