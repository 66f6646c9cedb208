"""Traces: one OpenTelemetry span for each step, with X-Ray's ids, in the trace that the caller began."""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, Status, StatusCode

from telemetry.engine.failures import FAULT, error_details
from telemetry.engine.steps import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

    from telemetry.engine.settings import Settings
    from telemetry.engine.steps import Step
    from telemetry.engine.vocabulary import Vocabulary

_FORMS: dict[str, Callable[[object], object]] = {
    "faas.coldstart": bool,
    "aws.log.stream.names": lambda value: [str(value)],
}
"""The forms of attributes that the semantic conventions define otherwise than as the plain value."""

_LARGEST_INTEGER = 2**63 - 1
"""OTLP has 64 bits for an integer; a larger one makes the whole batch impossible to encode."""

_request_link: ContextVar[Link | None] = ContextVar("telemetry_request_link", default=None)


class Spans(Recorder):
    """Makes the span of every step. The provider is ours alone: the host's global one stays as it is.

    Without a processor no span has anywhere to go; then only ids are made, which is cheaper and still joins the lines.
    """

    def __init__(self, vocabulary: Vocabulary, settings: Settings, *processors: SpanProcessor) -> None:
        self._names = vocabulary.attributes
        self._values = vocabulary.attribute_values
        service = settings.service or vocabulary.service
        self._provider = TracerProvider(
            sampler=None if processors else ALWAYS_OFF,  # None: OTEL_TRACES_SAMPLER, by default as the parent says
            id_generator=AwsXRayIdGenerator(),
            resource=Resource.create({"service.name": service, **dict(settings.resource)}),
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
        token = otel_context.attach(trace.set_span_in_context(span, within))
        step.states[self._me] = (span, token)

    def leave(self, step: Step) -> None:
        state = step.states.get(self._me)
        if state is not None:
            otel_context.detach(state[1])

    def end(self, step: Step) -> None:
        state = step.states.get(self._me)
        if state is None:
            return
        span: Span = state[0]
        try:
            if span.is_recording():
                span.set_attributes(self._attributes(step))
                if step.outcome != "success":
                    self._record_failure(span, step)
        finally:
            span.end(step.end_wall_ns or None)

    def _links(self, step: Step) -> list[Link]:
        """Return the link to the step that the row names: an enclosing one, or one of another invocation."""
        above = step.parent
        while above is not None:
            if above.row.name == step.row.links_to and self._me in above.states:
                return [Link(above.states[self._me][0].get_span_context())]
            above = above.parent
        remote = _request_link.get()
        return [remote] if remote is not None else []

    def _attributes(self, step: Step) -> dict[str, Any]:
        values = step.rendered
        return {
            (name := self._names[field]): self._value(field, name, value)
            for fields in (values.dimension_fields, values.properties, values.metrics)
            for field, value in fields.items()
            if value is not None
        }

    def _value(self, field: str, name: str, value: object) -> object:
        if field in self._values:
            return self._values[field].get(str(value), str(value))
        return _FORMS[name](value) if name in _FORMS else scalar(value)

    def _record_failure(self, span: Span, step: Step) -> None:
        details = error_details(step)
        figures = {f"figures.{name}": value for name, value in details.get("figures", {}).items() if value is not None}
        ours = {"outcome": step.outcome, FAULT: details[FAULT], "next_step": details["next_step"], **figures}
        span.set_attributes({self._names[name]: scalar(value) for name, value in ours.items()})
        span.set_attribute("error.type", details["error_type"])
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


def scalar(value: object) -> Any:  # noqa: ANN401  what OpenTelemetry takes as the value of an attribute
    """Return a plain value as one of the scalars of OTLP; what is none as JSON."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return float(value)
    return json.dumps(value) if isinstance(value, (dict, list)) else value


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
    """Link steps inside, whose rows ask for a link, to the span that the header names, of another invocation."""
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
