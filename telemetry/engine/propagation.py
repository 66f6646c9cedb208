"""The trace context of a request, read from its headers and written into those of the next: X-Ray's form and W3C's."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.trace import Link, NonRecordingSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.engine.settings import TRACECONTEXT, XRAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import SpanContext

HEADERS = ("X-Amzn-Trace-Id", "traceparent", "tracestate")
"""As the propagators look them up; HTTP does not care about the case."""

_PROPAGATORS: dict[str, TextMapPropagator] = {XRAY: AwsXRayPropagator(), TRACECONTEXT: TraceContextTextMapPropagator()}
_request_link: ContextVar[Link | None] = ContextVar("telemetry_request_link", default=None)


def extracted(headers: Mapping[str, str], propagators: Iterable[str]) -> Context:
    """Return the context that the headers name; of several valid ones the last propagator's. Bad ones name none."""
    found = otel_context.Context()
    lowered = {name.lower(): value for name, value in headers.items()}
    carrier = {name: lowered[name.lower()] for name in HEADERS if name.lower() in lowered}
    for name in propagators:
        found = _PROPAGATORS[name].extract(carrier, found)
    return found


def inject(parent: SpanContext, headers: dict[str, str], propagators: Iterable[str]) -> None:
    """Add the headers by which whoever is sent them continues the trace below that span."""
    within = trace.set_span_in_context(NonRecordingSpan(parent), otel_context.Context())
    for name in propagators:
        _PROPAGATORS[name].inject(headers, within)


@contextmanager
def continued(headers: Mapping[str, str], propagators: Iterable[str] = (XRAY,)) -> Iterator[None]:
    """Make steps inside children of the span that the headers name; when they name none, roots."""
    token = otel_context.attach(extracted(headers, propagators))
    try:
        yield
    finally:
        otel_context.detach(token)


@contextmanager
def linked(headers: Mapping[str, str], propagators: Iterable[str] = (XRAY,)) -> Iterator[None]:
    """Link steps inside, whose rows ask for a link, to the span that the headers name, of another invocation."""
    remote = trace.get_current_span(extracted(headers, propagators)).get_span_context()
    token = _request_link.set(Link(remote) if remote.is_valid else None)
    try:
        yield
    finally:
        _request_link.reset(token)


def request_link() -> Link | None:
    """Return the link that `linked` set here."""
    return _request_link.get()
