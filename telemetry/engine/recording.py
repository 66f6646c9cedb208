"""Who is told of the steps, and why none of them can harm the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telemetry.engine.health import HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.engine.steps import Step


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
            name = getattr(self._call, "__qualname__", type(self._call).__name__)
            HEALTH.fault(f"{name} raised{off}", error)
            return None
        self._failures = 0
        return result


class Recorders:
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
