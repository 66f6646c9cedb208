"""What watches the rows of the catalog: alarms, SLOs, runbooks. The function never imports it."""

from telemetry.watch.alarms import ALARMS, BURN_RATES, COMPOSITES, SLOS, BurnRate, burn_rate_alarms
from telemetry.watch.types import (
    OURS,
    Action,
    Alarm,
    Composite,
    Limits,
    Names,
    Runbook,
    Severity,
    Signal,
    Slo,
    Threshold,
)

__all__ = [
    "ALARMS",
    "BURN_RATES",
    "COMPOSITES",
    "OURS",
    "SLOS",
    "Action",
    "Alarm",
    "BurnRate",
    "Composite",
    "Limits",
    "Names",
    "Runbook",
    "Severity",
    "Signal",
    "Slo",
    "Threshold",
    "burn_rate_alarms",
]
