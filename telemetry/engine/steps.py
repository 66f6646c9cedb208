"""Observed runs of operations, and the recorders that are called for each. Standard library only."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from telemetry.engine.failures import FAULT, NO_FAULT, fault
from telemetry.engine.health import HEALTH
from telemetry.engine.values import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from telemetry.engine.operation import Operation
    from telemetry.engine.values import Plain, Rendered

clock_ns: Callable[[], int] = time.perf_counter_ns
wall_ns: Callable[[], int] = time.time_ns

INNERMOST: ContextVar[Step | None] = ContextVar("telemetry_step", default=None)
BOUND: ContextVar[Mapping[str, Plain]] = ContextVar("telemetry_context", default={})  # noqa: B039  never changed, only replaced
_OPEN: dict[int, Step] = {}
_FOLDING = threading.Lock()

SEVERAL = "several"
"""Stands for an identifier of which the steps inside have more than one, as a batch of messages can."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of another service that has ended; times are nanoseconds since 1970.

    `attributes` are named as the semantic conventions do. `error_type` is empty when the call succeeded.
    """

    name: str
    start_wall_ns: int
    end_wall_ns: int
    attributes: Mapping[str, Any]
    error_type: str = ""
    error: str = ""


class Recorder:
    """What is called for every step. Whatever it raises is counted and never reaches the work."""

    def begin(self, step: Step) -> None:
        """Record that the step starts; called in its thread and context, with its parent known."""

    def leave(self, step: Step) -> None:
        """Record that the work left the step; called in the thread and context of `begin`."""

    def end(self, step: Step) -> None:
        """Record that the step is over; called in any thread: fields, outcome, error and duration are final."""

    def call(self, step: Step, call: Call) -> None:
        """Record a call of another service that the step made."""

    def inject(self, step: Step, headers: dict[str, str]) -> None:
        """Add to the headers of a request what lets its receiver continue the step's trace."""

    def event(self, level: str, name: str, keys: Mapping[str, object]) -> None:
        """Record something that is no step."""


class Guard:
    """A call whose errors are counted, never raised; after `PATIENCE` failures in a row it is switched off."""

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
        except Exception as error:  # noqa: BLE001  whatever it raises must not reach the work
            self._failures += 1
            off = "; it is switched off" if self._failures == self.PATIENCE else ""
            name = getattr(self._call, "__qualname__", type(self._call).__name__)
            HEALTH.fault(f"{name} raised{off}", error)
            return None
        if self._failures:
            self._failures = 0
        return result


class Recorders:
    """All recorders there are, sorted once by the hooks that they define: most define few."""

    def __init__(self, recorders: tuple[Recorder, ...]) -> None:
        self.recorders = recorders
        self.begins = _hooks(recorders, "begin")
        self.leaves = _hooks(recorders[::-1], "leave")
        self.ends = _hooks(recorders[::-1], "end")
        self.calls = _hooks(recorders, "call")
        self.injects = _hooks(recorders, "inject")
        self.events = _hooks(recorders, "event")


def _hooks(recorders: tuple[Recorder, ...], name: str) -> list[Guard]:
    nothing = getattr(Recorder, name)
    return [Guard(getattr(one, name)) for one in recorders if getattr(type(one), name) is not nothing]


