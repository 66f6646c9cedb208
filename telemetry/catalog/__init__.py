"""The catalog: every operation, what it measures, who looks at it, and when somebody is called.

Spans, EMF lines, log lines, panels, alarms, SLOs, runbooks and documentation are renderings of these rows. Standard
library only; importing it takes milliseconds.
"""

from telemetry.catalog.function import (
    ASSUME_ROLE,
    AUTHORIZE_REQUEST,
    FUNCTION,
    INVOKE_FUNCTION,
    READ_RECORD,
    TELEMETRY_HEALTH,
    TRIGGER_PUBLISH,
    UPDATE_RECORD,
)
from telemetry.catalog.limits import (
    CLEAN_UP,
    LIMITS,
    MONITOR_STORAGE,
    RELIEVE_MEMORY,
    RESERVE_STORAGE,
    RETRY_TARGET,
)
from telemetry.catalog.parts import (
    CONTEXT_KEYS,
    DASHBOARDS,
    LOG_KEYS,
    NAMESPACE,
    OPERATION_DIMENSION,
    STORAGE,
)
from telemetry.catalog.work import (
    CHECK_COMPONENT,
    CHOOSE_STRATEGY,
    CREATE_MANIFEST,
    EXTRACT_ARCHIVE,
    IDENTIFY_ARTIFACT,
    INSPECT_ARCHIVE,
    PACKAGE_REQUEST,
    PACKAGE_TARGET,
    PLAN_PACKAGE,
    READ_ARTIFACT,
    WORK,
    WRITE_COMPONENT,
    ZIP_COMPONENT,
)
from telemetry.engine.operation import EVERY_ROW, OTHER, Dimension, Fold, Metric, Operation, Panel, Property, Unit
from telemetry.watch.alarms import ALARM_PREFIX, BURN_RATES, COMPOSITES, SLOS, BurnRate, burn_rate_alarms
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

ROWS: tuple[Operation, ...] = (*WORK, *LIMITS, *FUNCTION)
"""Every operation there is."""

ALARMS: tuple[Alarm, ...] = tuple(alarm for row in ROWS for alarm in row.alarms)
"""Every metric alarm there is; COMPOSITES are those over them."""


def worst_query(row: Operation, metric: Metric) -> str:
    """Return the Logs Insights query that finds the runs behind the worst values of a metric, with their trace ids."""
    order = "asc" if metric.statistic == "Minimum" else "desc"
    keys = ", ".join(["@timestamp", metric.name, *(key.field for key in CONTEXT_KEYS), "trace_id", "outcome"])
    return (
        f'fields {keys} | filter {OPERATION_DIMENSION} = "{row.name}" and ispresent({metric.name})'
        f" | sort {metric.name} {order} | limit 20"
    )


__all__ = [
    "ALARMS",
    "ALARM_PREFIX",
    "ASSUME_ROLE",
    "AUTHORIZE_REQUEST",
    "BURN_RATES",
    "CHECK_COMPONENT",
    "CHOOSE_STRATEGY",
    "CLEAN_UP",
    "COMPOSITES",
    "CONTEXT_KEYS",
    "CREATE_MANIFEST",
    "DASHBOARDS",
    "EVERY_ROW",
    "EXTRACT_ARCHIVE",
    "IDENTIFY_ARTIFACT",
    "INSPECT_ARCHIVE",
    "INVOKE_FUNCTION",
    "LOG_KEYS",
    "MONITOR_STORAGE",
    "NAMESPACE",
    "OPERATION_DIMENSION",
    "OTHER",
    "PACKAGE_REQUEST",
    "PACKAGE_TARGET",
    "PLAN_PACKAGE",
    "READ_ARTIFACT",
    "READ_RECORD",
    "RELIEVE_MEMORY",
    "RESERVE_STORAGE",
    "RETRY_TARGET",
    "ROWS",
    "SLOS",
    "STORAGE",
    "TELEMETRY_HEALTH",
    "TRIGGER_PUBLISH",
    "UPDATE_RECORD",
    "WRITE_COMPONENT",
    "ZIP_COMPONENT",
    "Action",
    "Alarm",
    "BurnRate",
    "Comparison",
    "Composite",
    "Dimension",
    "Fold",
    "Limits",
    "Metric",
    "Missing",
    "Operation",
    "Panel",
    "Property",
    "Runbook",
    "Severity",
    "Signal",
    "Slo",
    "Threshold",
    "Unit",
    "burn_rate_alarms",
    "worst_query",
]
