"""Everything that calls somebody: the alarms in order, and the composites that speak for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from telemetry.watch import pages, runbooks, tickets
from telemetry.watch.slos import BURN_RATES, SLOS, burn_composites, burn_rate_alarms
from telemetry.watch.types import Alarm, Composite, Limits, Part, Runbook, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

BROKEN = "packaging-broken"
IMPAIRED = "packaging-impaired"
_FORGOTTEN_S = (tickets.HELD + 2) * 300
"""How long the alarms of tickets remember one bad point when no other comes: two periods more than their own."""

_HELD_S = 300
"""How long a ticket waits for the page that says the same: at one request a minute that comes with the third."""

ALL_PARTS: frozenset[Part] = frozenset(get_args(Part))


@dataclass(frozen=True)
class Watching:
    """The alarms of one deployment, and the composites over them, children first."""

    alarms: tuple[Alarm, ...]
    composites: tuple[Composite, ...]


def watching(limits: Limits, parts: Collection[Part] = ALL_PARTS) -> Watching:
    """Return what watches a deployment that has these limits and parts."""
    every = (
        pages.probe_failing(limits),
        *pages.REQUESTS_FAILED,
        pages.LAST_REQUEST_FAILED,
        *pages.API_FAILED,
        pages.LAST_ANSWER_FAILED,
        *pages.EXECUTIONS_FAILED,
        pages.LAST_EXECUTION_FAILED,
        pages.FUNCTION_DYING,
        pages.ALL_THROTTLED,
        *(alarm for slo in SLOS for alarm in burn_rate_alarms(slo)),
        tickets.SERVICE_FAILURE,
        tickets.API_FAILURE,
        tickets.CLEANUP_FAILED,
        *tickets.ARTIFACTS_FAILING,
        tickets.AUDIT_FAILING,
        tickets.PUBLISHING_FAILING,
        tickets.DEVICE_RULES_BROKEN,
        *tickets.DEAD_LETTERS,
        tickets.DEAD_LETTERS_OLD,
        tickets.NOTIFICATIONS_FAILING,
        tickets.STORAGE_WARNING,
        tickets.STORAGE_CRITICAL,
        tickets.STORAGE_FILLING,
        tickets.TIME_NEARLY_UP,
        tickets.MEMORY_NEARLY_UP,
        tickets.THROTTLES,
        tickets.EXECUTIONS_THROTTLED,
        tickets.API_SLOW,
        tickets.BROKEN_METRICS,
        *tickets.METRICS_MISSING,
        tickets.ENDPOINT_DEAD,
        tickets.TELEMETRY_FAULTS,
    )
    there = tuple(alarm for alarm in every if alarm.part is None or alarm.part in parts)
    return Watching(there, tuple(_over(there)))


def _over(alarms: Iterable[Alarm]) -> Iterable[Composite]:
    """Yield the composites, each with those of its children that there are; none that would have no child."""
    names = {alarm.name for alarm in alarms}
    for composite in COMPOSITES_OF_EVERYTHING:
        children = tuple(child for child in composite.children if child in names)
        if children:
            names.add(composite.name)
            yield replace(composite, children=children)


def _named(*alarms: Alarm) -> tuple[str, ...]:
    return tuple(alarm.name for alarm in alarms)


def _held_back(name: str, meaning: str, children: tuple[str, ...], runbook: Runbook, by: str) -> Composite:
    """Return a ticket that keeps silent while another alarm speaks, and until what set that off is forgotten."""
    return Composite(
        name=name,
        meaning=meaning,
        severity=Severity.TICKET,
        children=children,
        runbook=runbook,
        suppressor=by,
        suppressor_wait_s=_HELD_S,
        suppressor_extension_s=_FORGOTTEN_S,
    )


def _in_a_row(name: str, what: str, twice: tuple[Alarm, ...], last: Alarm) -> tuple[Composite, Composite]:
    """Return the alarms on two failures in a row: two in some window with few that went well, and the last one failed.

    Without the last one a window would fire again long after the end, as what went well before leaves it.
    """
    silent: Any = {"severity": Severity.PAGE, "runbook": last.runbook, "notifies": False}
    return (
        Composite(
            name=f"{name}-failed-twice",
            meaning=f"{what} failed twice or more, and a third of the time",
            children=_named(*twice),
            **silent,
        ),
        Composite(
            name=f"{name}-failing",
            meaning=f"{what} fail one after another",
            children=(f"{name}-failed-twice", last.name),
            word="AND",
            **silent,
        ),
    )


COMPOSITES_OF_EVERYTHING: tuple[Composite, ...] = (
    *burn_composites(Severity.PAGE, suppressor=BROKEN),
    *_in_a_row("requests", "Requests", pages.REQUESTS_FAILED, pages.LAST_REQUEST_FAILED),
    *_in_a_row("api", "Answers of the API", pages.API_FAILED, pages.LAST_ANSWER_FAILED),
    *_in_a_row("executions", "Executions", pages.EXECUTIONS_FAILED, pages.LAST_EXECUTION_FAILED),
    Composite(
        name=BROKEN,
        meaning="Packaging does not work for many or for all",
        severity=Severity.PAGE,
        children=(
            "probe-failing",
            *("requests-failing", "api-failing", "executions-failing"),
            *_named(pages.FUNCTION_DYING, pages.ALL_THROTTLED),
            *(f"{slo.name}-{rate.name}" for slo in SLOS for rate in BURN_RATES if rate.severity is Severity.PAGE),
        ),
        runbook=runbooks.PACKAGING_BROKEN,
    ),
    *burn_composites(Severity.TICKET, suppressor=BROKEN),
    _held_back(
        IMPAIRED,
        "Packaging works, but the service failed a request or left something behind",
        # While it is broken this one is in alarm too, so that it can speak for both to the alarms below.
        (
            *_named(tickets.SERVICE_FAILURE, tickets.API_FAILURE, pages.LAST_EXECUTION_FAILED, tickets.CLEANUP_FAILED),
            BROKEN,
        ),
        runbooks.PACKAGING_IMPAIRED,
        BROKEN,
    ),
    _held_back(
        "artifacts-failing",
        "Many models have artifacts that are no good: this is not one bad upload",
        _named(*tickets.ARTIFACTS_FAILING),
        runbooks.ARTIFACTS_FAILING,
        BROKEN,
    ),
    _held_back(
        "records-impaired",
        "Components are packaged, but publishing or the audit log fails",
        _named(tickets.AUDIT_FAILING, tickets.PUBLISHING_FAILING),
        runbooks.RECORDS_IMPAIRED,
        BROKEN,
    ),
    _held_back(
        "limits-near",
        "Disk, memory, time or concurrency come near their limits",
        _named(
            *(tickets.STORAGE_WARNING, tickets.STORAGE_CRITICAL, tickets.STORAGE_FILLING),
            *(tickets.TIME_NEARLY_UP, tickets.MEMORY_NEARLY_UP),
            *(tickets.THROTTLES, tickets.EXECUTIONS_THROTTLED, tickets.API_SLOW),
        ),
        runbooks.LIMITS_NEAR,
        IMPAIRED,
    ),
    _held_back(
        "telemetry-broken",
        "Metrics, traces or lines are missing",
        _named(tickets.BROKEN_METRICS, *tickets.METRICS_MISSING, tickets.ENDPOINT_DEAD, tickets.TELEMETRY_FAULTS),
        runbooks.TELEMETRY_BROKEN,
        BROKEN,
    ),
)
"""Alarms over alarms: one cause wakes one person once. Who was woken by a page needs no ticket beside it."""

ALARMS, COMPOSITES = watching(Limits()).alarms, watching(Limits()).composites
"""What watches a deployment that has every part, at the default limits."""
