"""Every drill: the fault, who has to fire and call, and what the runbooks' first queries have to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dashboards.drills import faults
from telemetry.watch import BURN_RATES, Limits, pages

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


_FAILED = (
    "service-failure",
    "packaging-impaired",
    "requests-failed-last",
    *(f"requests-served-{rate.name}-short" for rate in BURN_RATES),
)
"""One request that the service fails is a ticket, and shows in short windows, which alone call nobody."""

_TARGET_FAILED = (*_FAILED, *(f"targets-packaged-{rate.name}-short" for rate in BURN_RATES))

_TWICE = (
    *_FAILED,
    *(alarm.name for alarm in pages.REQUESTS_FAILED),
    *("requests-failed-twice", "requests-failing", "packaging-broken"),
)
"""Two requests in a row are a page, in every window that holds both."""


def _refused(name: str, operation: str, event: str) -> Drill:
    """Return the drill in which a call of the portal's is denied that no request can do without."""
    return Drill(
        name,
        faults.refused(operation),
        fires=_TWICE,
        calls="packaging-broken",
        finds={"requests-failing": ("event", event), "packaging-broken": ("event", event)},
    )


DRILLS = (
    Drill("healthy", faults.none),
    Drill(
        "small-disk",
        faults.small_disk,
        fires=(*_TARGET_FAILED, "storage-warning", "storage-critical", "limits-near"),
        calls="packaging-impaired",
        finds={
            "storage-critical": ("Level", "critical"),
            "service-failure": ("error_type", "InsufficientStorageError"),
        },
        limits=Limits(scratch_bytes=faults.SMALL_DISK_BYTES),
    ),
    Drill(
        "slow-s3",
        faults.slow_s3,
        fires=(*_FAILED, "time-nearly-up", "limits-near"),
        calls="packaging-impaired",
        finds={
            "time-nearly-up": ("Operation", "ReadArtifact"),
            "service-failure": ("error_type", "OutOfTimeError"),
            "limits-near": ("Operation", "InvokeFunction"),
        },
    ),
    Drill(
        "failing-s3",
        faults.failing_s3,
        fires=_TARGET_FAILED,
        calls="packaging-impaired",
        finds={"service-failure": ("error_type", "StoreError"), "packaging-impaired": ("error", "S3")},
    ),
    Drill("corrupt-artifact", faults.corrupt_artifact, finds={"artifacts-failing": ("newest", "checksum")}),
    Drill("corrupt-artifacts", faults.corrupt_artifacts, finds={"artifacts-failing": ("newest", "checksum")}),
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
        fires=(*_FAILED, "time-nearly-up", "limits-near"),
        calls="packaging-impaired",
        finds={"time-nearly-up": ("AbortedForTime", "1"), "service-failure": ("error_type", "OutOfTimeError")},
    ),
    _refused("roles-refused", "GetItem user-roles", "ReadRecord"),
    _refused("jobs-refused", "UpdateItem training-jobs", "UpdateRecord"),
    _refused("role-not-lent", "AssumeRole", "AssumeRole"),
    Drill(
        "audit-refused",
        faults.refused("PutItem audit-log"),
        fires=("audit-failing", "records-impaired"),
        calls="records-impaired",
        finds={"audit-failing": ("error", "audit_log")},
    ),
    Drill(
        "publishing-refused",
        faults.refused("Invoke"),
        fires=("publishing-failing", "records-impaired"),
        calls="records-impaired",
        finds={"publishing-failing": ("error", "Invoke")},
    ),
    Drill(
        "no-log-group",
        faults.no_log_group,
        fires=("metrics-missing", "metrics-missing-3d", "telemetry-broken"),
        calls="telemetry-broken",
    ),
)
