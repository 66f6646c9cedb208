"""Telemetry of the packager: one row of the catalog is one span, one EMF line and one log line.

Importing this package imports the standard library only, and nothing is recorded until something is configured:

    with telemetry.to_directory(path): ...   # telemetry.jsonl and spans.jsonl
    with telemetry.to_stdout(): ...          # what Lambda feeds to CloudWatch
    with telemetry.collected_spans() as spans: ...; print(telemetry.waterfall(spans))
"""

from __future__ import annotations

from telemetry.engine.configure import Pipeline, to_directory, to_stdout
from telemetry.engine.observing import add, attached, carrying, context, current, log, observe, traced
from telemetry.engine.recording import Recorder
from telemetry.engine.settings import Settings
from telemetry.engine.steps import Step, close_open_spans
from telemetry.engine.waterfall import Span, collected_spans, read_spans, waterfall

__all__ = [
    "Pipeline",
    "Recorder",
    "Settings",
    "Span",
    "Step",
    "add",
    "attached",
    "carrying",
    "close_open_spans",
    "collected_spans",
    "context",
    "current",
    "log",
    "observe",
    "read_spans",
    "to_directory",
    "to_stdout",
    "traced",
    "waterfall",
]
