"""The catalog: every operation, what it measures and on which panels that is drawn.

Spans, EMF lines, log lines, panels and documentation are renderings of these rows; telemetry.watch has the alarms and
SLOs over them. Standard library only; importing it takes milliseconds.
"""

from telemetry.catalog.function import (
    ASSUME_ROLE,
    AUTHORIZE_REQUEST,
    FUNCTION,
    INVOKE_FUNCTION,
    PROBE,
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
    NAMESPACE,
    OPERATION_DIMENSION,
    STORAGE,
)
from telemetry.catalog.work import (
    BUNDLE_LOCAL,
    CHECK_COMPONENT,
    CHOOSE_STRATEGY,
    COMPARE_COMPONENTS,
    CREATE_MANIFEST,
    EXTRACT_ARCHIVE,
    IDENTIFY_ARTIFACT,
    INSPECT_ARCHIVE,
    PACKAGE_REQUEST,
    PACKAGE_TARGET,
    PLAN_PACKAGE,
    PUBLISH_COMPONENT,
    READ_ARTIFACT,
    VERIFY_UNPACKED,
    WORK,
    WRITE_COMPONENT,
    ZIP_COMPONENT,
)
from telemetry.engine.operation import EVERY_ROW, OTHER, Dimension, Fold, Metric, Operation, Panel, Property, Unit
from telemetry.engine.standard import LOG_KEYS
from telemetry.engine.vocabulary import Vocabulary

ROWS: tuple[Operation, ...] = (*WORK, *LIMITS, *FUNCTION)
"""Every operation there is."""

VOCABULARY = Vocabulary(
    service="edge-model-packager",
    version="0.1.0",
    namespace=NAMESPACE,
    prefix="packager.",
    rows=ROWS,
    health=TELEMETRY_HEALTH,
    invocation=INVOKE_FUNCTION,
    context_keys=CONTEXT_KEYS,
    operation_dimension=OPERATION_DIMENSION,
)
"""What the engine is given of this product."""


def worst_query(row: Operation, metric: Metric) -> str:
    """Return the Logs Insights query that finds the runs behind the worst values of a metric, with their trace ids."""
    order = "asc" if metric.statistic == "Minimum" else "desc"
    keys = ", ".join(["@timestamp", metric.name, *(key.field for key in CONTEXT_KEYS), "trace_id", "outcome"])
    return (
        f'fields {keys} | filter {OPERATION_DIMENSION} = "{row.name}" and ispresent({metric.name})'
        f" | sort {metric.name} {order} | limit 20"
    )


__all__ = [
    "ASSUME_ROLE",
    "AUTHORIZE_REQUEST",
    "BUNDLE_LOCAL",
    "CHECK_COMPONENT",
    "CHOOSE_STRATEGY",
    "CLEAN_UP",
    "COMPARE_COMPONENTS",
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
    "PROBE",
    "PUBLISH_COMPONENT",
    "READ_ARTIFACT",
    "READ_RECORD",
    "RELIEVE_MEMORY",
    "RESERVE_STORAGE",
    "RETRY_TARGET",
    "ROWS",
    "STORAGE",
    "TELEMETRY_HEALTH",
    "TRIGGER_PUBLISH",
    "UPDATE_RECORD",
    "VERIFY_UNPACKED",
    "VOCABULARY",
    "WRITE_COMPONENT",
    "ZIP_COMPONENT",
    "Dimension",
    "Fold",
    "Metric",
    "Operation",
    "Panel",
    "Property",
    "Unit",
    "worst_query",
]
