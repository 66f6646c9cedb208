"""Tests of alarms in YAML, in the spirit of `promtool test rules`: series in, states and calls expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.actions import taken
from dashboards.cloudwatch.alarm import Alarm, CompositeAlarm, LogAlarm, Metric, MetricAlarm, MuteRule, State
from dashboards.cloudwatch.alarm_files import Definitions, Unevaluated, read_definitions
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.explanations import explain, in_moments, moment
from dashboards.cloudwatch.notation import add_series_to
from dashboards.cloudwatch.recording import Recording, add_lines, add_series, read_recording, refuse_unknown
from dashboards.cloudwatch.rules import parse_rule
from dashboards.cloudwatch.schedules import duration_s, moment_s
from dashboards.cloudwatch.timeline import Timeline, run
from dashboards.cloudwatch.watched import band_metric

if TYPE_CHECKING:
    from pathlib import Path

    from dashboards.cloudwatch.series import Store

_FILE_KEYS = {"alarms", "parameters", "tests"}
_TEST_KEYS = {"name", "case", "start", "interval", "series", "recorded", "lines", "bands", "until", "expect"}
_EXPECT_KEYS = {"alarm", "at", "is", "fires", "calls"}
_LINE_KEYS = {"at", "line", "every", "times"}
_MOST_LINES = 1_000_000
_BAND_KEYS = {"alarm", "lower", "upper"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test that ran: passed when `failures` is empty. `line` is where it stands in its file, 0 when unknown."""

    file: str
    name: str
    failures: tuple[str, ...]
    line: int = 0


@dataclass
class _Evaluated:
    """A test whose alarms were evaluated."""

    lines: Mapping[str, Timeline]
    recording: Recording
    mutes: list[MuteRule]
    start_s: int
    end_s: int
    delayed: set[Metric] = field(default_factory=set)


def tests_of(path: Path) -> tuple[Mapping[str, Any], list[Path]]:
    """Return a test file, and the files that hold its own alarms.

    Raises:
        DefinitionError: The file is no test file.
    """
    data = load(path)
    if not isinstance(data, Mapping) or not isinstance(data.get("tests"), list):
        raise DefinitionError(f"{path}: `tests` is to be a list; each has name, series and expect")
    refuse_unknown(data, _FILE_KEYS, str(path))
    named = data.get("alarms") or []
    if not isinstance(named, list | str) or not isinstance(data.get("parameters") or {}, Mapping):
        raise DefinitionError(f"{path}: `alarms` is to be a list of files, and `parameters` names with values")
    return data, [path.parent / str(name) for name in ([named] if isinstance(named, str) else named)]


def run_file(
    path: Path,
    definitions: Definitions,
    namespace: Callable[[str], str] = str,
    left_out: list[Unevaluated] | None = None,
) -> list[Outcome]:
    """Run the tests of a file against its own `alarms:` files, else against those given.

    `namespace` gives the namespace that a recorded one stands for; `left_out` takes the alarms of its own files that
    are not evaluated.

    Raises:
        DefinitionError: The file is no test file.
    """
    data, files = tests_of(path)
    known = definitions
    if files:
        own = read_definitions(files, {str(k): str(v) for k, v in (data.get("parameters") or {}).items()})
        if left_out is not None:
            left_out += own.unevaluated
        known = Definitions(
            {**known.alarms, **own.alarms}, {**known.sources, **own.sources}, {**known.given, **own.given},
            [*known.unevaluated, *own.unevaluated], [*known.mutes, *own.mutes],
        )  # fmt: skip
    places = _places(path)
    return [
        _run_test(path, number, test, known, namespace, places[number - 1] if number <= len(places) else 0)
        for number, test in enumerate(data["tests"], 1)
    ]


