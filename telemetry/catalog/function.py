"""Rows of the function around the work: the call, the portal's records, telemetry itself."""

from __future__ import annotations

from telemetry.catalog import parts
from telemetry.catalog.parts import OVERVIEW, STORAGE_BOARD, TELEMETRY_BOARD
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
        Metric("status_4xx", "Status4xx", Unit.COUNT, "1 when the caller was told of its own mistake", "Sum"),
        Metric("status_5xx", "Status5xx", Unit.COUNT, "1 when the caller was told of ours", "Sum"),
        Metric("aborted_for_time", "AbortedForTime", Unit.COUNT, "1 when the work was cut before the clock", "Sum"),
        Metric("uploads_aborted", "UploadsAborted", Unit.COUNT, "Uploads given up", "Sum", Fold.TOTAL, inner="aborted"),
        Metric("retries", "Retries", Unit.COUNT, "Calls that were made again, in all steps", "Sum", Fold.TOTAL),
        Metric("throttles", "Throttles", Unit.COUNT, "Calls a service slowed down, in all steps", "Sum", Fold.TOTAL),
    ),
    dimensions=(parts.TRIGGER, parts.FAULT),
    dimension_sets=(("trigger",), ("fault",)),
    properties=INVOCATION_PROPERTIES,
    panels=(
        Panel(OVERVIEW, "Invocations: good and bad", ("success", "failure", "status_4xx", "status_5xx")),
        Panel(OVERVIEW, "Failed invocations: whose failure", ("failure",), by="fault"),
        Panel(OVERVIEW, "Invocations by trigger", ("success",), by="trigger"),
        Panel(OVERVIEW, "Time left at the end", ("time_left_ms", "duration_ms")),
        Panel(OVERVIEW, "Aborted", ("aborted_for_time", "uploads_aborted")),
        Panel(OVERVIEW, "Cold starts, age of environments", ("cold_start", "invocations")),
        Panel(STORAGE_BOARD, "Memory and scratch of the function", ("peak_memory_bytes", "peak_scratch_bytes")),
        Panel(OVERVIEW, "Retries and throttles", ("retries", "throttles")),
    ),
)
AUTHORIZE_REQUEST = Operation(
    name="AuthorizeRequest",
    span="authorize request",
    meaning="Whether the caller may package for the use case",
    metrics=(Metric("denied", "Denied", Unit.COUNT, "1 when the role was too low", "Sum"),),
    panels=(
        Panel(OVERVIEW, "Authorization", ("success", "failure", "denied")),
        Panel(TELEMETRY_BOARD, "Time of an authorization", ("duration_ms",)),
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
        Panel(TELEMETRY_BOARD, "Records read", ("success", "failure"), by="table"),
        Panel(TELEMETRY_BOARD, "Reads of records: trouble", ("retries", "throttles")),
        Panel(TELEMETRY_BOARD, "Time of a read record", ("duration_ms",), by="table"),
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
        Panel(TELEMETRY_BOARD, "Records written", ("success", "failure"), by="table"),
        Panel(TELEMETRY_BOARD, "Writes of records: trouble", ("conflicts", "retries", "throttles")),
        Panel(TELEMETRY_BOARD, "Time of a written record", ("duration_ms",), by="table"),
    ),
)
ASSUME_ROLE = Operation(
    name="AssumeRole",
    span="assume role",
    meaning="Credentials of the use case's account",
    metrics=CALLS,
    properties=(Property("account_id", "Account of the use case", conventions.CLOUD_ACCOUNT_ID),),
    panels=(
        Panel(TELEMETRY_BOARD, "Roles assumed", ("success", "failure", "retries", "throttles")),
        Panel(TELEMETRY_BOARD, "Time of a role", ("duration_ms",)),
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
        Panel(OVERVIEW, "Publishing triggered", ("success", "failure")),
        Panel(TELEMETRY_BOARD, "Publishing: trouble, time", ("retries", "throttles", "duration_ms")),
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
    AUTHORIZE_REQUEST,
    READ_RECORD,
    UPDATE_RECORD,
    ASSUME_ROLE,
    TRIGGER_PUBLISH,
    TELEMETRY_HEALTH,
)
