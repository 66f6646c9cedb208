"""What can be said of a failed step, whatever exception ended it."""

from __future__ import annotations

import traceback
from typing import Any, TypeVar

from telemetry.engine.health import HEALTH, text_of
from telemetry.engine.values import plain, writable

T = TypeVar("T")

MAX_STACK = 8000
"""Characters of a stack; the innermost calls are kept."""


def error_type(error: BaseException | None) -> str:
    """Return the type of an exception, with the service's code when it carries one; `Incomplete` for none."""
    if error is None:
        return "Incomplete"
    name = type(error).__qualname__
    response = _carried(error, "response", dict)  # botocore's ClientError; its type alone says nothing
    answer = None if response is None else dict.get(response, "Error")
    code = dict.get(answer, "Code") if isinstance(answer, dict) else None
    return f"{name}.{plain(code)}" if isinstance(code, str) else name


FAULT = "fault"
"""The key, and the field of rows that split their metrics by it, for whose failure it is."""

NO_FAULT, DEFAULT_FAULT = "none", "service"


def fault(error: BaseException | None) -> str:
    """Return whose failure it is: what the exception says under `fault`; the service's when it does not say."""
    carried = None if error is None else _carried(error, FAULT, str)
    return DEFAULT_FAULT if carried is None else str(plain(carried)) or DEFAULT_FAULT


def error_details(error: BaseException | None, *, with_stack: bool = True) -> dict[str, Any]:
    """Return what the log line says of a failure: type, message, figures, next step, and where it came from.

    Without an exception the step was cut off. The stack is left out where a step inside has shown it.
    """
    details: dict[str, Any] = {"error_type": error_type(error), FAULT: fault(error)}
    if error is None:
        details["error"] = "the step was still open when the process had to end"
        details["next_step"] = "look at the time left at the end of the invocation, and at what ran longest inside"
        return details
    details["error"] = plain(text_of(error))
    figures = _carried(error, "figures", dict)
    if figures is not None:
        details["figures"] = plain(figures)
    details["next_step"] = plain(_carried(error, "next_step", str) or DEFAULT_NEXT_STEP)
    if with_stack:
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
