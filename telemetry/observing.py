"""The one way to observe a step of the work. Standard library only; without a recorder it costs next to nothing."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from telemetry.catalog.parts import CONTEXT_KEYS
from telemetry.catalog.shape import Operation
from telemetry.health import HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

P = ParamSpec("P")
R = TypeVar("R")

clock_ns: Callable[[], int] = time.perf_counter_ns
wall_ns: Callable[[], int] = time.time_ns

_KNOWN_CONTEXT = frozenset(prop.field for prop in CONTEXT_KEYS)
_FOLDING = threading.Lock()


class Recorder:
    """What is told of every step. Whatever it raises is counted and never reaches the work."""

    def begin(self, step: Step) -> None:
        """Be told that the step starts, in its thread and context, with its parent known."""

    def leave(self, step: Step) -> None:
        """Be told that the work left the step, in the thread and context of `begin`."""

    def end(self, step: Step) -> None:
        """Be told that the step is over, in any thread: fields, outcome, error and duration are final."""

    def event(self, level: str, name: str, keys: Mapping[str, object]) -> None:
        """Be told of something that is no step."""


class Step:
    """One observed run of an operation; what `observe` gives."""

    __slots__ = (
        "_done",
        "_token",
        "context",
        "duration_ns",
        "end_wall_ns",
        "error",
        "fields",
        "gathered",
        "inner_error",
        "outcome",
        "parent",
        "recorders",
        "rendered",
        "row",
        "span_id",
        "start_ns",
        "start_wall_ns",
        "states",
        "trace_id",
    )

    def __init__(self, row: Operation, recorders: _Told, fields: dict[str, Any]) -> None:
        self.row = row
        self.recorders = recorders
        self.fields: dict[str, Any] = {}
        self.context: Mapping[str, object] = {}
        self.parent: Step | None = None
        self.outcome = "success"
        self.error: BaseException | None = None
        self.start_ns = self.start_wall_ns = self.end_wall_ns = self.duration_ns = 0
        self.trace_id = self.span_id = ""
        self.states: dict[int, Any] = {}
        self.rendered: Any = None
        self.inner_error: BaseException | None = None
        self.gathered: dict[str, Any] = {}
        self._done = False
        if fields:
            self.add(**fields)

    def add(self, **fields: Any) -> None:  # noqa: ANN401  the row declares what each field takes; values are checked at the end
        """Set fields that the row declares: metrics, dimensions, properties. The row says which of them accumulate.

        An undeclared field is counted as a fault and dropped. Safe to call from several threads.
        """
        row = self.row
        if not fields.keys() <= row.fields:
            for field in fields.keys() - row.fields:
                HEALTH.fault(f"{row.name} declares no field {field!r}; declare it in the catalog or spell it as there")
                del fields[field]
        if row.folding.isdisjoint(fields):
            self.fields.update(fields)
        else:
            with _FOLDING:
                _fold(row, self.fields, fields)

    def __enter__(self) -> Self:
        self.parent = _current.get()
        self.context = _bound.get()
        self._token = _current.set(self)
        _OPEN[id(self)] = self
        try:
            self.start_wall_ns = wall_ns()
            self.start_ns = clock_ns()
        except Exception as error:  # noqa: BLE001  a broken clock must not stop the work
            HEALTH.fault(f"the clock failed: {error!r}")
        for begin in self.recorders.begins:
            begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        for leave in self.recorders.leaves:
            leave(self)
        self.finish("success" if error is None else "failure", error)

    def finish(self, outcome: str, error: BaseException | None = None) -> None:
        """End the step now, once: what comes later changes nothing. Recorders are told in reverse order."""
        with _FOLDING:
            if self._done:
                return
            self._done = True
        _OPEN.pop(id(self), None)
        self.outcome = outcome
        self.error = error
        try:
            self.duration_ns = max(0, clock_ns() - self.start_ns)
            self.end_wall_ns = self.start_wall_ns + self.duration_ns if self.start_wall_ns else 0
        except Exception as fault:  # noqa: BLE001  same as at the start
            HEALTH.fault(f"the clock failed: {fault!r}")
        if error is not None and self.parent is not None:
            self.parent.inner_error = error
        self._hand_up()
        for end in self.recorders.ends:
            end(self)

    def _hand_up(self) -> None:
        """Give what this step itself measured to the enclosing steps that gather it; fold in what was gathered."""
        above = self.parent
        while above is not None:
            gathers = above.row.gathers
            given = (
                {gathers[field]: value for field, value in self.fields.items() if field in gathers} if gathers else {}
            )
            if given:
                with _FOLDING:
                    _fold(above.row, above.gathered, given)
            above = above.parent
        if self.gathered:
            with _FOLDING:
                _fold(self.row, self.fields, self.gathered)

    @property
    def duration_ms(self) -> float:
        return self.duration_ns / 1e6


class _Idle(Step):
    """The step of a process that records nothing."""

    __slots__ = ()

    def add(self, **fields: Any) -> None:  # noqa: ANN401  same as Step.add
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Guard:
    """A call that cannot harm: what it raises is counted; after `PATIENCE` failures in a row it is switched off."""

    PATIENCE = 3

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._failures = 0

    def __call__(self, *args: object) -> Any:  # noqa: ANN401  whatever the call returns
        """Return what the call returns, or None when it raised or is switched off."""
        if self._failures >= self.PATIENCE:
            return None
        try:
            result = self._call(*args)
        except Exception as error:  # noqa: BLE001  the promise of this class
            self._failures += 1
            off = "; it is switched off" if self._failures == self.PATIENCE else ""
            name = getattr(self._call, "__qualname__", repr(self._call))
            HEALTH.fault(f"{name} raised {type(error).__name__}: {error}{off}")
            return None
        self._failures = 0
        return result


class _Told:
    """All recorders there are, sorted once by what they want to be told: most steps pass by most hooks."""

    def __init__(self, recorders: tuple[Recorder, ...]) -> None:
        self.recorders = recorders
        self.begins = _hooks(recorders, "begin")
        self.leaves = _hooks(recorders[::-1], "leave")
        self.ends = _hooks(recorders[::-1], "end")
        self.events = _hooks(recorders, "event")


def _hooks(recorders: tuple[Recorder, ...], name: str) -> list[Guard]:
    nothing = getattr(Recorder, name)
    return [Guard(getattr(one, name)) for one in recorders if getattr(type(one), name) is not nothing]


_current: ContextVar[Step | None] = ContextVar("telemetry_step", default=None)
_bound: ContextVar[Mapping[str, object]] = ContextVar("telemetry_context", default={})  # noqa: B039  never changed, only replaced
_told = _Told(())
_OPEN: dict[int, Step] = {}


def _fold(row: Operation, into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for field, value in fields.items():
        before = into.get(field)
        if before is None:
            into[field] = value
            continue
        try:
            into[field] = before + value if field in row.sums else max(before, value) if field in row.maxima else value
        except Exception as error:  # noqa: BLE001  values are the caller's: a number and a text do not add up
            HEALTH.fault(f"{row.name}.{field}: {type(error).__name__}: {error}")


_IDLE = _Idle(Operation("Idle", "idle", "Nothing is recorded"), _told, {})


def observe(row: Operation, **fields: Any) -> Step:  # noqa: ANN401  same as Step.add
    """Return a context manager that observes one run of `row`: one span, one EMF line, one log line at its end.

    `fields` are those of `Step.add`. Exceptions pass through unchanged; the attributes `figures` (a mapping) and
    `next_step` (a text) of an exception go to the log line and the span. Costs well under a microsecond when nothing
    records.
    """
    return Step(row, _told, fields) if _told.recorders else _IDLE


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
    step = _current.get()
    if step is not None:
        step.add(**fields)


def current() -> Step | None:
    """Return the innermost step of this context."""
    return _current.get()


@contextmanager
def context(**identifiers: object) -> Iterator[None]:
    """Bind identifiers (the catalog's CONTEXT_KEYS) to every line and span of the steps inside; None binds nothing."""
    for unknown in identifiers.keys() - _KNOWN_CONTEXT:
        HEALTH.fault(f"the context declares no key {unknown!r}; it has {sorted(_KNOWN_CONTEXT)}")
        del identifiers[unknown]
    given = {key: value for key, value in identifiers.items() if value is not None}
    token = _bound.set({**_bound.get(), **given})
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> Mapping[str, object]:
    """Return the identifiers that are bound here."""
    return _bound.get()


def log(level: str, event: str, **keys: object) -> None:
    """Write a log line that is no step's: `level` is debug, info, warning or error, `event` a fixed phrase.

    Identifiers of the context and of the innermost step come by themselves. An error should say `next_step`.
    """
    tell(level, event, keys)


def tell(level: str, event: str, keys: Mapping[str, object]) -> None:
    """Do what `log` does, with keys of any name."""
    for hook in _told.events:
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
    """Tell `recorders` of every step that begins in this process while the context lasts."""
    global _told  # noqa: PLW0603  threads of the work must see it, whichever context they were started in
    _told = _Told((*_told.recorders, *recorders))
    try:
        yield
    finally:
        _told = _Told(tuple(recorder for recorder in _told.recorders if recorder not in recorders))


def close_open_spans() -> int:
    """End every open step as incomplete, innermost first, and return how many there were.

    For the moment before the clock kills the process: their spans are ended and their metrics written, as failures.
    """
    still_open = sorted(_OPEN.values(), key=lambda step: step.start_ns, reverse=True)
    for step in still_open:
        step.finish("incomplete")
    return len(still_open)
