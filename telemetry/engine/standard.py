"""Metrics, properties and keys that the engine fills by itself, for the rows and the vocabulary of any product."""

from __future__ import annotations

from telemetry.engine import conventions
from telemetry.engine.operation import Fold, Metric, Property, Unit

RETRIES = Metric("retries", "Retries", Unit.COUNT, "Calls that were made again", "Sum", Fold.SUM)
THROTTLES = Metric("throttles", "Throttles", Unit.COUNT, "Calls that the service slowed down", "Sum", Fold.SUM)
CALLS = (RETRIES, THROTTLES)
"""Of a row whose step calls AWS, counted by `aws_calls`."""

PEAK_MEMORY = Metric("peak_memory_bytes", "PeakMemoryBytes", Unit.BYTES, "Most memory the process held", "Maximum")

INVOCATION_METRICS = (
    Metric(
        "cold_start",
        "ColdStart",
        Unit.COUNT,
        "1 when the environment was new",
        "Sum",
        attribute=conventions.FAAS_COLDSTART,
    ),
    Metric("invocations", "Invocations", Unit.COUNT, "Invocations of this environment so far", "Maximum"),
    Metric("time_left_ms", "TimeLeft", Unit.MILLISECONDS, "Time the function still had at the end", "Minimum"),
    PEAK_MEMORY,
)
INVOCATION_PROPERTIES = (
    Property("function_version", "Version of the function", conventions.FAAS_VERSION),
    Property("log_stream", "Log stream of the environment", conventions.AWS_LOG_STREAM_NAMES),
    Property("invoked_arn", "ARN by which the function was invoked", conventions.AWS_INVOKED_ARN),
)
"""Of the row of an invocation, filled by `lambda_runtime`."""

REQUEST_ID = Property("request_id", "Id of the invocation", conventions.FAAS_INVOCATION_ID)
"""Key of the context, bound by `lambda_runtime`."""

HEALTH_METRICS = (
    Metric("lines_written", "LinesWritten", Unit.COUNT, "Lines written", "Sum"),
    Metric("lines_trimmed", "LinesTrimmed", Unit.COUNT, "Lines cut to stay below the limit", "Sum"),
    Metric("lines_lost", "LinesLost", Unit.COUNT, "Lines that could not be written", "Sum"),
    Metric("spans_lost", "SpansLost", Unit.COUNT, "Spans that no endpoint acknowledged", "Sum"),
    Metric("points_lost", "PointsLost", Unit.COUNT, "Data points of metrics that no endpoint acknowledged", "Sum"),
    Metric("faults", "Faults", Unit.COUNT, "Bad values, unknown fields, broken recorders", "Sum"),
    Metric("endpoint_dead", "EndpointDead", Unit.COUNT, "1 while the trace endpoint is given up", "Maximum"),
)
HEALTH_PROPERTIES = (Property("first_fault", "The first fault since the line before"),)
"""Of the row of the health line."""

LOG_KEYS = (
    Property("timestamp", "When the line was written, ISO 8601 in UTC"),
    Property("level", "debug, info, warning or error"),
    Property("event", "Name of the row, or of the event"),
    Property("outcome", "success, failure or incomplete"),
    Property("duration_ms", "Time from start to end of the step"),
    Property("trace_id", "X-Ray compatible trace id, 32 hexadecimal digits"),
    Property("span_id", "Id of the step's span, 16 hexadecimal digits"),
    Property("xray_trace_id", "The trace id as X-Ray writes it"),
    Property(
        "kept_level", "Level of a line that was kept until its run failed, where `level` says what the platform asks"
    ),
    Property("error_type", "Type of the exception, and code of the service when there is one", conventions.ERROR_TYPE),
    Property("fault", "Whose failure it is, as the exception says; the service's when it does not say"),
    Property("error", "Message of the exception"),
    Property("figures", "Numbers that the exception carries, by name"),
    Property("next_step", "What to try next"),
    Property("stack", "Where the exception came from, innermost call last"),
    Property("trimmed", "Keys that were cut to keep the line below the limit"),
)
"""What a log line holds besides the fields of its row and the context."""
