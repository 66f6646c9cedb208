"""Traces: one OpenTelemetry span for each step, with X-Ray's ids, in the trace that the caller began."""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _RUNTIME_CONTEXT
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, Status, StatusCode

from telemetry.engine import attributes
from telemetry.engine.failures import error_details
from telemetry.engine.recording import Recorder
from telemetry.engine.values import rendered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

    from telemetry.engine.settings import Settings
    from telemetry.engine.steps import Step

_request_link: ContextVar[Link | None] = ContextVar("telemetry_request_link", default=None)


class Spans(Recorder):
    """Makes the span of every step. The provider is ours alone: the host's global one stays as it is.

    Without a processor no span has anywhere to go; then only ids are made, which is cheaper and still joins the lines.
    """

    def __init__(self, settings: Settings, *processors: SpanProcessor) -> None:
        self._provider = TracerProvider(
            sampler=None if processors else ALWAYS_OFF,  # None: OTEL_TRACES_SAMPLER, by default as the parent says
            id_generator=AwsXRayIdGenerator(),
            resource=Resource.create(dict(settings.resource)),
            shutdown_on_exit=False,
        )
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("telemetry")
        self._me = id(self)

    def begin(self, step: Step) -> None:
        above = step.parent.states.get(self._me) if step.parent is not None else None
        within = trace.set_span_in_context(above[0]) if above is not None else otel_context.get_current()
        links = self._links(step) if step.row.links_to else None
        span = self._tracer.start_span(step.row.span, within, links=links, start_time=step.start_wall_ns or None)
        found = span.get_span_context()
        step.trace_id, step.span_id = f"{found.trace_id:032x}", f"{found.span_id:016x}"
        token = _RUNTIME_CONTEXT.attach(trace.set_span_in_context(span, within))
        step.states[self._me] = (span, token)

    def leave(self, step: Step) -> None:
        # The runtime context itself, since the public detach logs what it cannot do instead of saying so.
        state = step.states.get(self._me)
        if state is not None:
            _RUNTIME_CONTEXT.detach(state[1])

    def end(self, step: Step) -> None:
        state = step.states.get(self._me)
        if state is None:
            return
        span: Span = state[0]
        try:
            if span.is_recording():
                span.set_attributes(_attributes(step))
                if step.outcome != "success":
                    _record_failure(span, step)
        finally:
            span.end(step.end_wall_ns or None)

    def _links(self, step: Step) -> list[Link]:
        """Return the link from a target to its request: the enclosing step, or the one another invocation is in."""
        above = step.parent
        while above is not None:
            if above.row.name == step.row.links_to and self._me in above.states:
                return [Link(above.states[self._me][0].get_span_context())]
            above = above.parent
        remote = _request_link.get()
        return [remote] if remote is not None else []


def _attributes(step: Step) -> dict[str, Any]:
    values = rendered(step)
    return {
        attributes.attribute(field): attributes.attribute_value(field, value)
        for fields in (values.dimension_fields, values.properties, values.metrics)
        for field, value in fields.items()
        if value is not None
    }


def _record_failure(span: Span, step: Step) -> None:
    details = error_details(step)
    figures = details.get("figures", {})
    told = {
        attributes.OUTCOME: step.outcome,
        attributes.ERROR_TYPE: details["error_type"],
        attributes.NEXT_STEP: details["next_step"],
        **{attributes.FIGURES + name: attributes.scalar(value) for name, value in figures.items() if value is not None},
    }
    span.set_attributes(told)
    if "stack" in details:
        # Not record_exception: it fails with an exception whose text fails, and knows no bound for the stack.
        span.add_event(
            "exception",
            {
                "exception.type": type(step.error).__qualname__,
                "exception.message": str(details["error"]),
                "exception.stacktrace": details["stack"],
            },
        )
    span.set_status(Status(StatusCode.ERROR, str(details["error"])))


@contextmanager
def continued(header: str) -> Iterator[None]:
    """Make steps inside children of the span that an `X-Amzn-Trace-Id` header names; a bad header names none."""
    token = otel_context.attach(extracted(header))
    try:
        yield
    finally:
        otel_context.detach(token)


@contextmanager
def linked(header: str) -> Iterator[None]:
    """Link targets inside to the request whose span the header names: that request runs in another invocation."""
    remote = trace.get_current_span(extracted(header)).get_span_context()
    token = _request_link.set(Link(remote) if remote.is_valid else None)
    try:
        yield
    finally:
        _request_link.reset(token)


def extracted(header: str) -> Context:
    """Return the context that the header names."""
    return AwsXRayPropagator().extract({"X-Amzn-Trace-Id": header}, otel_context.Context())


def header_of(step: Step | None) -> str:
    """Return the `X-Amzn-Trace-Id` header that hands a step to another service, or an empty text."""
    carrier: dict[str, str] = {}
    found = None if step is None else next((state[0] for state in step.states.values()), None)
    if found is not None:
        AwsXRayPropagator().inject(carrier, trace.set_span_in_context(found))
    return carrier.get("X-Amzn-Trace-Id", "")


def otlp_json(span: Any) -> str:  # noqa: ANN401  the SDK's ReadableSpan, of which only what is public is read
    """Return a span as one line of OTLP in JSON, which collectors read from files.

    https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
    """
    body: dict[str, Any] = {
        "traceId": format(span.context.trace_id, "032x"),
        "spanId": format(span.context.span_id, "016x"),
        "name": span.name,
        "kind": 1,
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
    scope = {"scope": {"name": "telemetry"}, "spans": [body]}
    resource = {"attributes": _key_values(span.resource.attributes)}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


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
