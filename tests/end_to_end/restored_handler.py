"""The function as every environment restored from one snapshot begins: with the same random numbers ahead."""

from __future__ import annotations

import random
import sys
from typing import Any

random.seed(1)

from packager.handler import handler as serve  # noqa: E402  the state above is that of the whole init phase


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The reply, what was imported on the way to it, and a random number."""
    before = set(sys.modules)
    reply = serve(event, context)
    return {"reply": reply, "imported": sorted(set(sys.modules) - before), "random": random.random()}
