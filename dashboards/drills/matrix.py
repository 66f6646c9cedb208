"""The matrix of faults and traffic: which alarm calls within what time, and that all others stay silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.actions import taken
from dashboards.cloudwatch.alarm import MetricAlarm, State
from dashboards.cloudwatch.alarm_files import parse_alarms
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.schedules import duration_s
from dashboards.cloudwatch.timeline import Timeline, run, with_composites
from dashboards.drills.world import DAY_S, FOREVER, HOUR_S, OWN, SIGNALS, Fault, World, each_minute, in_bursts, steadily
from dashboards.places import MATRIX
from dashboards.product.specs import Catalog, alarm_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dashboards.cloudwatch.alarm import Alarm
    from dashboards.cloudwatch.series import Store


@dataclass(frozen=True)
class Traffic:
    """When requests come, over so many days before the fault begins and after it."""

    requests: tuple[int, ...]
    fault_s: int
    end_s: int


def _traffic(requests: list[int], fault_s: int, after_s: int) -> Traffic:
    return Traffic(tuple(time_s for time_s in requests if time_s < fault_s + after_s), fault_s, fault_s + after_s)


_AGAIN_S = 20 * HOUR_S
"""How long nobody is called again for the same fault."""

_MORNING_S = 7 * HOUR_S
TRAFFIC: dict[str, Traffic] = {
    "1/day": _traffic(steadily(1, 9), 3 * DAY_S + _MORNING_S, 5 * DAY_S),
    "10/day": _traffic(steadily(10, 4), 2 * DAY_S + _MORNING_S, DAY_S),
    "1/minute": _traffic(each_minute(2), DAY_S + _MORNING_S, 13 * HOUR_S),
    "burst": _traffic(in_bursts(3), DAY_S + _MORNING_S, DAY_S),
}
"""The four kinds of traffic; each fault begins at seven in the morning, before people come."""


@dataclass(frozen=True)
class Row:
    """A class of faults: what it does, whom it calls within what time at each traffic, and which alarms it sets off."""

    name: str
    what: str
    faults: tuple[Fault, ...]
    calls: Mapping[str, Mapping[str, int]]
    fires: frozenset[str]


@dataclass(frozen=True)
class Cell:
    """What became of a fault at one traffic: calls and firings by alarm, in seconds after its beginning."""

    row: str
    traffic: str
    called_s: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fired_s: Mapping[str, int] = field(default_factory=dict)


def rows(path: Path = MATRIX) -> list[Row]:
    """Return the classes of faults of a file; DefinitionError names what is wrong with it."""
    data = load(path)
    if not isinstance(data, Mapping) or not isinstance(data.get("faults"), list):
        raise DefinitionError(f"{path}: `faults` is to be a list; each has name, what, does, calls and fires")
    outcomes = data.get("outcomes", {})
    return [_row(entry, outcomes) for entry in data["faults"]]


def _row(entry: Mapping[str, Any], outcomes: Mapping[str, Any]) -> Row:
    name = str(entry.get("name"))
    unknown = entry.keys() - {"name", "what", "does", "calls", "fires"}
    if unknown:
        raise DefinitionError(f"{name}: nothing is called {', '.join(sorted(unknown))}")
    asked = entry.get("calls") or {}
    by_traffic = asked if asked.keys() & TRAFFIC.keys() else dict.fromkeys(TRAFFIC, asked)
    return Row(
        name=name,
        what=str(entry["what"]),
        faults=tuple(_fault(name, part, outcomes) for part in _listed(entry["does"])),
        calls={
            traffic: {alarm: duration_s(within) for alarm, within in (by_traffic.get(traffic) or {}).items()}
            for traffic in TRAFFIC
        },
        fires=frozenset(entry.get("fires") or ()),
    )


def _listed(value: Any) -> list[Any]:  # noqa: ANN401  YAML
    return value if isinstance(value, list) else [value]


def _fault(name: str, part: Mapping[str, Any], outcomes: Mapping[str, Any]) -> Fault:
    known = {"request", "probe", "also", "every", "mute", "one_in", "hits", "for"}
    if part.keys() - known:
        raise DefinitionError(f"{name}: nothing is called {', '.join(sorted(part.keys() - known))} in `does`")
    mute = frozenset(series for word in _listed(part.get("mute", [])) for series in (OWN if word == "own" else {word}))
    return Fault(
        request=_changes(name, part.get("request", {}), outcomes),
        probe=_changes(name, part.get("probe", {}), outcomes),
        also={
            series: tuple(map(float, str(values).split()))
            for series, values in _known(name, part.get("also", {})).items()
        },
        mute=mute,
        one_in=int(part.get("one_in", 1)),
        hits=int(part.get("hits", FOREVER)),
        every_s=duration_s(part.get("every", "5m")),
        lasts_s=duration_s(part["for"]) if "for" in part else FOREVER,
    )


def _changes(name: str, given: Any, outcomes: Mapping[str, Any]) -> dict[str, float | None]:  # noqa: ANN401  YAML
    """Return what a request adds: the series that are named, or those of named outcomes."""
    changes: dict[str, float | None] = {}
    for each in _listed(given):
        if isinstance(each, str) and each not in outcomes:
            raise DefinitionError(f"{name}: there is no outcome {each!r}; there are {', '.join(outcomes)}")
        for series, value in _known(name, outcomes[each] if isinstance(each, str) else each).items():
            if series == "own":
                changes |= dict.fromkeys(OWN)
            else:
                changes[series] = None if value is None else float(value)
    return changes


def _known(name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = given.keys() - SIGNALS.keys() - {"own"}
    if unknown:
        raise DefinitionError(f"{name}: there is no series {', '.join(sorted(unknown))}")
    return given


@cache
def _catalog() -> Catalog:
    return Catalog()


@cache
def _alarms() -> dict[str, Alarm]:
    return parse_alarms(alarm_parameters(_catalog()), "the catalog")


@cache
def _healthy(traffic: str) -> tuple[Store, dict[str, Timeline]]:
    """Return the series of a traffic without a fault, and what every alarm makes of them."""
    when = TRAFFIC[traffic]
    store = _world(when).store(when.requests, ())
    return store, run(_alarms(), store, 0, when.end_s)


def _world(when: Traffic) -> World:
    source = _catalog()
    return World(source.names, source.limits, when.end_s)


def cell(row: Row, traffic: str) -> Cell:
    """Simulate a fault at a traffic."""
    when = TRAFFIC[traffic]
    faults = [replace(fault, from_s=when.fault_s) for fault in row.faults]
    return _cell(row.name, traffic, _lines(traffic, _world(when).store(when.requests, faults)))


def _lines(traffic: str, store: Store) -> dict[str, Timeline]:
    """Return what every alarm makes of series; of those that did not change it is known from the healthy ones."""
    healthy, known = _healthy(traffic)
    changed = {
        metric
        for metric in {*store.metrics, *healthy.metrics}
        if store.metrics.get(metric) != healthy.metrics.get(metric)
    }
    metrics = {name: alarm for name, alarm in _alarms().items() if isinstance(alarm, MetricAlarm)}
    touched = {name: alarm for name, alarm in metrics.items() if changed & {query.metric for query in alarm.queries}}
    fresh = run(touched, store, 0, TRAFFIC[traffic].end_s)
    lines = {name: fresh.get(name, known[name]) for name in metrics}
    return with_composites(_alarms(), lines, 0)


def _cell(row: str, traffic: str, lines: Mapping[str, Timeline]) -> Cell:
    begin_s, end_s, prefix = TRAFFIC[traffic].fault_s, TRAFFIC[traffic].end_s, _catalog().prefix
    called, fired = {}, {}
    for name, line in lines.items():
        acted = taken(line, lines, (), end_s).times(State.ALARM)
        moments = tuple(int(time_s - begin_s) for time_s in acted if time_s <= end_s)
        if moments:
            called[name.removeprefix(prefix)] = moments
        if line.fired:
            fired[name.removeprefix(prefix)] = int(line.fired[0].time_s - begin_s)
    return Cell(row, traffic, called, fired)


def judged(row: Row, found: Cell) -> Iterator[str]:
    """Yield what is wrong with what became of a fault."""
    wanted, where = row.calls[found.traffic], f"{row.name} at {found.traffic}"
    for alarm, within_s in wanted.items():
        moments = found.called_s.get(alarm, ())
        if not moments:
            yield f"{where}: {alarm} calls nobody"
        elif moments[0] > within_s:
            yield f"{where}: {alarm} calls after {moments[0]} s, not within {within_s} s"
    for alarm, moments in found.called_s.items():
        if alarm not in wanted:
            yield f"{where}: {alarm} calls after {moments[0]} s, and should not"
        elif any(later - earlier < _AGAIN_S for earlier, later in pairwise(moments)):
            yield f"{where}: {alarm} calls {len(moments)} times: {', '.join(map(str, moments))}"


def wrong(row: Row, cells: Sequence[Cell]) -> list[str]:
    """Return everything that is wrong with what became of a fault at every traffic."""
    found = [problem for each in cells for problem in judged(row, each)]
    fired = {alarm for each in cells for alarm in each.fired_s}
    if len(cells) == len(TRAFFIC):
        found += [f"{row.name}: {alarm} fires at no traffic" for alarm in sorted(row.fires - fired)]
    return found + [f"{row.name}: {alarm} fires, and is not among `fires`" for alarm in sorted(fired - row.fires)]


class Table:
    """The matrix as Markdown: a line for each fault, the calls and their delay at each traffic."""

    def __init__(self) -> None:
        self._lines = [
            f"| fault | {' | '.join(TRAFFIC)} |",
            "|---" * (len(TRAFFIC) + 1) + "|",
        ]

    def add(self, row: Row, cells: Sequence[Cell]) -> None:
        shown = [", ".join(f"{alarm} {_shown(when[0])}" for alarm, when in each.called_s.items()) for each in cells]
        shown = [text or "nobody" for text in shown]
        self._lines.append(f"| {row.name} | {' | '.join(shown)} |")

    def __str__(self) -> str:
        return "\n".join(self._lines)


def _shown(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} h"  # noqa: PLR2004  what is read at a glance
