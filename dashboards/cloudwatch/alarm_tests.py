"""Tests of alarms in YAML, in the spirit of `promtool test rules`: series in, states expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from dashboards.cloudwatch.actions import actions
from dashboards.cloudwatch.alarm import Alarm, CompositeAlarm, MetricAlarm, State
from dashboards.cloudwatch.alarm_files import load, read_alarms
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.recording import add_series, duration_s, read_recording
from dashboards.cloudwatch.rules import parse_rule
from dashboards.cloudwatch.series import Grid, Store
from dashboards.cloudwatch.timeline import Timeline, run

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 60  # steps of a series in a failure: an hour of minutes
_UNITS = (("d", 86_400, 10**9), ("h", 3600, 24), ("m", 60, 60), ("s", 1, 60))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test that ran: passed when `failures` is empty."""

    file: str
    name: str
    failures: tuple[str, ...]


def run_file(path: Path, alarms: Mapping[str, Alarm], namespace: Callable[[str], str] = str) -> list[Outcome]:
    """Run the tests of a file against its own `alarms:` files, else against those given.

    `namespace` gives the namespace that a recorded one stands for.

    Raises:
        DefinitionError: The file is no test file.
    """
    data = load(path)
    if not isinstance(data, Mapping) or not isinstance(data.get("tests"), list):
        raise DefinitionError(f"{path}: `tests` is to be a list; each has name, series and expect")
    known = dict(alarms)
    for name in data.get("alarms", ()):
        known |= read_alarms(path.parent / name)
    return [_run_test(path, number, test, known, namespace) for number, test in enumerate(data["tests"], 1)]


def _run_test(
    path: Path, number: int, test: Mapping[str, Any], alarms: Mapping[str, Alarm], namespace: Callable[[str], str]
) -> Outcome:
    name = f"test {number}"
    try:
        name = str(test.get("name", name))
        return Outcome(str(path), name, tuple(_failures(path, test, alarms, namespace)))
    except DashboardError as error:
        return Outcome(str(path), name, (str(error),))
    except (AttributeError, LookupError, TypeError) as error:
        return Outcome(str(path), name, (f"the test cannot be read: {error!r}",))


