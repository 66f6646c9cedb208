"""The command `dashboards`: everything offline, no AWS credentials."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dashboards.cloudwatch import alarm_tests, backtest
from dashboards.cloudwatch.alarm_files import read_alarms
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.recording import read_recording
from dashboards.places import CASES, GENERATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboards.cloudwatch.alarm import Alarm


_CHANGES = 8
"""Changes of state that fit on a line of a verdict."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 when all is well, 1 when something failed or drifted, 2 for wrong input."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except DashboardError as error:
        _say(f"dashboards: {error}", sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        _say(f"dashboards: {error.name} is missing; pip install 'edge-model-packager[preview]'", sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        _say(f"dashboards: {error.filename}: {error.strerror}", sys.stderr)
        return 2


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dashboards", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_build, _add_test, _add_simulate, _add_preview, _add_drill):
        add(commands)
    return parser


def _add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "build",
        help="write dashboards, alarms, SLOs and runbooks",
        description="Write dashboard bodies, alarms, SLOs, runbooks and automation documents from the catalog.",
    )
    command.add_argument("--out", type=Path, default=GENERATED, metavar="DIR", help="default: %(default)s")
    command.add_argument("--check", action="store_true", help="write nothing; fail when the files have drifted")
    command.set_defaults(run=_build)


def _add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("test", help="run alarm tests", description="Run alarm tests written in YAML.")
    command.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: the tests of our own alarms")
    command.add_argument("--junit", type=Path, metavar="FILE", help="also write the outcome as JUnit XML")
    _add_alarms(command)
    command.set_defaults(run=_test)


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "simulate",
        help="what each alarm would have done",
        description="Evaluate alarms over recorded EMF lines, exports of CloudWatch Logs, or series in YAML.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    _add_alarms(command)
    command.set_defaults(run=_simulate)


def _add_preview(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "preview",
        help="draw a dashboard offline",
        description="Draw a dashboard over recorded telemetry as one HTML page or PNG. Any CloudWatch body works.",
    )
    command.add_argument(
        "--telemetry", action="append", type=Path, default=[], metavar="FILE", help="what was recorded"
    )
    command.add_argument("--body", type=Path, metavar="FILE", help="a dashboard body, or the JSON of get-dashboard")
    command.add_argument("--dashboard", default="overview", metavar="NAME", help="one of our own (default: overview)")
    command.add_argument("--format", choices=("html", "png"), default="html")
    command.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: NAME.html)")
    _add_alarms(command)
    command.set_defaults(run=_preview)


def _add_drill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "drill",
        help="inject faults, and see the right alarms fire",
        description="Run the function with real faults: the right alarms fire in time, the others stay silent, and "
        "the first query of the runbook finds the cause. Exit status 1 when a drill fails.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="default: all; --list names them")
    command.add_argument("--list", action="store_true", help="name the drills and run none")
    command.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    command.set_defaults(run=_drill)


def _add_alarms(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--alarms", action="append", type=Path, default=[], metavar="FILE", help="alarms: a describe-alarms dump"
    )
    command.add_argument(
        "--template", action="append", type=Path, default=[], metavar="FILE", help="alarms: a CloudFormation template"
    )


def _alarms(options: argparse.Namespace) -> dict[str, Alarm]:
    """Return the alarms of the files that were named, else our own; name those that cannot be evaluated."""
    files = [*options.alarms, *options.template] or [*GENERATED.glob("alarms.json")]
    skipped: list[str] = []
    alarms = {name: alarm for file in files for name, alarm in read_alarms(file, skipped).items()}
    for reason in skipped:
        _say(f"not evaluated: {reason}", sys.stderr)
    return alarms


def _build(options: argparse.Namespace) -> int:
    from dashboards.product import build  # noqa: PLC0415  the other commands need no catalog
    from dashboards.product.specs import Catalog  # noqa: PLC0415  see above

    built = build.files(Catalog())
    if options.check:
        drifted = build.drift(built, options.out)
        for name in drifted:
            _say(f"drifted: {options.out / name}; run dashboards build")
        return int(bool(drifted))
    build.write(built, options.out)
    _say(f"{len(built)} files in {options.out}")
    return 0


def _test(options: argparse.Namespace) -> int:
    alarms = _alarms(options)
    outcomes = [
        outcome
        for file in options.files or sorted(CASES.glob("*.yaml"))
        for outcome in alarm_tests.run_file(file, alarms)
    ]
    for outcome in outcomes:
        for failure in outcome.failures:
            _say(f"FAILED {outcome.file}: {outcome.name}\n  {failure}")
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    _say(f"{len(outcomes) - failed} passed, {failed} failed")
    if options.junit:
        options.junit.write_text(alarm_tests.junit(outcomes), "utf-8")
    return int(failed > 0)


def _simulate(options: argparse.Namespace) -> int:
    store = read_recording(options.files).store
    if not store.samples:
        raise DefinitionError(f"no metric in {', '.join(map(str, options.files))}; EMF lines are wanted")
    verdicts = backtest.backtest(_alarms(options), store, *backtest.bounds_s(store))
    if options.json:
        _say(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
        return 0
    for verdict in verdicts:
        _say(_in_words(verdict))
    return 0


def _in_words(verdict: backtest.Verdict) -> str:
    """Return a verdict in a line: of many changes the first and the last ones; `--json` has all of them."""
    notes = [] if verdict.seen else ["saw no data"]
    if verdict.delays_s:
        quickest, slowest = min(verdict.delays_s), max(verdict.delays_s)
        took = f"{quickest:g}" + f" to {slowest:g}" * (slowest > quickest)
        notes.append(f"{took} s after the first bad point")
    notes += [f"called {len(verdict.called_s)} of {len(verdict.fired_s)} times"] if verdict.fired_s else []
    notes += ["flapping"] if verdict.flapping else []
    changes = verdict.states.split(", ")
    if len(changes) > _CHANGES:
        changes[_CHANGES - 2 : -2] = [f"... {len(changes) - _CHANGES} more changes ..."]
    return f"{verdict.last:17} {verdict.name}: {', '.join(changes)}" + f" ({'; '.join(notes)})" * bool(notes)


def _preview(options: argparse.Namespace) -> int:
    from dashboards.preview.render import preview  # noqa: PLC0415  an extra of the package, and heavy

    ours = {path.stem: path for path in (GENERATED / "dashboards").glob("*.json")}
    body = options.body or ours.get(options.dashboard)
    if body is None:
        raise DefinitionError(f"there is no dashboard {options.dashboard}; there are {', '.join(sorted(ours))}")
    out = options.out or Path(f"{body.stem}.{options.format}")
    missing = preview(body, options.telemetry, _alarms(options), out, options.format)
    for reason in missing:
        _say(f"not drawn: {reason}", sys.stderr)
    _say(f"{out.resolve()} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _drill(options: argparse.Namespace) -> int:
    from dashboards.drills import judging, report  # noqa: PLC0415  the other commands need no catalog
    from dashboards.drills.table import DRILLS  # noqa: PLC0415  see above

    known = {drill.name: drill for drill in DRILLS}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise DefinitionError(f"there is no drill {', '.join(unknown)}; there are {', '.join(known)}")
    if options.list:
        _say("\n".join(known))
        return 0
    outcomes = judging.run_all([known[name] for name in options.names or known])
    if options.json:
        _say(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        _say("\n\n".join([*map(report.shown, outcomes), report.summary(outcomes)]))
    return int(any(outcome.failures for outcome in outcomes))
