"""Telemetry of the packager: one row of the catalog is one span, one EMF line and one log line.

Importing this package imports the standard library only, and nothing is recorded until something is configured.
"""

from telemetry.observing import add, attached, carrying, close_open_spans, context, current, log, observe, traced

__all__ = ["add", "attached", "carrying", "close_open_spans", "context", "current", "log", "observe", "traced"]
