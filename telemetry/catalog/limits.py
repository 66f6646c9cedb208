"""Rows of what keeps the work within its limits: disk, memory, retries."""

from __future__ import annotations

from telemetry.catalog import parts
from telemetry.catalog.parts import OVERVIEW, STORAGE, STORAGE_BOARD, STORAGE_FIELDS, TARGETS_BOARD
from telemetry.engine.operation import Metric, Operation, Panel, Property, Unit

RESERVE_STORAGE = Operation(
    name="ReserveStorage",
    span="reserve storage",
    meaning="Scratch set aside, all or nothing",
    metrics=(
        Metric("granted", "Granted", Unit.COUNT, "1 when the bytes were set aside, 0 when not", "Sum"),
        Metric("requested_bytes", "RequestedBytes", Unit.BYTES, "Bytes that were asked for", "Maximum"),
        parts.AVAILABLE,
        Metric("reserved_bytes", "ReservedBytes", Unit.BYTES, "Bytes set aside by all holders", "Maximum"),
    ),
    panels=(
        Panel(STORAGE_BOARD, "Reservations", ("success", "failure", "granted")),
        Panel(STORAGE_BOARD, "Reserved against there", ("requested_bytes", "reserved_bytes", "available_bytes")),
        Panel(STORAGE_BOARD, "Time of a reservation", ("duration_ms",)),
    ),
)
MONITOR_STORAGE = Operation(
    name="MonitorStorage",
    span="monitor storage",
    meaning="Scratch in use, its trend, and how long it lasts at this rate",
    metrics=(
        Metric("used_bytes", "UsedBytes", Unit.BYTES, "Scratch in use", "Maximum"),
        parts.AVAILABLE,
        Metric("slope_bytes_per_s", "Slope", Unit.BYTES_PER_SECOND, "Growth of scratch use", "Maximum", signed=True),
        Metric("seconds_to_full", "SecondsToFull", Unit.SECONDS, "Time until full at this growth", "Minimum"),
    ),
    dimensions=(parts.LEVEL,),
    dimension_sets=(("level",),),
    properties=(Property("path", "Folder that was looked at"),),
    panels=(
        Panel(OVERVIEW, "Scratch in use", ("used_bytes", "available_bytes")),
        Panel(STORAGE_BOARD, "Scratch now", ("used_bytes", "available_bytes")),
        Panel(STORAGE_BOARD, "Scratch trend", ("slope_bytes_per_s", "seconds_to_full")),
        Panel(STORAGE_BOARD, "Looks by level", ("success",), by="level"),
        Panel(STORAGE_BOARD, "Looks: failures, time", ("failure", "duration_ms")),
    ),
)
CLEAN_UP = Operation(
    name="CleanUp",
    span="clean up",
    meaning="Scratch given back",
    metrics=(
        Metric("freed_bytes", "FreedBytes", Unit.BYTES, "Bytes given back", "Sum"),
        Metric("removed", "Removed", Unit.COUNT, "Things that are gone", "Sum"),
        Metric("left", "Left", Unit.COUNT, "Things that could not be removed", "Sum"),
        *STORAGE,
    ),
    dimensions=(parts.REASON,),
    dimension_sets=(("reason",),),
    properties=(Property("left_paths", "What could not be removed, with the reason of each"),),
    panels=(
        Panel(STORAGE_BOARD, "Clean-ups", ("success", "failure", "removed", "left")),
        Panel(STORAGE_BOARD, "Clean-ups by reason", ("success",), by="reason"),
        Panel(STORAGE_BOARD, "Bytes freed, time", ("freed_bytes", "duration_ms")),
        Panel(STORAGE_BOARD, "Scratch of a clean-up", STORAGE_FIELDS),
    ),
)
RELIEVE_MEMORY = Operation(
    name="RelieveMemory",
    span="relieve memory",
    meaning="Buffers shrunk and garbage collected before the limit",
    metrics=(
        Metric("rss_bytes", "RssBytes", Unit.BYTES, "Memory of the process when relief began", "Maximum"),
        Metric("limit_bytes", "LimitBytes", Unit.BYTES, "Memory that the process may have", "Minimum"),
        Metric("buffers_before", "BuffersBefore", Unit.COUNT, "Buffers before", "Maximum"),
        Metric("buffers_after", "BuffersAfter", Unit.COUNT, "Buffers after", "Minimum"),
        Metric("collected", "Collected", Unit.COUNT, "Objects that the collector freed", "Sum"),
    ),
    panels=(
        Panel(STORAGE_BOARD, "Memory relief", ("success", "failure", "collected")),
        Panel(STORAGE_BOARD, "Memory at relief", ("rss_bytes", "limit_bytes")),
        Panel(STORAGE_BOARD, "Buffers at relief, time", ("buffers_before", "buffers_after", "duration_ms")),
    ),
)
RETRY_TARGET = Operation(
    name="RetryTarget",
    span="retry target",
    meaning="A failed target cleaned, waited for, and begun again or given up",
    metrics=(
        Metric("attempt", "Attempt", Unit.COUNT, "Which attempt failed, from 1", "Maximum"),
        Metric("wait_s", "WaitTime", Unit.SECONDS, "Pause before the next attempt", "Maximum"),
        Metric("exhausted", "Exhausted", Unit.COUNT, "1 when no attempt is left", "Sum"),
    ),
    dimensions=(parts.TARGET,),
    properties=(Property("cause", "Error that asks for the retry"),),
    panels=(
        Panel(TARGETS_BOARD, "Retries exhausted", ("exhausted",)),
        Panel(TARGETS_BOARD, "Retries", ("success", "failure", "attempt", "exhausted")),
        Panel(TARGETS_BOARD, "Retries: wait, time", ("wait_s", "duration_ms")),
    ),
)
LIMITS = (RESERVE_STORAGE, MONITOR_STORAGE, CLEAN_UP, RELIEVE_MEMORY, RETRY_TARGET)
