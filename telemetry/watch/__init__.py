"""What watches the rows of the catalog: alarms, SLOs, runbooks. The function never imports it."""

from telemetry.watch.alarms import ALARMS, ALL_PARTS, COMPOSITES, Watching, watching
from telemetry.watch.slos import BURN_RATES, SLOS, BurnRate
from telemetry.watch.types import (
    OURS,
    Action,
    Alarm,
    Automation,
    Composite,
    Limits,
    Names,
    Part,
    Runbook,
    Severity,
    Signal,
    Slo,
    Threshold,
)

__all__ = [
    "ALARMS",
    "ALL_PARTS",
    "BURN_RATES",
    "COMPOSITES",
    "OURS",
    "SLOS",
    "Action",
    "Alarm",
    "Automation",
    "BurnRate",
    "Composite",
    "Limits",
    "Names",
    "Part",
    "Runbook",
    "Severity",
    "Signal",
    "Slo",
    "Threshold",
    "Watching",
    "watching",
]
