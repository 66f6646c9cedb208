"""Finished spans as lines of OTLP in JSON, which collectors read from files.

https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.engine.lines import LineWriter


class SpanLines(SpanProcessor):
    """Writes every finished span as one line."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def on_end(self, span: ReadableSpan) -> None:
        self._writer.write(otlp_json(span))


def otlp_json(span: Any) -> str:  # noqa: ANN401  the SDK's ReadableSpan, of which only what is public is read
    """Return a span as one line of OTLP in JSON."""
    body: dict[str, Any] = {
        "traceId": format(span.context.trace_id, "032x"),
        "spanId": format(span.context.span_id, "016x"),
        "name": span.name,
        "kind": span.kind.value + 1,  # OTLP counts from UNSPECIFIED
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _key_values(span.attributes),
        "status": {"code": span.status.status_code.value, "message": span.status.description or ""},
    }
    if span.parent is not None:
        body["parentSpanId"] = format(span.parent.span_id, "016x")
    if span.events:
        body["events"] = [
            {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": _key_values(event.attributes)}
            for event in span.events
        ]
    if span.links:
        body["links"] = [
            {"traceId": format(link.context.trace_id, "032x"), "spanId": format(link.context.span_id, "016x")}
            for link in span.links
        ]
    found = span.instrumentation_scope
    scope = {"scope": {"name": found.name, "version": found.version}, "schemaUrl": found.schema_url, "spans": [body]}
    resource = {"attributes": _key_values(span.resource.attributes)}
    spans = {"resource": resource, "schemaUrl": span.resource.schema_url, "scopeSpans": [scope]}
    return json.dumps({"resourceSpans": [spans]})


def _key_values(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in (found or {}).items()]


def _any_value(value: Any) -> dict[str, Any]:  # noqa: ANN401  an attribute's value: scalar or sequence
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    return {"stringValue": str(value)}
