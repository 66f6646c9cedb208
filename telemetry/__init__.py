"""Telemetry of the packager: one row of the catalog is one span, one EMF line and one log line.

Importing this package imports the standard library only, and nothing is recorded until something is configured:

    with telemetry.to_directory(path): ...   # telemetry.jsonl and spans.jsonl
    with telemetry.to_stdout(): ...          # what Lambda feeds to CloudWatch
    with telemetry.collected_spans() as spans: ...; print(telemetry.waterfall(spans))

The engine knows no product; here are its calls with this product's vocabulary.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from telemetry.catalog import VOCABULARY
from telemetry.engine import observing
from telemetry.engine.observing import add, attached, carrying, current, log, observe, traced
from telemetry.engine.steps import Recorder, Step, close_open_spans

if TYPE_CHECKING:
    from telemetry.engine import configure
    from telemetry.engine import waterfall as drawing
    from telemetry.engine.configure import Pipeline
    from telemetry.engine.settings import Settings
    from telemetry.engine.waterfall import Span, collected_spans

    to_directory = partial(configure.to_directory, VOCABULARY)
    to_stdout = partial(configure.to_stdout, VOCABULARY)
    read_spans = partial(drawing.read_spans, VOCABULARY)
    waterfall = partial(drawing.waterfall, VOCABULARY)

context = partial(observing.context, VOCABULARY)

_OF_VOCABULARY = {
    "to_directory": "configure",
    "to_stdout": "configure",
    "read_spans": "waterfall",
    "waterfall": "waterfall",
}
_LATER = {"Pipeline": "configure", "Settings": "settings", "Span": "waterfall", "collected_spans": "waterfall"}
"""What only those need who record, by its module."""


def __getattr__(name: str) -> Any:  # noqa: ANN401  as the names above
    module = _LATER.get(name) or _OF_VOCABULARY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"telemetry.engine.{module}"), name)
    globals()[name] = value = partial(value, VOCABULARY) if name in _OF_VOCABULARY else value
    return value


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
