"""Whether the right alarms fire in time, the others stay silent, and the runbook's first query finds the cause."""

from __future__ import annotations

import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch import insights
from dashboards.cloudwatch.alarm import CompositeAlarm, MetricAlarm, State
from dashboards.cloudwatch.alarm_files import parse_alarms
from dashboards.cloudwatch.backtest import backtest, bounds_s
from dashboards.cloudwatch.rules import parse_rule
from dashboards.product.specs import Catalog, alarm_parameters
from telemetry.watch import ALL_PARTS, watching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from dashboards.cloudwatch.alarm import Alarm
    from dashboards.cloudwatch.backtest import Verdict
    from dashboards.cloudwatch.recording import Recording
    from dashboards.drills.faults import Injected
    from dashboards.drills.table import Drill

_WATCHED_S = 2 * 3600
"""How long the alarms are watched after the fault: longer than any of them waits for what happened once."""

_FIRST_ROWS = 5
"""What is seen of a query's rows before anybody scrolls."""

_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Fired:
    """An alarm that fired: how long after the run began, by when it had to, and whether it called somebody."""

    alarm: str
    after_s: float
    due_s: float
    called: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What the first query of an alarm's runbook shows of the cause; `shows` is empty when it does not find it."""

    alarm: str
    field: str
    cause: str
    shows: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DrillOutcome:
    """A drill and what became of it; it passed when `failures` is empty."""

    drill: str
    fault: str
    fired: tuple[Fired, ...]
    silent: tuple[str, ...]
    unseen: tuple[str, ...]
    found: tuple[Found, ...]
    failures: tuple[str, ...]


def run_all(drills: Sequence[Drill]) -> list[DrillOutcome]:
    """Run drills, three at a time since they mostly wait, each in a folder of its own that is gone afterwards."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(run_one, drills))


def run_one(drill: Drill) -> DrillOutcome:
    """Inject the fault and judge what was recorded."""
    with tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as folder:
        return assess(drill, drill.inject(Path(folder)))


def assess(drill: Drill, injected: Injected) -> DrillOutcome:
    """Return what the alarms of the drill's limits made of a recording, and what is wrong with that."""
    watched = watching(drill.limits, ALL_PARTS - {"probe"})  # a drill has no schedule, and so no probe
    source = Catalog(alarms=watched.alarms, composites=watched.composites, limits=drill.limits)
    alarms = parse_alarms(alarm_parameters(source), "the catalog")
    recording = injected.recording
    start_s, _ = bounds_s(recording.store)
    began_s = (recording.store.span_s() or (0.0, 0.0))[0] - start_s
    verdicts = backtest(alarms, recording.store, start_s, start_s + _WATCHED_S)
    short = {verdict.name.removeprefix(source.prefix): verdict for verdict in verdicts}
    firing = {verdict.name for verdict in verdicts if verdict.fired_s}
    fired = tuple(
        Fired(
            name,
            round(verdict.fired_s[0] - began_s, 1),
            due_s(alarms, source.prefix + name, firing),
            called=bool(verdict.called_s),
        )
        for name, verdict in short.items()
        if verdict.fired_s
    )
    found = tuple(_asked(alarm, *cause, source, recording) for alarm, cause in drill.finds.items())
    queries = {alarm.name: alarm.runbook.query for alarm in source.everything}
    heard = fired if recording.lines else ()
    blind = [each.alarm for each in heard if not insights.query(queries[each.alarm], recording.lines)]
    return DrillOutcome(
        drill=drill.name,
        fault=injected.how,
        fired=fired,
        silent=tuple(name for name, verdict in short.items() if not verdict.fired_s and verdict.seen),
        unseen=tuple(name for name, verdict in short.items() if not verdict.seen),
        found=found,
        failures=(*_failures(drill, fired, found, short), *(f"the query of {name} finds no line" for name in blind)),
    )


def due_s(alarms: Mapping[str, Alarm], name: str, firing: Collection[str]) -> float:
    """Return within which time an alarm fires: M periods of bad points; a composite as soon as its rule can hold.

    `firing` names the alarms that this fault sets off; the others do not hasten a composite.
    """
    alarm = alarms[name]
    if not isinstance(alarm, CompositeAlarm):
        return alarm.datapoints * (alarm.period_s if isinstance(alarm, MetricAlarm) else alarm.every_s)
    rule = parse_rule(alarm.rule)
    by_when = {child: due_s(alarms, child, firing) for child in rule.children & set(firing)}
    for moment_s in sorted(by_when.values()):
        loud = {child for child, when_s in by_when.items() if when_s <= moment_s}
        if rule.holds({child: State.ALARM if child in loud else State.OK for child in rule.children}):
            return moment_s
    return math.inf


def _asked(alarm: str, where: str, cause: str, source: Catalog, recording: Recording) -> Found:
    runbook = next(each.runbook for each in source.everything if each.name == alarm)
    for row in insights.query(runbook.query, recording.lines)[:_FIRST_ROWS]:
        shown = {name: row[name] for name in row.get("@shown", row) if row.get(name) is not None}
        if cause in str(shown.get(where, "")):
            return Found(alarm, where, cause, shown)
    return Found(alarm, where, cause, {})


def _failures(
    drill: Drill, fired: Sequence[Fired], found: Sequence[Found], verdicts: Mapping[str, Verdict]
) -> Iterator[str]:
    loud = {each.alarm for each in fired}
    yield from (f"{name} stayed silent" for name in drill.fires if name not in loud)
    yield from (f"{name} fired, which this fault is no reason for" for name in sorted(loud - set(drill.fires)))
    yield from (
        f"{each.alarm} fired after {each.after_s:g} s, later than the {each.due_s:g} s that it has"
        for each in fired
        if each.after_s > each.due_s
    )
    yield from (f"{name} flaps" for name, verdict in verdicts.items() if verdict.flapping)
    calling = {each.alarm for each in fired if each.called}
    yield from (f"{name} called nobody" for name in sorted({drill.calls} & loud - calling))
    yield from (f"{name} called somebody, which is not its turn" for name in sorted(calling - {drill.calls}))
    yield from (
        f"{name} called {len(verdicts[name].called_s)} times for one fault"
        for name in sorted(calling)
        if len(verdicts[name].called_s) > 1
    )
    yield from (
        f"the query of {each.alarm} does not show {each.cause!r} in {each.field}" for each in found if not each.shows
    )