def _failures(
    path: Path, test: Mapping[str, Any], alarms: Mapping[str, Alarm], namespace: Callable[[str], str]
) -> Iterator[str]:
    expectations = test.get("expect") or []
    if not expectations:
        raise DefinitionError("nothing is expected; write expect: [{alarm: NAME, at: 5m, is: ALARM}]")
    store = read_recording([path.parent / test["recorded"]], namespace).store if "recorded" in test else Store()
    span = store.span_s()
    start_s = int(span[0] // 60 * 60) if span else 0
    if "series" in test:
        add_series(store, test, str(path), start_s)
    end_s = max(_end_s(test, expectations), int((store.span_s() or (0, 0))[1]) + 60 - start_s)
    lines = run(needed([str(wanted.get("alarm")) for wanted in expectations], alarms), store, start_s, start_s + end_s)
    for wanted in expectations:
        for difference in _differences(wanted, lines, start_s):
            yield "\n".join([f"{wanted['alarm']} {difference}", *explain(wanted, lines, store, start_s)])


def needed(names: list[str], alarms: Mapping[str, Alarm]) -> dict[str, Alarm]:
    """Return the alarms of these names and all that they watch."""
    found: dict[str, Alarm] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in alarms:
            near = get_close_matches(name, alarms, 3, 0.5) or sorted(alarms)[:3]
            raise DefinitionError(
                f"no alarm of {len(alarms)} is called {name!r}; there are {', '.join(near) or 'none'}"
            )
        if name in found:
            continue
        alarm = found[name] = alarms[name]
        if isinstance(alarm, CompositeAlarm):
            waiting += [*parse_rule(alarm.rule).children, *filter(None, [alarm.suppressor])]
    return found


def _end_s(test: Mapping[str, Any], expectations: list[Mapping[str, Any]]) -> int:
    texts = [wanted["at"] for wanted in expectations if "at" in wanted]
    texts += [moment for wanted in expectations for key in ("fires", "calls") for moment in _listed(wanted, key)]
    texts += [test["until"]] if "until" in test else []
    return max((duration_s(text) for text in texts), default=0)


def _differences(wanted: Mapping[str, Any], lines: Mapping[str, Timeline], start_s: int) -> Iterator[str]:
    line = lines[wanted["alarm"]]
    if not wanted.keys() & {"is", "fires", "calls"}:
        raise DefinitionError(f"{dict(wanted)} expects nothing; write `at` and `is`, `fires` or `calls`")
    if ("is" in wanted) != ("at" in wanted):
        raise DefinitionError(f"{dict(wanted)}: `at` says when it `is` so; write both")
    if "is" in wanted and wanted["is"] not in State.__members__:
        raise DefinitionError(f"{wanted['is']!r} is no state; there are {', '.join(State.__members__)}")
    if "is" in wanted:
        state = line.at(start_s + duration_s(wanted["at"]))
        if state != wanted["is"]:
            yield f"at {wanted['at']}: expected {wanted['is']}, was {state}"
    for key, times in (("fires", [change.time_s for change in line.fired]), ("calls", calls(line, lines))):
        expected = [duration_s(moment) for moment in _listed(wanted, key)]
        found = [int(time - start_s) for time in times]
        if key in wanted and found != expected:
            yield f"{key}: expected at {_moments(expected)}, was at {_moments(found)}"


def _listed(wanted: Mapping[str, Any], key: str) -> list[Any]:
    moments = wanted.get(key, [])
    return moments if isinstance(moments, list) else [moments]


def calls(line: Timeline, lines: Mapping[str, Timeline]) -> list[float]:
    """Return when an alarm's ALARM actions are taken, its suppressor heeded; never, when they are switched off."""
    alarm = line.alarm
    if not alarm.acts:
        return []
    if not isinstance(alarm, CompositeAlarm) or alarm.suppressor is None:
        return [change.time_s for change in line.fired]
    taken = actions(line.changes, lines[alarm.suppressor].changes, alarm.wait_s, alarm.extension_s)
    return [action.time_s for action in taken if action.state is State.ALARM]


def explain(wanted: Mapping[str, Any], lines: Mapping[str, Timeline], store: Store, start_s: int) -> Iterator[str]:
    """Yield what a failure is judged by: the series, the evaluation, the states."""
    line = lines[wanted["alarm"]]
    if isinstance(line.alarm, CompositeAlarm):
        yield f"  rule    {line.alarm.rule}"
        for child in sorted(parse_rule(line.alarm.rule).children):
            yield f"  child   {child}: {states(lines[child], start_s)}"
    else:
        yield from _explain_metric(line.alarm, line, store, start_s, wanted.get("at"))
    yield f"  states  {states(line, start_s)}"


def _explain_metric(alarm: MetricAlarm, line: Timeline, store: Store, start_s: int, at: str | None) -> Iterator[str]:
    for query in alarm.queries:
        if query.metric:
            steps = min(line.grid.length, _SHOWN)
            values = store.statistic(query.metric, query.statistic, Grid(start_s, line.grid.step_s, steps))
            yield f"  series  {query.statistic} of {query.metric}: {_shown(values)}"
        else:
            yield f"  maths   {query.id} = {query.expression}"
    condition = f"{alarm.comparison.sign} {alarm.threshold:g}, missing is {alarm.treatment}"
    yield f"  judged  {alarm.datapoints} of {alarm.periods} periods of {alarm.period_s} s {condition}"
    if at is not None:
        window, judged = line.window_at(start_s + duration_s(at))
        yield f"  window  at {at}: {window} = {_shown(judged)}"


def states(line: Timeline, start_s: int) -> str:
    """Return the states over time in one line."""
    changes = [f"{_moment(change.time_s - start_s)} {change.state}" for change in line.changes]
    return ", ".join(["0s INSUFFICIENT_DATA", *changes])


def _shown(values: Iterable[float | None]) -> str:
    return " ".join("_" if value is None else f"{value:g}" for value in values)


def _moment(seconds: float) -> str:
    parts = [f"{int(seconds // size % limit)}{name}" for name, size, limit in _UNITS if seconds // size % limit]
    return "".join(parts) or "0s"


def _moments(seconds: list[int]) -> str:
    return ", ".join(map(_moment, seconds)) or "no time"


def junit(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as a JUnit XML document."""
    ran = list(outcomes)
    failed = sum(bool(outcome.failures) for outcome in ran)
    suite = ET.Element("testsuite", name="alarms", tests=str(len(ran)), failures=str(failed))
    for outcome in ran:
        case = ET.SubElement(suite, "testcase", classname=outcome.file, name=outcome.name)
        for failure in outcome.failures:
            ET.SubElement(case, "failure", message=failure.splitlines()[0]).text = failure
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)
