"""From the recent data points of an alarm to its state, as CloudWatch decides it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

from functools import lru_cache

from dashboards.cloudwatch.alarm import Missing, State

GOOD, BAD, NONE = "0", "X", "-"


@lru_cache(maxsize=65_536)
def judge(window: str, datapoints: int, periods: int, missing: Missing) -> State | None:
    """Return the state that the window decides, or None: the alarm keeps the state it has.

    Args:
        window: The evaluation range, oldest first: `0` good, `X` breaching, `-` no data; longer than `periods`.
        datapoints: M, the breaching points that raise the alarm.
        periods: N, the points that are looked at.
        missing: What a gap counts as when fewer than N points are real.
    """
    real = window.replace(NONE, "")
    if len(real) >= periods:
        return State.ALARM if real[-periods:].count(BAD) >= datapoints else State.OK
    if not real:
        return _nothing(missing)
    filled = periods - len(real) if missing is Missing.BREACHING else 0
    if real.count(BAD) + filled >= datapoints:
        return State.ALARM
    if missing in {Missing.MISSING, Missing.IGNORE} and _premature(window, datapoints):
        return State.ALARM if missing is Missing.MISSING else None
    return State.OK


def _nothing(missing: Missing) -> State | None:
    match missing:
        case Missing.MISSING:
            return State.INSUFFICIENT_DATA
        case Missing.IGNORE:
            return None
        case Missing.BREACHING:
            return State.ALARM
        case Missing.NOT_BREACHING:
            return State.OK


def _premature(window: str, datapoints: int) -> bool:
    # Too few points to be sure, yet nothing good is left that could still speak against the oldest bad one.
    oldest = len(window) - window.find(BAD)
    return BAD in window and GOOD not in window and oldest >= datapoints
