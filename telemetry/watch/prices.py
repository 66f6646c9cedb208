"""List prices of AWS, which costs and budgets are worked out from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def prices() -> dict[str, Any]:
    """Return prices.json: dollars by what is paid for, with the day they were read and the pages they stand on.

    `metric_month` is in steps: a custom metric costs so much up to so many metrics; null ends the steps.
    """
    table: dict[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text("utf-8"))
    return table
