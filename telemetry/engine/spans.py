"""Traces: one OpenTelemetry span for each step and for each call of a service, in the trace that the caller began."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from telemetry.engine import conventions
from telemetry.engine.failures import FAULT, error_details
from telemetry.engine.ids import RandomIds
from telemetry.engine.operation import Kind
from telemetry.engine.propagation import inject, request_link
from telemetry.engine.steps import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler

    from telemetry.engine.settings import Settings
    from telemetry.engine.steps import Call, Step
    from telemetry.engine.vocabulary import Vocabulary

SCOPE = "telemetry"
"""Name of the instrumentation; its version is that of the vocabulary."""

_LARGEST_INTEGER = 2**63 - 1
"""OTLP has 64 bits for an integer; a larger one makes the whole batch impossible to encode."""

_KINDS = {kind: SpanKind[kind.name] for kind in Kind}


_SUCCESS = Status()
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class _OpenSpan(NamedTuple):
    """What is kept of a step's span while it is open. `handed_on` is the parent that receivers of requests are told."""

    context: SpanContext
    parent: SpanContext | None
    handed_on: SpanContext
    links: Sequence[Link]
    token: Token[Context]


class Spans(Recorder):
    """Makes the span of every step. The provider is ours alone: the host's global one stays as it is.

    A span is made when it has ended, of what the step knows then: the SDK's own, which can be changed until then, takes
    three times as long. Without a processor no span has anywhere to go; then only ids are made, which join the lines.
    """

    def __init__(self, vocabulary: Vocabulary, settings: Settings, *processors: SpanProcessor) -> None:
        self._names = vocabulary.attributes
        self._values = vocabulary.attribute_values
        self._whole = vocabulary.whole
        self._formed = {*self._values, *(field for field, name in self._names.items() if name in conventions.FORMS)}
        """Fields whose values the semantic conventions write in another way."""
        self._health = vocabulary.health
        self._propagators = settings.propagators
        self._processors = processors
        self._resource = resource_of(vocabulary, settings)
        self._sampler = TracerProvider(
            sampler=_sampler(settings), resource=self._resource, shutdown_on_exit=False
        ).sampler
        self._scope = InstrumentationScope(SCOPE, vocabulary.version, conventions.SCHEMA_URL)
        self._ids = RandomIds()
        self._me = id(self)
        self._newest_root: SpanContext | None = None

    def begin(self, step: Step) -> None:
        above = step.parent.states.get(self._me) if step.parent is not None else None
        parent = above.context if above is not None else self._parent_of_root(step)
        context = self._context(step, parent, decided=above is not None or step.row is self._health)
        step.span_id = f"{context.span_id:016x}"
        step.trace_id = (
            step.parent.trace_id if step.parent is not None and above is not None else f"{context.trace_id:032x}"
        )
        if above is not None:
            handed_on = context if self._processors else above.handed_on
        else:  # a span that goes nowhere is nobody's parent
            handed_on = context if self._processors or parent is None else parent
        links = self._links(step) if step.row.links_to else ()
        token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(context)))
        step.states[self._me] = _OpenSpan(context, parent, handed_on, links, token)
        if step.parent is None and step.row is not self._health:
            self._newest_root = context

    def leave(self, step: Step) -> None:
        state = step.states.get(self._me)
        if state is not None:
            otel_context.detach(state.token)

    def end(self, step: Step) -> None:
        state = step.states.get(self._me)
        if state is None or not self._is_recorded(state):
            return
        attributes = self._attributes(step)
        status, events = _SUCCESS, tuple[Event, ...]()
        if step.outcome != "success":
            details = error_details(step.error, with_stack=step.shows_stack)
            attributes.update(self._failure(step, details))
            status, events = Status(StatusCode.ERROR, str(details["error"])), _events(step, details)
        self._finished(
            step.row.span,
            state.context,
            state.parent,
            attributes,
            kind=_KINDS[step.kind],
            links=state.links,
            times=(step.start_wall_ns, step.end_wall_ns),
            status=status,
            events=events,
        )

    def call(self, step: Step, call: Call) -> None:
        state = step.states.get(self._me)
        if state is None or not self._is_recorded(state):
            return
        attributes, status = call.attributes, _SUCCESS
        if call.error_type:
            attributes = {**attributes, conventions.ERROR_TYPE: call.error_type}
            status = Status(StatusCode.ERROR, call.error)
        self._finished(
            call.name,
            self._child(state.context),
            state.context,
            attributes,
            kind=SpanKind.CLIENT,
            times=(call.start_wall_ns, call.end_wall_ns),
            status=status,
        )

    def inject(self, step: Step, headers: dict[str, str]) -> None:
        state = step.states.get(self._me)
        if state is not None:
            inject(state.handed_on, headers, self._propagators)

    def _is_recorded(self, state: _OpenSpan) -> bool:
        return bool(self._processors) and state.context.trace_flags.sampled

    def _finished(  # noqa: PLR0913  what a span consists of
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Mapping[str, Any],
        *,
        kind: SpanKind,
        times: tuple[int, int],
        status: Status,
        links: Sequence[Link] = (),
        events: Sequence[Event] = (),
    ) -> None:
        span = ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            events,
            links,
            kind,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )
        for processor in self._processors:
            processor.on_end(span)

    def _parent_of_root(self, step: Step) -> SpanContext | None:
        """Return the span of a caller, or of other instrumentation, around a step that has none of ours around it."""
        if step.row is self._health and self._newest_root is not None:
            # The health line reports on the run that has just ended: a trace of its own would be sampled by itself.
            return self._newest_root
        found = trace.get_current_span().get_span_context()
        return found if found.is_valid else None

    def _context(self, step: Step, parent: SpanContext | None, *, decided: bool) -> SpanContext:
        """Return ids and flags of a span; the sampler decides once for each run."""
        if parent is not None and (decided or not self._processors):
            return self._child(parent)
        trace_id = parent.trace_id if parent is not None else self._ids.generate_trace_id()
        if not self._processors:
            return SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False)
        kind = _KINDS[step.kind]
        found = self._sampler.should_sample(otel_context.get_current(), trace_id, step.row.span, kind)
        flags = _SAMPLED if found.decision is Decision.RECORD_AND_SAMPLE else _NOT_SAMPLED
        return SpanContext(trace_id, self._ids.generate_span_id(), False, flags, found.trace_state)

    def _child(self, parent: SpanContext) -> SpanContext:
        span_id = self._ids.generate_span_id()
        return SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state)

    def _links(self, step: Step) -> list[Link]:
        """Return the link to the step that the row names: an enclosing one, or one of another invocation."""
        above = step.parent
        while above is not None:
            if above.row.name == step.row.links_to and self._me in above.states:
                return [Link(above.states[self._me].context)]
            above = above.parent
        remote = request_link()
        return [remote] if remote is not None else []

    def _attributes(self, step: Step) -> dict[str, Any]:
        values, names, whole = step.rendered, self._names, self._whole
        found: dict[str, Any] = {}
        for fields in (values.dimension_fields, values.properties):
            for field, value in fields.items():
                if field in self._formed:
                    found[names[field]] = self._in_form(field, value)
                elif value is not None:
                    found[names[field]] = value if value.__class__ is str else _text(value)
        for field, number in values.metrics.items():
            name = names[field]
            found[name] = bool(number) if field in self._formed else _typed(number, whole=field in whole)
        return found

    def _in_form(self, field: str, value: object) -> object:
        name = self._names[field]
        if field in self._values:
            return self._values[field].get(str(value), str(value))
        return conventions.FORMS[name](value)

    def _failure(self, step: Step, details: Mapping[str, Any]) -> dict[str, Any]:
        figures = {f"figures.{name}": value for name, value in details.get("figures", {}).items() if value is not None}
        ours = {"outcome": step.outcome, FAULT: details[FAULT], "next_step": details["next_step"], **figures}
        found = {self._names[name]: scalar(value) for name, value in ours.items()}
        return {**found, conventions.ERROR_TYPE: details["error_type"]}


def _events(step: Step, details: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the exception as an event; the SDK's own way knows no bound for the stack, and fails with its text."""
    if "stack" not in details:
        return ()
    about = {
        conventions.EXCEPTION_TYPE: type(step.error).__qualname__,
        conventions.EXCEPTION_MESSAGE: str(details["error"]),
        conventions.EXCEPTION_STACKTRACE: details["stack"],
    }
    return (Event(conventions.EXCEPTION, about, step.end_wall_ns),)


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
    """Return the number in the one type that its attribute has, whatever was added."""
    return max(-_LARGEST_INTEGER, min(_LARGEST_INTEGER, round(number))) if whole else float(number)


def _sampler(settings: Settings) -> Sampler | None:
    """Return the sampler, None for that of OTEL_TRACES_SAMPLER, which by default does as the parent does.

    Where X-Ray only passes its header through, the header says "not sampled" of every request: nobody has decided.
    """
    if settings.sampled_share is None:
        return None
    ours = TraceIdRatioBased(settings.sampled_share)
    return ParentBased(ours, remote_parent_not_sampled=ours)
