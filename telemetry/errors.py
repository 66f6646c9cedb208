"""What can be said of a failed step, whatever exception ended it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from telemetry.values import plain

if TYPE_CHECKING:
    from telemetry.steps import Step

MAX_STACK = 8000
"""Characters of a stack; the innermost calls are kept."""


def error_type(step: Step) -> str:
    """Return the type of the exception, with the service's code when it carries one; `Incomplete` when cut off."""
    if step.error is None:
        return "Incomplete"
    name = type(step.error).__qualname__
    response = getattr(step.error, "response", None)  # botocore's ClientError; its type alone says nothing
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f"{name}.{code}" if isinstance(code, str) else name


def error_details(step: Step) -> dict[str, Any]:
    """Return what the log line says of a failure: type, message, figures, next step, and where it came from."""
    details: dict[str, Any] = {"error_type": error_type(step)}
    error = step.error
    if error is None:
        details["error"] = "the step was still open when the process had to end"
        details["next_step"] = "look at the time left at the end of the invocation, and at what ran longest inside"
        return details
    details["error"] = plain(_text(error))
    figures = getattr(error, "figures", None)
    if isinstance(figures, dict):
        details["figures"] = plain(figures)
    next_step = getattr(error, "next_step", None)
    details["next_step"] = plain(next_step) if isinstance(next_step, str) and next_step else DEFAULT_NEXT_STEP
    if step.inner_error is not error:  # the step inside has shown the stack already
        details["stack"] = stack(error)
    return details


DEFAULT_NEXT_STEP = "follow the runbook of this operation; the stack stands on the innermost failed step"


def stack(error: BaseException) -> str:
    """Return the formatted exception, its end when it is long."""
    return "".join(traceback.format_exception(error, limit=-20))[-MAX_STACK:]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001  a broken __str__ is the work's fault, not a reason to lose the line
        return f"<{type(error).__name__}, whose text failed with {type(fault).__name__}>"