class Step:
    """One observed run of an operation; what `observe` gives."""

    __slots__ = (
        "_done",
        "_failed_by",
        "_rendered",
        "_token",
        "context",
        "duration_ns",
        "end_wall_ns",
        "error",
        "fields",
        "gathered",
        "inner_error",
        "kind",
        "outcome",
        "parent",
        "recorders",
        "row",
        "span_id",
        "start_ns",
        "start_wall_ns",
        "states",
        "trace_id",
    )

    def __init__(self, row: Operation, recorders: Recorders, fields: dict[str, Any]) -> None:
        self.row = row
        self.kind = row.kind
        self.recorders = recorders
        self.fields: dict[str, Any] = {}
        self.context: Mapping[str, Plain] = {}
        self.parent: Step | None = None
        self.outcome = "success"
        self.error: BaseException | None = None
        self.start_ns = self.start_wall_ns = self.end_wall_ns = self.duration_ns = 0
        self.trace_id = self.span_id = ""
        self.states: dict[int, Any] = {}
        self._rendered: Rendered | None = None
        self.inner_error: BaseException | None = None
        self.gathered: dict[str, Any] = {}
        self._done = False
        self._failed_by: BaseException | None = None
        self._token: Token[Step | None] | None = None
        if fields:
            self.add(**fields)

    def add(self, /, **fields: Any) -> None:  # noqa: ANN401  the row declares what each field takes; values are checked at the end
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

    def fail(self, error: BaseException) -> None:
        """Have the step end as failed by an error that is answered or noted, and not raised."""
        self._failed_by = error

    def learn(self, identifiers: Mapping[str, Plain]) -> None:
        """Carry identifiers that were bound inside; of several values of one there is none to carry."""
        self.context = {
            **self.context,
            **{key: value if self.context.get(key, value) == value else SEVERAL for key, value in identifiers.items()},
        }

    def __enter__(self) -> Self:
        if self._token is not None:  # a parent of itself, it would be walked up for ever
            HEALTH.fault(f"{self.row.name} was entered twice; observe each run anew")
            return self
        self.parent = INNERMOST.get()
        self.context = BOUND.get()
        self._token = INNERMOST.set(self)
        _OPEN[id(self)] = self
        self.start_wall_ns, self.start_ns = _time_ns(wall_ns), _time_ns(clock_ns)
        for begin in self.recorders.begins:
            begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None and restored(INNERMOST, self._token, self.row.name):
            for leave in self.recorders.leaves:
                leave(self)
        ended_by = self._failed_by if error is None else error
        self.finish("success" if ended_by is None else "failure", ended_by)

    def finish(self, outcome: str, error: BaseException | None = None) -> None:
        """End the step now, once: what comes later changes nothing. Recorders are called in reverse order."""
        with _FOLDING:
            if self._done:
                return
            self._done = True
        _OPEN.pop(id(self), None)
        self.outcome = outcome
        self.error = error
        self.duration_ns = max(0, _time_ns(clock_ns) - self.start_ns) if self.start_ns else 0
        self.end_wall_ns = self.start_wall_ns + self.duration_ns if self.start_wall_ns else 0
        if error is not None and self.parent is not None:
            self.parent.inner_error = error
        self._hand_up()
        for end in self.recorders.ends:
            end(self)

    def _hand_up(self) -> None:
        """Give what this step itself measured to the enclosing steps that gather it; fold in what was gathered."""
        fields, above = self.fields, self.parent
        while above is not None:
            # Not over the fields: another thread may add to them while the clock ends this step.
            given = {into: fields[field] for field, into in above.row.gathers.items() if field in fields}
            if given:
                with _FOLDING:
                    _fold(above.row, above.gathered, given)
            above = above.parent
        if self.gathered:
            with _FOLDING:
                _fold(self.row, self.fields, self.gathered)

    @property
    def rendered(self) -> Rendered:
        """The fields in the form that leaves the process; made once, when the step is over, for all recorders."""
        if self._rendered is None:
            fields = {**self.fields, FAULT: self.fault} if FAULT in self.row.fields else self.fields
            self._rendered = render(self.row, fields, self.context)
            self._rendered.duration_ms = round(self.duration_ns / 1e6, 3)
        return self._rendered

    @property
    def fault(self) -> str:
        """Whose failure it is, `none` when there is none."""
        return NO_FAULT if self.outcome == "success" else fault(self.error)

    @property
    def shows_stack(self) -> bool:
        """Whether no step inside ended by the same exception, and has shown where it came from."""
        return self.inner_error is not self.error

    @property
    def ids(self) -> dict[str, str]:
        """The ids by which lines and span are joined; empty when nothing makes any."""
        return {"trace_id": self.trace_id, "span_id": self.span_id} if self.trace_id else {}


class Idle(Step):
    """The step of a process that records nothing."""

    __slots__ = ()

    def add(self, /, **fields: Any) -> None:  # noqa: ANN401  same as Step.add
        pass

    def fail(self, error: BaseException) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def outermost() -> Step | None:
    """Return the outermost step of this context."""
    step = INNERMOST.get()
    while step is not None and step.parent is not None:
        step = step.parent
    return step


@contextmanager
def clocks(clock: Callable[[], int], wall: Callable[[], int]) -> Iterator[None]:
    """Have steps read other clocks inside the block: one that never goes back, and the time of day, in nanoseconds."""
    global clock_ns, wall_ns
    before = clock_ns, wall_ns
    clock_ns, wall_ns = clock, wall
    try:
        yield
    finally:
        clock_ns, wall_ns = before


def _time_ns(clock: Callable[[], int]) -> int:
    """Return what a clock says, 0 when it says no time."""
    try:
        now = clock()
        return now if now.__class__ is int and now > 0 else max(0, int(now))
    except Exception as error:  # noqa: BLE001  a broken clock must not stop the work
        HEALTH.fault("the clock failed", error)
        return 0


def restored(variable: ContextVar[Any], token: Token[Any], name: str) -> bool:
    """Give a variable its value from before; false where it cannot be done, which is counted and stops no work.

    It can be done once, in the context of the beginning: not in another thread, nor by whoever closes a generator.
    """
    try:
        variable.reset(token)
    except (ValueError, RuntimeError):
        HEALTH.fault(f"{name} was left twice, or elsewhere than it was entered; use one `with` block, in one thread")
        return False
    return True


def _fold(row: Operation, into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for field, value in fields.items():
        before = into.get(field)
        if before is None:
            into[field] = value
            continue
        try:
            into[field] = before + value if field in row.sums else max(before, value) if field in row.maxima else value
        except Exception as error:  # noqa: BLE001  values are the caller's: a number and a text do not add up
            HEALTH.fault(f"{row.name}.{field} does not add up", error)


def close_open_spans() -> int:
    """End every open step as incomplete, innermost first, and return how many there were.

    For the moment before the clock kills the process: their spans are ended and their metrics written, as failures.
    """
    still_open = list(_OPEN.values())
    for step in reversed(still_open):
        step.finish("incomplete")
    return len(still_open)
