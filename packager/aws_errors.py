"""Code, response and printable text of the errors that calls of AWS raise; nothing of botocore is imported for it."""

from __future__ import annotations

import re
from typing import Any

from packager.errors import printable

_QUERY = re.compile(r"(https?://[^\s\"'?]*)\?[^\s\"']*")


def response_of(error: BaseException) -> dict[str, dict[str, Any]]:
    """The service's response; empty for an error that no service had a part in."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def code_of(error: BaseException) -> str:
    """The service's error code, or the type of an error that no service had a part in."""
    code = response_of(error).get("Error", {}).get("Code")
    return str(code) if code else type(error).__name__


def cause_of(error: BaseException) -> str:
    """The error's text without queries of URLs: botocore repeats them, and they can hold a signature."""
    return printable(_QUERY.sub(r"\1", str(error)), 500).rstrip(".")
