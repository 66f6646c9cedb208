"""Rows of the function around the work: the call, the portal's records, telemetry itself."""

from __future__ import annotations

from telemetry.catalog import parts
from telemetry.catalog.parts import OVERVIEW, SERVICE_BOARD, STORAGE_BOARD, TELEMETRY_BOARD
from telemetry.engine import conventions
from telemetry.engine.operation import Fold, Kind, Metric, Operation, Panel, Property, Unit
from telemetry.engine.standard import (
    CALLS,
    HEALTH_METRICS,
    HEALTH_PROPERTIES,
    INVOCATION_METRICS,
    INVOCATION_PROPERTIES,
)

INVOKE_FUNCTION = Operation(
    name="InvokeFunction",
    span="invoke function",
    meaning="One invocation of the function",
    kind=Kind.SERVER,
    metrics=(
        *INVOCATION_METRICS,
        parts.PEAK_SCRATCH,
        Metric("requests", "Requests", Unit.COUNT, "1 for a caller who waits for the outcome", "Sum"),
        Metric("service_failed", "ServiceFailed", Unit.COUNT, "1 when the service failed the request, for good", "Sum"),
        parts.TARGETS,
        Metric(
            "targets_failed_by_service",
            "TargetsFailedByService",
            Unit.COUNT,
            "Targets that the service failed, for good",
            "Sum",
        ),
        Metric("models", "Models", Unit.COUNT, "1 for each model, whoever asked", "Sum"),
        Metric("models_bad", "ModelsBad", Unit.COUNT, "1 when a model's artifacts are at fault, the first time", "Sum"),
        Metric("status_4xx", "Status4xx", Unit.COUNT, "1 when the caller was told of its own mistake", "Sum"),
        Metric("status_5xx", "Status5xx", Unit.COUNT, "1 when the caller was told of ours", "Sum"),
        Metric("aborted_for_time", "AbortedForTime", Unit.COUNT, "1 when the work was cut before the clock", "Sum"),
        Metric("uploads_aborted", "UploadsAborted", Unit.COUNT, "Uploads given up", "Sum", Fold.TOTAL, inner="aborted"),
        Metric("retries", "Retries", Unit.COUNT, "Calls that were made again, in all steps", "Sum", Fold.TOTAL),
        Metric("throttles", "Throttles", Unit.COUNT, "Calls a service slowed down, in all steps", "Sum", Fold.TOTAL),
    ),
    dimensions=(parts.TRIGGER, parts.FAULT),
    dimension_sets=(("fault",),),
    properties=INVOCATION_PROPERTIES,
    panels=(
        Panel(OVERVIEW, "Requests: failed by the service", ("requests", "service_failed")),
        Panel(OVERVIEW, "Targets: failed by the service", ("targets", "targets_failed_by_service")),
        Panel(OVERVIEW, "Models: bad artifacts", ("models", "models_bad")),
        Panel(SERVICE_BOARD, "Failed invocations: whose failure", ("failure",), by="fault"),
        Panel(SERVICE_BOARD, "Invocations: good and bad", ("success", "failure", "status_4xx", "status_5xx")),
        Panel(SERVICE_BOARD, "Time left at the end", ("time_left_ms", "duration_ms")),
        Panel(SERVICE_BOARD, "Aborted", ("aborted_for_time", "uploads_aborted")),
        Panel(SERVICE_BOARD, "Cold starts, age of environments", ("cold_start", "invocations")),
        Panel(SERVICE_BOARD, "Retries and throttles", ("retries", "throttles")),
        Panel(STORAGE_BOARD, "Memory and scratch of the function", ("peak_memory_bytes", "peak_scratch_bytes")),
    ),
)
PROBE = Operation(
    name="Probe",
    span="probe",
    meaning="A tiny model packaged through everything that the function may use, on a schedule",
    properties=(Property("part", "What was being done when it failed"),),
    panels=(
        Panel(OVERVIEW, "Probes", ("success", "failure")),
        Panel(SERVICE_BOARD, "Time of a probe", ("duration_ms",)),
    ),
)
AUTHORIZE_REQUEST = Operation(
    name="AuthorizeRequest",
    span="authorize request",
    meaning="Whether the caller may package for the use case",
    metrics=(Metric("denied", "Denied", Unit.COUNT, "1 when the role was too low", "Sum"),),
    panels=(
        Panel(SERVICE_BOARD, "Authorization", ("success", "failure", "denied")),
        Panel(SERVICE_BOARD, "Time of an authorization", ("duration_ms",)),
    ),
)
READ_RECORD = Operation(
    name="ReadRecord",
    span="read record",
    meaning="A record of the portal read",
    metrics=CALLS,
    dimensions=(parts.TABLE,),
    dimension_sets=(("table",),),
    panels=(
        Panel(SERVICE_BOARD, "Records read", ("success", "failure"), by="table"),
        Panel(SERVICE_BOARD, "Reads of records: trouble", ("retries", "throttles")),
        Panel(SERVICE_BOARD, "Time of a read record", ("duration_ms",), by="table"),
    ),
)
UPDATE_RECORD = Operation(
    name="UpdateRecord",
    span="update record",
    meaning="A record of the portal written, conditionally",
    metrics=(
        Metric("conflicts", "Conflicts", Unit.COUNT, "Writes that met someone else's and were redone", "Sum", Fold.SUM),
        *CALLS,
    ),
    dimensions=(parts.TABLE,),
    dimension_sets=(("table",),),
    panels=(
        Panel(SERVICE_BOARD, "Records written", ("success", "failure"), by="table"),
        Panel(SERVICE_BOARD, "Writes of records: trouble", ("conflicts", "retries", "throttles")),
        Panel(SERVICE_BOARD, "Time of a written record", ("duration_ms",), by="table"),
    ),
)
ASSUME_ROLE = Operation(
    name="AssumeRole",
    span="assume role",
    meaning="Credentials of the use case's account",
    metrics=CALLS,
    properties=(Property("account_id", "Account of the use case", conventions.CLOUD_ACCOUNT_ID),),
    panels=(
        Panel(SERVICE_BOARD, "Roles assumed", ("success", "failure", "retries", "throttles")),
        Panel(SERVICE_BOARD, "Time of a role", ("duration_ms",)),
    ),
)
TRIGGER_PUBLISH = Operation(
    name="TriggerPublish",
    span="trigger publish",
    meaning="The publishing function asked to go on",
    kind=Kind.PRODUCER,
    metrics=CALLS,
    properties=(
        Property("function", "Function that was asked", conventions.FAAS_INVOKED_NAME),
        Property("component_name", "Component to publish"),
    ),
    panels=(
        Panel(SERVICE_BOARD, "Publishing triggered", ("success", "failure")),
        Panel(SERVICE_BOARD, "Publishing: trouble, time", ("retries", "throttles", "duration_ms")),
    ),
)
TELEMETRY_HEALTH = Operation(
    name="TelemetryHealth",
    span="telemetry health",
    meaning="What telemetry itself wrote, cut and lost since the line before",
    metrics=HEALTH_METRICS,
    properties=HEALTH_PROPERTIES,
    panels=(
        Panel(TELEMETRY_BOARD, "Lines", ("lines_written", "lines_trimmed", "lines_lost")),
        Panel(TELEMETRY_BOARD, "Spans and points lost, endpoint dead", ("spans_lost", "points_lost", "endpoint_dead")),
        Panel(TELEMETRY_BOARD, "Faults of telemetry", ("faults", "success", "failure")),
        Panel(TELEMETRY_BOARD, "Time of the health line", ("duration_ms",)),
    ),
)
FUNCTION = (
    INVOKE_FUNCTION,
    PROBE,
    AUTHORIZE_REQUEST,
    READ_RECORD,
    UPDATE_RECORD,
    ASSUME_ROLE,
    TRIGGER_PUBLISH,
    TELEMETRY_HEALTH,
)
