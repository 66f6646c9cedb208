"""The stages of the service: each writes into a namespace of its own, for they share an account."""

from __future__ import annotations

from dashboards.places import STAGE
from telemetry.catalog import NAMESPACE
from telemetry.watch import Names


def of_the_stage(namespace: str) -> str:
    """Return the namespace of the stage that is generated for that of any stage or none: our alarms look at one."""
    ours = namespace == NAMESPACE or namespace.startswith(f"{NAMESPACE}/")
    return Names(STAGE).namespace if ours else namespace
