"""What can be said of a failed step, whatever exception ended it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from telemetry.engine.health import HEALTH, text_of
from telemetry.engine.values import plain, writable

if TYPE_CHECKING:
    from telemetry.engine.steps import Step

T = TypeVar("T")

MAX_STACK = 8000
"""Characters of a stack; the innermost calls are kept."""


def error_type(step: Step) -> str:
    """Return the type of the exception, with the service's code when it carries one; `Incomplete` when cut off."""
    if step.error is None:
        return "Incomplete"
    name = type(step.error).__qualname__
    response = _carried(step.error, "response", dict)  # botocore's ClientError; its type alone says nothing
    answer = None if response is None else dict.get(response, "Error")
    code = dict.get(answer, "Code") if isinstance(answer, dict) else None
    return f"{name}.{plain(code)}" if isinstance(code, str) else name


FAULT = "fault"
"""The key, and the field of rows that split their metrics by it, for whose failure it is."""

NO_FAULT, DEFAULT_FAULT = "none", "service"


def fault(step: Step) -> str:
    """Return whose failure it is: what the exception says under `fault`; the service's when it does not say."""
    if step.outcome == "success":
        return NO_FAULT
    carried = None if step.error is None else _carried(step.error, FAULT, str)
    return DEFAULT_FAULT if carried is None else str(plain(carried)) or DEFAULT_FAULT


def error_details(step: Step) -> dict[str, Any]:
    """Return what the log line says of a failure: type, message, figures, next step, and where it came from."""
    details: dict[str, Any] = {"error_type": error_type(step), FAULT: fault(step)}
    error = step.error
    if error is None:
        details["error"] = "the step was still open when the process had to end"
        details["next_step"] = "look at the time left at the end of the invocation, and at what ran longest inside"
        return details
    details["error"] = plain(text_of(error))
    figures = _carried(error, "figures", dict)
    if figures is not None:
        details["figures"] = plain(figures)
    details["next_step"] = plain(_carried(error, "next_step", str) or DEFAULT_NEXT_STEP)
    if step.inner_error is not error:  # the step inside has shown the stack already
        details["stack"] = stack(error)
    return details


DEFAULT_NEXT_STEP = "follow the runbook of this operation; the stack stands on the innermost failed step"


def stack(error: BaseException) -> str:
    """Return the formatted exception, its end when it is long."""
    try:
        return writable("".join(traceback.format_exception(error, limit=-20))[-MAX_STACK:])
    except Exception as fault:  # noqa: BLE001  no memory left for it, say
        return f"<no stack: {type(fault).__name__}>"


def _carried(error: BaseException, name: str, kind: type[T]) -> T | None:
    """Return the attribute of an exception, or None when it has none of that kind."""
    try:
        value = getattr(error, name, None)
        return value if isinstance(value, kind) else None
    except Exception as fault:  # noqa: BLE001  a foreign property may do anything
        HEALTH.fault(f"{type(error).__name__}.{name} raised", fault)
        return None
