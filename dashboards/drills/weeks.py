"""Healthy weeks: bad uploads, what heals by itself, deployments, weekends without traffic. Nobody is to be woken."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards.cloudwatch.actions import taken
from dashboards.cloudwatch.alarm import State
from dashboards.cloudwatch.alarm_files import parse_alarms
from dashboards.cloudwatch.series import Store
from dashboards.cloudwatch.timeline import run
from dashboards.drills.world import DAY_S, HOUR_S, MINUTE_S, Changes, World
from dashboards.product.specs import Catalog, alarm_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

WEEK_S = 7 * DAY_S
_BY_MACHINE: Changes = dict.fromkeys(
    ("Requests", "Targets", "ServiceFailed", "TargetsFailedByService", "ApiCount", "Api5xx", "ApiLatency")
)
_OWN_GONE: Changes = dict.fromkeys(("Models", "ModelsBad", "TimeLeft", "PeakMemoryBytes", "UsedBytes", "LinesWritten"))


@dataclass(frozen=True)
class Week:
    """A week of a service: so many requests a weekday, such a share of them with bad artifacts."""

    seed: int
    a_day: int
    bad: float


_KINDS = (
    (1, 0.15), (1, 0.02), (3, 0.15), (10, 0.02), (10, 0.15), (50, 0.05), (50, 0.15), (200, 0.02), (200, 0.15),
    (1000, 0.02), (1000, 0.15), (1440, 0.08),
)  # fmt: skip
WEEKS = tuple(Week(seed, a_day, bad) for seed, (a_day, bad) in enumerate(_KINDS))
"""Twelve weeks, from one request a day to one a minute, 2 to 15 % of them bad."""


@dataclass(frozen=True)
class Called:
    """Who was called in a week: names of alarms, once for each call."""

    week: Week
    pages: tuple[str, ...]
    tickets: tuple[str, ...]


def lived(week: Week) -> Called:
    """Return who is called in a healthy week."""
    source = Catalog()
    world = World(source.names, source.limits, WEEK_S)
    lines = run(parse_alarms(alarm_parameters(source), "the catalog"), _store(week, world), 0, WEEK_S)
    heard: dict[str, list[str]] = {"page": [], "ticket": []}
    for alarm in source.everything:
        line = lines[source.prefix + alarm.name]
        moments = taken(line, lines, (), WEEK_S).times(State.ALARM)
        heard[alarm.severity] += [alarm.name for time_s in moments if time_s <= WEEK_S]
    return Called(week, tuple(heard["page"]), tuple(heard["ticket"]))


def _store(week: Week, world: World) -> Store:
    chance, store = random.Random(week.seed), Store()  # noqa: S311  weeks, no secrets
    deployed_s = chance.randrange(5) * DAY_S + 11 * HOUR_S
    for time_s in range(7 * MINUTE_S, WEEK_S, world.limits.probe_s):
        # Few probes meet something that passes; two in a row would be a page.
        world.add_probe(store, time_s, {"ProbeSuccess": 0.0} if chance.random() < 1 / 400 else {})
    for time_s in _moments(week, chance):
        for at_s, changes in _request(week, chance, time_s):
            world.add_request(store, at_s, *changes)
    # While a new version takes over, an environment is slow to start and a call is throttled once.
    world.add_request(store, deployed_s, {"Throttles": 1.0, "Invocations": None, **_BY_MACHINE, **_OWN_GONE})
    return store


def _moments(week: Week, chance: random.Random) -> list[int]:
    """Return when requests come: on weekdays, in working hours."""
    return sorted(
        int(day * DAY_S + 7 * HOUR_S + chance.random() * 11 * HOUR_S) for day in range(5) for _ in range(week.a_day)
    )


def _request(week: Week, chance: random.Random, time_s: int) -> Iterator[tuple[int, tuple[Changes, ...]]]:
    """Yield the invocations that a request comes to, each with what is different about it."""
    if chance.random() < week.bad:
        yield time_s, ({"ModelsBad": 1.0},)
    elif chance.random() < 0.04:  # noqa: PLR2004  a share: refused for what stands in it
        yield time_s, ({"Models": 0.0},)
    elif chance.random() < 0.01:  # noqa: PLR2004  a share: Lambda kills it, the state machine calls again
        yield time_s, (_BY_MACHINE, _OWN_GONE, {"Errors": 1.0})
        yield time_s + MINUTE_S, (_BY_MACHINE,)
    else:
        yield time_s, ()
