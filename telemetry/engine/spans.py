"""Traces: one OpenTelemetry span for each step and for each call of a service, in the trace that the caller began."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode

from telemetry.engine import conventions
from telemetry.engine.failures import FAULT, error_details
from telemetry.engine.ids import RandomIds
from telemetry.engine.propagation import inject, request_link
from telemetry.engine.steps import Recorder

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Span

    from telemetry.engine.settings import Settings
    from telemetry.engine.steps import Call, Step
    from telemetry.engine.vocabulary import Vocabulary

SCOPE = "telemetry"
"""Name of the instrumentation; its version is that of the vocabulary."""

_LARGEST_INTEGER = 2**63 - 1
"""OTLP has 64 bits for an integer; a larger one makes the whole batch impossible to encode."""

_KINDS = {kind.name: kind for kind in SpanKind}


class Spans(Recorder):
    """Makes the span of every step. The provider is ours alone: the host's global one stays as it is.

    Without a processor no span has anywhere to go; then only ids are made, which is cheaper and still joins the lines.
    """

    def __init__(self, vocabulary: Vocabulary, settings: Settings, *processors: SpanProcessor) -> None:
        self._names = vocabulary.attributes
        self._values = vocabulary.attribute_values
        self._whole = vocabulary.whole
        self._health = vocabulary.health
        self._propagators = settings.propagators
        self._provider = TracerProvider(
            sampler=_sampler(settings) if processors else ALWAYS_OFF,
            id_generator=RandomIds(),
            resource=resource_of(vocabulary, settings),
            shutdown_on_exit=False,
        )
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SCOPE, vocabulary.version, schema_url=conventions.SCHEMA_URL)
        self._me = id(self)
        self._newest_root: Span | None = None

    def begin(self, step: Step) -> None:
        within = self._context_around(step)
        span = self._tracer.start_span(
            step.row.span,
            within,
            kind=_KINDS[step.kind.name],
            links=self._links(step) if step.row.links_to else None,
            start_time=step.start_wall_ns or None,
        )
        found = span.get_span_context()
        step.trace_id, step.span_id = f"{found.trace_id:032x}", f"{found.span_id:016x}"
        token = otel_context.attach(trace.set_span_in_context(span, within))
        step.states[self._me] = (span, token)
        if step.parent is None and step.row is not self._health:
            self._newest_root = NonRecordingSpan(found)

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

    def call(self, step: Step, call: Call) -> None:
        state = step.states.get(self._me)
        if state is None or not state[0].get_span_context().trace_flags.sampled:
            return
        within = trace.set_span_in_context(state[0])
        span = self._tracer.start_span(
            call.name, within, kind=SpanKind.CLIENT, attributes=call.attributes, start_time=call.start_wall_ns
        )
        if call.error_type:
            span.set_attribute(conventions.ERROR_TYPE, call.error_type)
            span.set_status(Status(StatusCode.ERROR, call.error))
        span.end(call.end_wall_ns)

    def inject(self, step: Step, headers: dict[str, str]) -> None:
        state = step.states.get(self._me)
        if state is not None:
            inject(state[0], headers, self._propagators)

    def _context_around(self, step: Step) -> Context:
        above = step.parent.states.get(self._me) if step.parent is not None else None
        if above is not None:
            return trace.set_span_in_context(above[0])
        if step.row is self._health and self._newest_root is not None:
            # The health line reports on the run that has just ended: a trace of its own would be sampled by itself.
            return trace.set_span_in_context(self._newest_root)
        return otel_context.get_current()

    def _links(self, step: Step) -> list[Link]:
        """Return the link to the step that the row names: an enclosing one, or one of another invocation."""
        above = step.parent
        while above is not None:
            if above.row.name == step.row.links_to and self._me in above.states:
                return [Link(above.states[self._me][0].get_span_context())]
            above = above.parent
        remote = request_link()
        return [remote] if remote is not None else []

    def _attributes(self, step: Step) -> dict[str, Any]:
        values, names, whole = step.rendered, self._names, self._whole
        found = {
            (name := names[field]): self._value(field, name, value)
            for fields in (values.dimension_fields, values.properties)
            for field, value in fields.items()
            if value is not None
        }
        for field, number in values.metrics.items():
            name = names[field]
            found[name] = bool(number) if name in conventions.FORMS else _typed(number, whole=field in whole)
        return found

    def _value(self, field: str, name: str, value: object) -> object:
        if field in self._values:
            return self._values[field].get(str(value), str(value))
        return conventions.FORMS[name](value) if name in conventions.FORMS else _text(value)

    def _record_failure(self, span: Span, step: Step) -> None:
        details = error_details(step.error, with_stack=step.shows_stack)
        figures = {f"figures.{name}": value for name, value in details.get("figures", {}).items() if value is not None}
        ours = {"outcome": step.outcome, FAULT: details[FAULT], "next_step": details["next_step"], **figures}
        span.set_attributes({self._names[name]: scalar(value) for name, value in ours.items()})
        span.set_attribute(conventions.ERROR_TYPE, details["error_type"])
        if "stack" in details:
            # Not record_exception: it fails with an exception whose text fails, and knows no bound for the stack.
            span.add_event(
                conventions.EXCEPTION,
                {
                    conventions.EXCEPTION_TYPE: type(step.error).__qualname__,
                    conventions.EXCEPTION_MESSAGE: str(details["error"]),
                    conventions.EXCEPTION_STACKTRACE: details["stack"],
                },
            )
        span.set_status(Status(StatusCode.ERROR, str(details["error"])))


def resource_of(vocabulary: Vocabulary, settings: Settings) -> Resource:
    """Return what the process is, with what OTEL_RESOURCE_ATTRIBUTES adds."""
    ours = {
        conventions.SERVICE_NAME: settings.service or vocabulary.service,
        conventions.SERVICE_VERSION: vocabulary.version,
        **dict(settings.resource),
    }
    return Resource.create(ours, conventions.SCHEMA_URL)


def scalar(value: object) -> Any:  # noqa: ANN401  what OpenTelemetry takes as the value of an attribute
    """Return a plain value as one of the scalars of OTLP; what is none as JSON."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return float(value)
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _typed(number: float, *, whole: bool) -> float:
    if whole and int(number) == number and abs(number) <= _LARGEST_INTEGER:
        return int(number)
    return float(number)


def _sampler(settings: Settings) -> Sampler | None:
    """Return the sampler, None for that of OTEL_TRACES_SAMPLER, which by default does as the parent does.

    Where X-Ray only passes its header through, the header says "not sampled" of every request: nobody has decided.
    """
    if settings.sampled_share is None:
        return None
    ours = TraceIdRatioBased(settings.sampled_share)
    return ParentBased(ours, remote_parent_not_sampled=ours)