def _places(path: Path) -> list[int]:
    """Return the line at which each test of a file begins."""
    import yaml  # noqa: PLC0415  as in `load`

    root = yaml.compose(path.read_text("utf-8-sig"), yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "tests" and isinstance(value, yaml.SequenceNode):
            return [node.start_mark.line + 1 for node in value.value]
    return []


def _run_test(  # noqa: PLR0913, PLR0917  where a test stands, and all it needs
    path: Path,
    number: int,
    test: Mapping[str, Any],
    known: Definitions,
    namespace: Callable[[str], str],
    place: int,
) -> Outcome:
    name = f"test {number}"
    try:
        name = str(test.get("name", name))
        return Outcome(str(path), name, tuple(_failures(path, test, known, namespace)), place)
    except DashboardError as error:
        return Outcome(str(path), name, (str(error),), place)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return Outcome(str(path), name, (f"the test cannot be read: {error!r}",), place)


def failures_of(folder: Path, test: Mapping[str, Any], known: Definitions) -> list[str]:
    """Return what a test that is given as its keys finds wrong; files are relative to a folder.

    Raises:
        DashboardError: The test cannot be run.
    """
    return list(_failures(folder / "test", test, known, str))


def _failures(
    path: Path, test: Mapping[str, Any], known: Definitions, namespace: Callable[[str], str]
) -> Iterator[str]:
    refuse_unknown(test, _TEST_KEYS, "a test")
    expectations = test.get("expect") or []
    if not expectations:
        raise DefinitionError("nothing is expected; write expect: [{alarm: NAME, at: 5m, is: ALARM}]")
    for wanted in expectations:
        _check_expectation(wanted)
    made = _made(path, test, known, namespace)
    for wanted in expectations:
        unfed = _unfed(made.lines[wanted["alarm"]], made)
        if unfed:
            yield f"{wanted['alarm']}: {unfed}"
            continue
        for difference in _differences(wanted, made):
            yield "\n".join([f"{wanted['alarm']} {difference}", *_explained(wanted, made)])


def _check_expectation(wanted: Mapping[str, Any]) -> None:
    refuse_unknown(wanted, _EXPECT_KEYS, "an expectation")
    if not wanted.keys() & {"is", "fires", "calls"}:
        raise DefinitionError(f"{dict(wanted)} expects nothing; write `at` and `is`, `fires` or `calls`")
    if ("is" in wanted) != ("at" in wanted):
        raise DefinitionError(f"{dict(wanted)}: `at` says when it `is` so; write both")
    if "is" in wanted and wanted["is"] not in State.__members__:
        raise DefinitionError(f"{wanted['is']!r} is no state; there are {', '.join(State.__members__)}")
    if isinstance(wanted.get("calls"), Mapping):
        refuse_unknown(wanted["calls"], State.__members__, "`calls`")


def _made(path: Path, test: Mapping[str, Any], known: Definitions, namespace: Callable[[str], str]) -> _Evaluated:
    """Return a test with its alarms evaluated over its series, its lines and what was recorded."""
    expectations = test["expect"]
    alarms = needed([str(wanted.get("alarm")) for wanted in expectations], known)
    recording = Recording(namespace=namespace)
    if "recorded" in test:
        files = test["recorded"] if isinstance(test["recorded"], list) else [test["recorded"]]
        recording = read_recording([path.parent / name for name in files], namespace, alarms)
    store = recording.store
    span = store.span_s()
    start_s = int(moment_s(str(test["start"]))) if "start" in test else int(span[0] // 60 * 60) if span else 0
    if "series" in test:
        add_series(store, test, "the test", start_s)
    for entry in test.get("bands") or ():
        _add_band(store, entry, duration_s(test.get("interval", "1m")), start_s)
    for entry in test.get("lines") or ():
        _add_line(recording, entry, start_s)
    last = max((store.span_s() or (0, 0))[1], max((line["@timestamp"] for line in recording.lines), default=0))
    end_s = max(_end_s(test, expectations), int(last) + 60 - start_s) + start_s
    return _Evaluated(run(alarms, store, start_s, end_s, recording.lines), recording, known.mutes, start_s, end_s)


def _add_band(store: Store, entry: Mapping[str, Any], step_s: int, start_s: int) -> None:
    """Add the bounds of normal values that a test gives for an alarm on an anomaly band."""
    refuse_unknown(entry, _BAND_KEYS, "a band")
    for bound in ("lower", "upper"):
        metric = band_metric(str(entry["alarm"]), bound)
        add_series_to(store.column(metric), str(entry[bound]), start_s, step_s)


def _add_line(recording: Recording, entry: Mapping[str, Any], start_s: int) -> None:
    """Add a line of log, once or several times; text that is no JSON has a message and nothing else."""
    refuse_unknown(entry, _LINE_KEYS, "a line")
    first, every_s = start_s + duration_s(entry["at"]), duration_s(entry.get("every", "1m"))
    times = int(entry.get("times", 1))
    if times > _MOST_LINES:
        raise DefinitionError(f"a line {times} times; at most {_MOST_LINES} are made")
    for number in range(times):
        before = len(recording.lines)
        add_lines(recording, [str(entry["line"])])
        if len(recording.lines) == before:
            recording.lines.append({"@message": str(entry["line"])})
        recording.lines[-1]["@timestamp"] = float(first + number * every_s)


def needed(names: list[str], known: Definitions) -> dict[str, Alarm]:
    """Return the alarms of these names and all that they watch."""
    found: dict[str, Alarm] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in known.alarms:
            reason = known.reason(name)
            near = get_close_matches(name, known.alarms, 3, 0.5) or sorted(known.alarms)[:3]
            raise DefinitionError(
                f"{name!r} is not evaluated: {reason}"
                if reason
                else f"no alarm of {len(known.alarms)} is called {name!r}; there are {', '.join(near) or 'none'}"
            )
        if name in found:
            continue
        alarm = found[name] = known.alarms[name]
        if isinstance(alarm, CompositeAlarm):
            waiting += [*parse_rule(alarm.rule).children, *filter(None, [alarm.suppressor])]
    return found


def _end_s(test: Mapping[str, Any], expectations: list[Mapping[str, Any]]) -> int:
    texts = [wanted["at"] for wanted in expectations if "at" in wanted]
    for wanted in expectations:
        texts += _listed(wanted.get("fires", []))
        for moments in _calls(wanted).values():
            texts += moments
    texts += [test["until"]] if "until" in test else []
    return max((duration_s(text) for text in texts), default=0)


def _listed(moments: Any) -> list[Any]:  # noqa: ANN401  a member of somebody's YAML
    return moments if isinstance(moments, list) else [moments]


def _calls(wanted: Mapping[str, Any]) -> dict[State, list[Any]]:
    """Return when calls are expected by state; a list alone speaks of ALARM."""
    if "calls" not in wanted:
        return {}
    calls = wanted["calls"]
    by_state = calls if isinstance(calls, Mapping) else {State.ALARM: calls}
    return {State(name): _listed(moments) for name, moments in by_state.items()}


def _unfed(line: Timeline, made: _Evaluated) -> str:
    """Return that no series feeds an alarm, with metrics that look alike; empty when one does."""
    metrics, logs = _feeding(line.alarm, made.lines)
    known = made.recording.store.metrics
    if any(metric in known for metric in metrics) or (logs and made.recording.lines) or not (metrics or logs):
        return ""
    if not metrics:
        return "no line of log feeds this alarm; write `lines` or `recorded`"
    wanted = sorted(map(str, metrics))
    names = {str(metric): metric for metric in known}
    near = get_close_matches(wanted[0], names, 3, 0.5)
    alike = f"; alike: {', '.join(near)}" if near else f"; there are {', '.join(sorted(names)[:3]) or 'none'}"
    return f"no series feeds this alarm: it watches {', '.join(wanted[:3])}{alike} (without data is `values: _`)"


def _feeding(alarm: Alarm, lines: Mapping[str, Timeline]) -> tuple[set[Metric], bool]:
    """Return the metrics that an alarm depends on, through others too, and whether it depends on lines of log."""
    if isinstance(alarm, MetricAlarm):
        return set(alarm.metrics), False
    if isinstance(alarm, LogAlarm):
        return set(), True
    found = [_feeding(lines[child].alarm, lines) for child in parse_rule(alarm.rule).children]
    return set().union(*(metrics for metrics, _ in found)), any(logs for _, logs in found)


def _differences(wanted: Mapping[str, Any], made: _Evaluated) -> Iterator[str]:
    line, start_s = made.lines[wanted["alarm"]], made.start_s
    if "is" in wanted:
        state = line.at(start_s + duration_s(wanted["at"]))
        if state != wanted["is"]:
            yield f"at {wanted['at']}: expected {wanted['is']}, was {state}"
    if "fires" in wanted:
        expected = [duration_s(each) for each in _listed(wanted["fires"])]
        found = [change.time_s - start_s for change in line.fired]
        if found != expected:
            yield f"fires: expected at {in_moments(expected)}, was at {in_moments(found)}"
    calls = _calls(wanted)
    acted = taken(line, made.lines, made.mutes, made.end_s) if calls else None
    for state, moments in calls.items():
        expected = [duration_s(each) for each in moments]
        found = [int(time - start_s) for time in acted.times(state)] if acted else []
        if acted and found != expected:
            muted = {rule: action for action, rule in acted.swallowed if action.state is state}
            why = "".join(f"; muted by {rule} at {moment(a.time_s - start_s)}" for rule, a in muted.items())
            which = "calls" if state is State.ALARM else f"calls for {state}"
            yield f"{which}: expected at {in_moments(expected)}, was at {in_moments(found)}{why}"


def _explained(wanted: Mapping[str, Any], made: _Evaluated) -> Iterator[str]:
    at_s = made.start_s + duration_s(wanted["at"]) if "at" in wanted else None
    yield from explain(made.lines[wanted["alarm"]], made.lines, made.recording.store, made.start_s, at_s)
