"""The one way to observe a step of the work. Standard library only; without a recorder it costs next to nothing."""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from telemetry.engine.health import HEALTH
from telemetry.engine.operation import Operation
from telemetry.engine.steps import BOUND, INNERMOST, Idle, Recorder, Recorders, Step, outermost, restored
from telemetry.engine.values import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from telemetry.engine.values import Plain
    from telemetry.engine.vocabulary import Vocabulary

P = ParamSpec("P")
R = TypeVar("R")

_attached = Recorders(())
_IDLE = Idle(Operation("Idle", "idle", "Nothing is recorded"), _attached, {})


def observe(row: Operation, /, **fields: Any) -> Step:  # noqa: ANN401  same as Step.add
    """Return a context manager that observes one run of `row`: one span, one EMF line, one log line at its end.

    `fields` are those of `Step.add`. Exceptions pass through unchanged; the attributes `figures` (a mapping) and
    `next_step` (a text) of an exception go to the log line and the span. Costs well under a microsecond when nothing
    records.
    """
    return Step(row, _attached, fields) if _attached.recorders else _IDLE


def traced(row: Operation) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that observes every call of a function.

    Raises TypeError for generators and coroutines: the step would end before their work begins, and a span that is
    current across a `yield` becomes the parent of the consumer's spans. Observe in what consumes them instead.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if (
            inspect.isgeneratorfunction(function)
            or inspect.iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise TypeError(
                f"{getattr(function, '__qualname__', function)} returns before its work is done; "
                f"observe {row.name} in the function that consumes it"
            )

        @functools.wraps(function)
        def observed(*args: P.args, **kwargs: P.kwargs) -> R:
            with observe(row):
                return function(*args, **kwargs)

        return observed

    return decorate


def add(**fields: Any) -> None:  # noqa: ANN401  same as Step.add
    """Add fields to the innermost step of this context; nothing happens when there is none."""
    step = INNERMOST.get()
    if step is not None:
        step.add(**fields)


def current() -> Step | None:
    """Return the innermost step of this context."""
    return INNERMOST.get()


@contextmanager
def context(vocabulary: Vocabulary, /, **identifiers: object) -> Iterator[None]:
    """Bind identifiers, the vocabulary's context keys, to lines and spans of the steps inside; None binds nothing.

    The outermost step around takes them too: an invocation learns only inside whom it is for.
    """
    for unknown in identifiers.keys() - vocabulary.known_context:
        HEALTH.fault(f"the context declares no key {unknown!r}; it has {sorted(vocabulary.known_context)}")
        del identifiers[unknown]
    given = {key: plain(value) for key, value in identifiers.items() if value is not None}
    if (step := outermost()) is not None:
        step.learn(given)
    token = BOUND.set({**BOUND.get(), **given})
    try:
        yield
    finally:
        restored(BOUND, token, "the context")


def bound() -> Mapping[str, Plain]:
    """Return the identifiers that are bound here."""
    return BOUND.get()


def log(level: str, event: str, /, **keys: object) -> None:
    """Write a log line that is no step's: `level` is debug, info, warning or error, `event` a fixed phrase.

    Identifiers of the context and of the innermost step come by themselves. An error should say `next_step`.
    """
    emit(level, event, keys)


def emit(level: str, event: str, keys: Mapping[str, object]) -> None:
    """Do what `log` does, with keys of any name."""
    for hook in _attached.events:
        hook(level, event, keys)


def carrying(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` bound to this context, for another thread: its steps are children of the step open here."""
    here = copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        # A context can be entered once at a time; a copy for each call lets a pool run the same function many times.
        return here.copy().run(function, *args, **kwargs)

    return carried


@contextmanager
def attached(*recorders: Recorder) -> Iterator[None]:
    """Call `recorders` for every step that begins in this process while the block lasts."""
    global _attached  # noqa: PLW0603  threads of the work must see it, whichever context they were started in
    _attached = Recorders((*_attached.recorders, *recorders))
    try:
        yield
    finally:
        _attached = Recorders(tuple(recorder for recorder in _attached.recorders if recorder not in recorders))
