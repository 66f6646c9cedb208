"""What watches the rows of the catalog: alarms, SLOs, runbooks. The function never imports it."""

from telemetry.watch.alarms import ALARM_PREFIX, ALARMS, BURN_RATES, COMPOSITES, SLOS, BurnRate, burn_rate_alarms
from telemetry.watch.types import (
    Action,
    Alarm,
    Comparison,
    Composite,
    Limits,
    Missing,
    Runbook,
    Severity,
    Signal,
    Slo,
    Threshold,
)

__all__ = [
    "ALARMS",
    "ALARM_PREFIX",
    "BURN_RATES",
    "COMPOSITES",
    "SLOS",
    "Action",
    "Alarm",
    "BurnRate",
    "Comparison",
    "Composite",
    "Limits",
    "Missing",
    "Runbook",
    "Severity",
    "Signal",
    "Slo",
    "Threshold",
    "burn_rate_alarms",
]
