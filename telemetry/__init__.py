"""Telemetry of the packager: one row of the catalog is one span, one EMF line and one log line.

Importing this package imports the standard library only, and nothing is recorded until something is configured:

    with telemetry.to_directory(path): ...   # telemetry.jsonl and spans.jsonl
    with telemetry.to_stdout(): ...          # what Lambda feeds to CloudWatch
    with telemetry.collected_spans() as spans: ...; print(telemetry.waterfall(spans))

The engine knows no product; here are its calls with this product's vocabulary.
"""

from __future__ import annotations

from functools import partial

from telemetry.catalog import VOCABULARY
from telemetry.engine import configure, observing
from telemetry.engine import waterfall as drawing
from telemetry.engine.configure import Pipeline
from telemetry.engine.observing import add, attached, carrying, current, log, observe, traced
from telemetry.engine.settings import Settings
from telemetry.engine.steps import Recorder, Step, close_open_spans
from telemetry.engine.waterfall import Span, collected_spans

context = partial(observing.context, VOCABULARY)
to_directory = partial(configure.to_directory, VOCABULARY)
to_stdout = partial(configure.to_stdout, VOCABULARY)
read_spans = partial(drawing.read_spans, VOCABULARY)
waterfall = partial(drawing.waterfall, VOCABULARY)

__all__ = [
    "VOCABULARY",
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
