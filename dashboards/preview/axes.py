"""Ticks and labels of axes, by CloudWatch's habits: round steps, 12k and 3.5G, times of UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    1_209_600, 2_592_000,
)  # fmt: skip
MINUTES_S, HOURS_S = 600, 129_600  # below: labels with seconds; up to: labels with hours
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def time_format(length_s: float) -> str:
    """Return how the times of an axis of some length are written."""
    return "%H:%M:%S" if length_s < MINUTES_S else "%H:%M" if length_s <= HOURS_S else "%d %b"


def time_ticks(start_s: float, end_s: float, most: int) -> list[tuple[float, str]]:
    """Return round moments with their labels, at most `most` of them or a few more."""
    length_s = end_s - start_s
    step_s = next((step for step in _STEPS_S if length_s / step <= most), length_s / most)
    form, first = time_format(length_s), math.ceil(start_s / step_s)
    moments = [number * step_s for number in range(first, math.floor(end_s / step_s) + 1)]
    return [(at_s, f"{datetime.fromtimestamp(at_s, UTC):{form}}") for at_s in moments]


def value_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    step = _step((high - low) / max(1, most))
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def round_ends(low: float, high: float, most: int) -> tuple[float, float]:
    """Return ends that lie on ticks, of a range with zero in it."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return low, 1.0
    step = _step((high - low) / max(1, most))
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def figure(value: float | None) -> str:
    """Return a number as it stands alone: four digits, 8.368 k, a dash for none."""
    if value is None:
        return "\N{EN DASH}"
    for size, letter in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:.4g}"


def short(value: float) -> str:
    """Return a number as an axis shows it: 0.25, 12k, 3.5G."""
    for size, letter in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.6g}"
