"""Sample data for a dashboard of which nothing was recorded: made up, the same every time, and marked so."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

from dashboards.cloudwatch.body import lines, widgets
from dashboards.cloudwatch.errors import DashboardError
from dashboards.cloudwatch.recording import Recording

if TYPE_CHECKING:
    from dashboards.cloudwatch.alarm import Metric
    from dashboards.cloudwatch.body import Json

LENGTH_S = 3 * 3600
_STEP_S = 60


def sample_of(body: Json, end_s: int) -> Recording:
    """Return three hours of made-up values, until a moment, for every metric that a body names."""
    recording = Recording()
    for metric in sorted(_metrics(body)):
        column = recording.store.column(metric)
        for step in range(LENGTH_S // _STEP_S):
            column.add(float(end_s - LENGTH_S + step * _STEP_S), _value(metric, step))
    return recording


def _metrics(body: Json) -> set[Metric]:
    found: set[Metric] = set()
    for widget in widgets(body):
        try:
            found |= {line.metric for line in lines(widget.properties) if line.metric}
        except (DashboardError, AttributeError, LookupError, TypeError, ValueError):
            continue  # what cannot be read is named where it would be drawn
    return found


def _value(metric: Metric, step: int) -> float:
    seed = zlib.crc32(str(metric).encode())
    level, period = 10 + seed % 90, 40 + seed // 100 % 80
    ripple = zlib.crc32(f"{seed} {step}".encode()) % 1000 / 1000
    return round(level * (1 + 0.4 * math.sin(2 * math.pi * step / period) + 0.2 * ripple), 2)
