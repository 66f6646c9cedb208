"""The stages of the service: each writes into a namespace of its own, for they share an account."""

from __future__ import annotations

from telemetry.catalog import NAMESPACE


def without_stage(namespace: str) -> str:
    """Return the catalog's namespace for that of any stage: offline there is one stage, which our alarms look at."""
    return NAMESPACE if namespace.startswith(f"{NAMESPACE}/") else namespace
