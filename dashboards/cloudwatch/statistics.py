"""CloudWatch's statistics: how each is written, and what it makes of the values of a period.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError

BASIC = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
_SHORT = re.compile(r"(?P<kind>p|tm|tc|ts|wm)(?P<high>\d{1,3}(?:\.\d{1,10})?)", re.IGNORECASE)
_LONG = re.compile(r"(?P<kind>TM|TC|TS|WM|PR)\(\s*(?P<low>[^:()]*?)\s*:\s*(?P<high>[^:()]*?)\s*\)", re.IGNORECASE)
_BOUND = re.compile(r"(-?\d+(?:\.\d{1,10})?)(%?)")

Weighted = Sequence[tuple[float, float]]
"""Values with how often each was seen, lowest first."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of a distribution, `p99` or `TM(10%:90%)`.

    Attributes:
        kind: p, tm (mean), tc (count), ts (sum), wm (winsorised mean) or pr (percentile rank).
        low: Below it values are left out; a fraction of the values when `percent`, else a value. None: from the lowest.
        high: Above it values are left out; None: to the highest.
    """

    kind: str
    low: float | None
    high: float | None
    percent: bool

    def of(self, values: Weighted) -> float | None:
        """Return the statistic of values that are sorted; None when none of them is left."""
        if self.kind == "p":
            return percentile(values, self.high or 0.0)
        if self.kind == "pr":
            return 100 * _weight(self._kept(values)) / _weight(values)
        if self.kind == "wm":
            return self._winsorised(values)
        kept = self._kept(values)
        weight, total = _weight(kept), math.fsum(value * count for value, count in kept)
        if self.kind == "tc":
            return weight
        if self.kind == "ts":
            return total
        return total / weight if weight else None

    def _kept(self, values: Weighted) -> Weighted:
        """Return the values between the bounds: without the low one, with the high one, as AWS defines them.

        A value that straddles a bound in percent counts with the part that lies inside, so that no period is emptied.
        """
        if not self.percent:
            low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
            return [pair for pair in values if low < pair[0] <= high]
        total = _weight(values)
        first, last = (self.low or 0.0) * total, (1.0 if self.high is None else self.high) * total
        ends = list(accumulate(count for _, count in values))
        # Rounded, for 8.8 - 8 is a little more than 0.8, and a sum would be beside a threshold that it meets.
        inside = (
            (value, round(min(end, last) - max(end - count, first), 9))
            for (value, count), end in zip(values, ends, strict=True)
        )
        return [(value, count) for value, count in inside if count > 0]

    def _winsorised(self, values: Weighted) -> float:
        """Return the mean with each value beyond a bound taken for the value at the bound."""
        low, high = self.low, self.high
        if self.percent:
            low = None if low is None else percentile(values, low)
            high = None if high is None else percentile(values, high)
        least, most = -math.inf if low is None else low, math.inf if high is None else high
        return math.fsum(min(max(value, least), most) * count for value, count in values) / _weight(values)


def _weight(values: Weighted) -> float:
    return math.fsum(count for _, count in values)


def percentile(values: Weighted, fraction: float) -> float:
    """Return a percentile, linear between ranks.

    CloudWatch approximates in logarithmic bins, so its last digits may differ.
    """
    ends = list(accumulate(count for _, count in values))
    position = fraction * (ends[-1] - 1)
    low = values[min(bisect_right(ends, math.floor(position)), len(values) - 1)][0]
    high = values[min(bisect_right(ends, math.ceil(position)), len(values) - 1)][0]
    return low + (high - low) * (position - math.floor(position))


@lru_cache(maxsize=1024)
def parse_statistic(text: str) -> Statistic | str:
    """Return a basic statistic as its name, any other as what it means.

    Raises:
        UnsupportedError: There is no such statistic; the message names those there are.
        DefinitionError: Its bounds are not possible.
    """
    if text in BASIC:
        return text
    if text.upper() == "IQM":
        return Statistic("tm", 0.25, 0.75, percent=True)
    short = _SHORT.fullmatch(text)
    if short:
        return Statistic(short["kind"].lower(), None, _fraction(float(short["high"]), text), percent=True)
    long = _LONG.fullmatch(text)
    if not long:
        raise UnsupportedError(
            f"statistic {text!r}; there are {', '.join(BASIC)}, p99, tm99, wm99, tc99, ts99, TM(10%:90%), IQM, PR(0:9)"
        )
    return _bounded(long["kind"].lower(), long["low"], long["high"], text)


def _bounded(kind: str, low: str, high: str, text: str) -> Statistic:
    found = [_BOUND.fullmatch(bound) if bound else None for bound in (low, high)]
    if any(bound and not match for bound, match in zip((low, high), found, strict=True)) or not any(found):
        raise DefinitionError(
            f"statistic {text!r}: a bound is a number or a percentage, and one of them may be missing"
        )
    percents = {match[2] == "%" for match in found if match}
    if len(percents) > 1 or (kind == "pr" and True in percents):
        raise DefinitionError(
            f"statistic {text!r}: both bounds are percentages or both are values; of PR they are values"
        )
    percent = percents.pop()
    ends = [
        None if match is None else _fraction(float(match[1]), text) if percent else float(match[1]) for match in found
    ]
    if None not in ends and (ends[0] or 0) >= (ends[1] or 0):
        raise DefinitionError(f"statistic {text!r}: nothing lies between its bounds")
    return Statistic(kind, ends[0], ends[1], percent)


def _fraction(percent: float, text: str) -> float:
    if not 0 <= percent <= 100:  # noqa: PLR2004  a percentage
        raise UnsupportedError(f"statistic {text!r}: percentages go from 0 to 100")
    return percent / 100
