"""What a command recorded with `--telemetry`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.check import check_lines

if TYPE_CHECKING:
    from collections.abc import Sequence


def assert_conforming(arguments: Sequence[object]) -> None:
    """Hold what a command with these arguments recorded, if anything, against every limit and the catalog."""
    if "--telemetry" in arguments:
        recorded = Path(str(arguments[arguments.index("--telemetry") + 1])) / "telemetry.jsonl"
        lines = recorded.read_text().splitlines() if recorded.exists() else []
        assert check_lines(lines) == []
