"""Times and schedules as CloudWatch writes them: moments, durations, rates, and the cron and at of mute rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ISO_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?")
_RATE = re.compile(r"rate\(\s*(\d+)\s+(minute|hour|day)s?\s*\)")
_UNITS_S = {"minute": 60, "hour": 3600, "day": 86_400}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
_SHORTEST_S, _LONGEST_S = 60, 15 * 86_400


_MOST_S, _MOST_LETTERS = 3650 * 86_400, 40


def moment_s(text: str) -> float:
    """Return an ISO 8601 time as epoch seconds; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise DefinitionError(f"{text!r} is no time; write 2026-01-31T12:00:00Z") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def duration_s(text: str | float) -> int:
    """Return `1d2h3m4s` as seconds; a bare number is seconds already."""
    written = str(text).strip()
    found = _seconds(written) if len(written) <= _MOST_LETTERS else _MOST_S + 1
    if found > _MOST_S:
        raise DefinitionError(f"{written:.20} is longer than ten years; is it in another unit?")
    return found


def _seconds(written: str) -> int:
    if written.isdecimal():
        return int(written)
    match = _DURATION.fullmatch(written)
    if not match or not any(match.groups()):
        raise DefinitionError(f"{written!r} is no duration; write 90s, 5m, 2h or 1d12h")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def iso_duration_s(text: str) -> int:
    """Return the duration of a mute rule (`PT4H`, `P2DT12H`) as seconds."""
    seconds = iso_s(text)
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise DefinitionError(f"{text!r}: a mute rule lasts from a minute to 15 days")
    return seconds


def iso_s(text: str) -> int:
    """Return any duration in the words of ISO 8601, from minutes to weeks, as seconds."""
    match = _ISO_DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        raise DefinitionError(f"{text!r} is no duration; write PT30M, PT4H or P2DT12H")
    weeks, days, hours, minutes = (int(part or 0) for part in match.groups())
    return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60


def every_s(expression: str) -> int:
    """Return the seconds between two runs of `rate(5 minutes)`."""
    match = _RATE.fullmatch(expression.strip())
    if not match or not int(match[1]):
        raise DefinitionError(f"schedule {expression!r}; a log alarm runs at a rate, as in rate(5 minutes)")
    return int(match[1]) * _UNITS_S[match[2]]


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name or its offset (`+05:30`, `UTC+05:30`)."""
    fixed = re.fullmatch(r"(?:UTC)?([+-])(\d\d):(\d\d)", name)
    if fixed:
        offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        return timezone(offset if fixed[1] == "+" else -offset)
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415  looks for its data when imported; few alarms ask for a zone

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise DefinitionError(f"time zone {name!r} is not known: {error}") from error


@dataclass(frozen=True, slots=True)
class _Cron:
    """The values that each field of a cron expression allows, and whether day and weekday are restricted."""

    fields: tuple[frozenset[int], ...]
    any_day: bool
    any_weekday: bool

    def runs_on(self, day: date) -> bool:
        _, _, days, months, weekdays = self.fields
        if day.month not in months:
            return False
        by_day, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        # As in cron: when both are restricted, either will do.
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def times(self) -> Iterator[tuple[int, int]]:
        yield from ((hour, minute) for hour in sorted(self.fields[1]) for minute in sorted(self.fields[0]))


def _cron(text: str) -> _Cron:
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise DefinitionError(f"cron({text}): five fields are wanted, minutes hours day month weekday")
    fields = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    fields[4] = frozenset(day % 7 for day in fields[4])
    return _Cron(tuple(fields), parts[2] in {"*", "?"}, parts[4] in {"*", "?"})


def _field(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for item in text.split(","):
        body, _, step = item.partition("/")
        first, dash, last = body.partition("-")
        try:
            if first in {"*", "?"}:
                start, end = low, high
            else:
                start = _number(first, low, words)
                end = _number(last, low, words) if dash else high if step else start
            every = int(step) if step else 1
        except ValueError as error:
            raise DefinitionError(f"{text!r} is no {name} of a cron expression") from error
        if not low <= start <= end <= high or every < 1:
            raise DefinitionError(f"{text!r} is no {name} of a cron expression: {low} to {high}")
        found.update(range(start, end + 1, every))
    return frozenset(found)


def _number(text: str, low: int, words: tuple[str, ...]) -> int:
    return words.index(text.upper()) + low if text.upper() in words else int(text)


def check_schedule(expression: str, zone: str) -> None:
    """Raise DefinitionError for a schedule or a time zone that cannot be read."""
    zone_of(zone)
    _parsed(expression)


def _parsed(expression: str) -> _Cron | datetime:
    match = re.fullmatch(r"(cron|at)\((.*)\)", expression.strip())
    if not match:
        raise DefinitionError(f"schedule {expression!r}; write cron(0 2 * * SUN) or at(2026-05-10T14:00)")
    if match[1] == "cron":
        return _cron(match[2])
    try:
        return datetime.fromisoformat(match[2])
    except ValueError as error:
        raise DefinitionError(f"schedule {expression!r} holds no time; write at(2026-05-10T14:00)") from error


def starts_s(expression: str, zone: str, start_s: float, end_s: float) -> Iterator[float]:
    """Yield when a schedule comes round between two moments, in the time of its zone."""
    when, there = _parsed(expression), zone_of(zone)
    if isinstance(when, datetime):
        moment = when.replace(tzinfo=when.tzinfo or there).timestamp()
        if start_s <= moment <= end_s:
            yield moment
        return
    day = datetime.fromtimestamp(start_s, there).date()
    last = datetime.fromtimestamp(end_s, there).date()
    while day <= last:
        for hour, minute in when.times() if when.runs_on(day) else ():
            moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=there).timestamp()
            if start_s <= moment <= end_s:
                yield moment
        day += timedelta(days=1)


def boundaries_s(period_s: int, zone: str, start_s: float, end_s: float) -> list[int]:
    """Return the moments from `start_s` to `end_s` at which a period begins on the clock of a zone.

    Days begin at midnight and weeks on Monday, so those with a change to summer time are shorter or longer.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html
    """
    there = zone_of(zone)
    if period_s < 86_400:  # noqa: PLR2004  seconds of a day
        offset = datetime.fromtimestamp(start_s, there).utcoffset() or timedelta()
        shift = int(offset.total_seconds()) % period_s
        first = -(-(int(start_s) + shift) // period_s) * period_s - shift
        return list(range(first, int(end_s) + 1, period_s))
    day = datetime.fromtimestamp(start_s, there).date()
    found: list[int] = []
    while True:
        moment = int(datetime(day.year, day.month, day.day, tzinfo=there).timestamp())
        if moment > end_s:
            return found
        if moment >= start_s and (period_s == 86_400 or day.isoweekday() == 1):  # noqa: PLR2004  see above
            found.append(moment)
        day += timedelta(days=1)
