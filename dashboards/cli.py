"""The command `dashboards`: everything offline, no AWS credentials."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.cloudwatch.commands import Commands, add_commands, run, say
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.places import CASES, GENERATED, STAGE
from dashboards.preview.commands import OwnDashboards, add_preview

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dashboards.drills.table import Drill
    from dashboards.drills.weeks import Called


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 when all is well, 1 when something failed or drifted, 2 for wrong input."""
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dashboards", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    own = OwnDashboards(
        alarms=[*GENERATED.glob("alarms.json")],
        tests=sorted(CASES.glob("*.yaml")),
        namespace=_of_the_stage,
        dashboards={path.stem: path for path in (GENERATED / "dashboards").glob("*.json")},
        runbooks=(GENERATED / "runbooks",),
    )
    _add_build(commands)
    add_commands(commands, own)
    add_preview(commands, own)
    _add_drill(commands)
    _add_matrix(commands)
    _add_day(commands)
    return parser


def _of_the_stage(namespace: str) -> str:
    from dashboards.product.stages import of_the_stage  # noqa: PLC0415  imports the catalog: a quarter of a second

    return of_the_stage(namespace)


def _add_build(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "build",
        help="write dashboards, alarms, SLOs and runbooks",
        description="Write dashboard bodies, alarms, SLOs, runbooks and automation documents from the catalog.",
    )
    command.add_argument("--out", type=Path, default=GENERATED, metavar="DIR", help="default: %(default)s")
    command.add_argument("--stage", default=STAGE, metavar="NAME", help="whose names they hold (default: %(default)s)")
    command.add_argument("--check", action="store_true", help="write nothing; fail when the files have drifted")
    command.set_defaults(run=_build)


def _add_drill(commands: Commands[argparse.ArgumentParser]) -> None:
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


def _add_matrix(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "matrix",
        help="every class of faults at every traffic, and healthy weeks",
        description="Simulate every class of faults at 1 request a day, 10 a day, 1 a minute and a burst: the alarms "
        "that have to call do so in time, and no other calls. Exit status 1 when one does not. Takes minutes.",
    )
    command.add_argument("names", nargs="*", metavar="FAULT", help="default: all")
    command.add_argument("--weeks", action="store_true", help="healthy weeks instead: nobody is to be woken")
    command.add_argument("--markdown", action="store_true", help="print the table of docs/on-call.md")
    command.set_defaults(run=_matrix)


def _add_day(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "day",
        help="the first dashboard over a simulated day with a fault in it",
        description="Run the function with and without a fault, lay what it recorded over a day, and draw what an "
        "engineer on call would see at its end.",
    )
    command.add_argument("names", nargs="*", metavar="DRILL", help="whose fault it is (default: failing-s3); `all`")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="default: day.html; of several drills, a folder: days"
    )
    command.add_argument("--format", choices=("html", "png"), default="html")
    command.set_defaults(run=_day)


def _build(options: argparse.Namespace) -> int:
    from dashboards.product import build  # noqa: PLC0415  the other commands need no catalog
    from dashboards.product.specs import Catalog  # noqa: PLC0415  see above
    from telemetry.watch import Names  # noqa: PLC0415  see above

    built = build.files(Catalog(names=Names(options.stage)))
    if options.check:
        drifted = build.drift(built, options.out)
        for name in drifted:
            say(f"drifted: {options.out / name}; run dashboards build")
        return int(bool(drifted))
    build.write(built, options.out)
    say(f"{len(built)} files in {options.out}")
    return 0


def _drill(options: argparse.Namespace) -> int:
    from dashboards.drills import judging, report  # noqa: PLC0415  the other commands need no catalog
    from dashboards.drills.table import DRILLS  # noqa: PLC0415  see above

    known = {drill.name: drill for drill in DRILLS}
    _refuse_unknown("drill", options.names, known)
    if options.list:
        say("\n".join(known))
        return 0
    outcomes = judging.run_all([known[name] for name in options.names or known])
    if options.json:
        say(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        say("\n\n".join([*map(report.shown, outcomes), report.summary(outcomes)]))
    return int(any(outcome.failures for outcome in outcomes))


def _day(options: argparse.Namespace) -> int:
    from dashboards.drills.table import DRILLS  # noqa: PLC0415  the other commands need no catalog

    known = {drill.name: drill for drill in DRILLS if drill.name != "healthy"}
    names = [*known] if options.names == ["all"] else options.names or ["failing-s3"]
    _refuse_unknown("drill", names, known)
    single = len(names) == 1
    if not single:
        (options.out or Path("days")).mkdir(parents=True, exist_ok=True)
    for name in names:
        out = options.out or Path(f"day.{options.format}" if single else "days")
        _draw_day(known[name], out if single else out / f"{name}.{options.format}", options.format)
    return 0


def _draw_day(drill: Drill, out: Path, kind: str) -> None:
    from dashboards.cloudwatch.alarm_files import parse_alarms  # noqa: PLC0415  the other commands need no catalog
    from dashboards.drills.day import simulated  # noqa: PLC0415  see above
    from dashboards.preview.panels import View  # noqa: PLC0415  see above
    from dashboards.preview.render import preview  # noqa: PLC0415  an extra, and heavy
    from dashboards.product.runbooks import runbook_texts  # noqa: PLC0415  see above
    from dashboards.product.specs import Catalog, alarm_parameters  # noqa: PLC0415  see above
    from telemetry.watch import watching  # noqa: PLC0415  see above

    day, watched = simulated(int(time.time()), bad=drill.inject), watching(drill.limits)
    source = Catalog(alarms=watched.alarms, composites=watched.composites, limits=drill.limits)
    view = View(day.recording, parse_alarms(alarm_parameters(source), "the catalog"), day.start_s, day.end_s)
    board = ("simulated day", day.body(source))
    for reason in preview(board, view, runbook_texts(source), out, kind):
        say(f"not drawn: {reason}", sys.stderr)
    say(f"{out.resolve()}: a simulated day; {day.fault}")


def _refuse_unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DefinitionError(f"there is no {kind} {', '.join(unknown)}; there are {', '.join(known)}")


def _matrix(options: argparse.Namespace) -> int:
    from dashboards.drills import matrix, weeks  # noqa: PLC0415  the other commands need no catalog

    if options.weeks:
        return _weeks(weeks.lived(week) for week in weeks.WEEKS)
    known = {row.name: row for row in matrix.rows()}
    _refuse_unknown("fault", options.names, known)
    failed = 0
    table = matrix.Table()
    for row in (known[name] for name in options.names or known):
        cells = [matrix.cell(row, traffic) for traffic in matrix.TRAFFIC]
        table.add(row, cells)
        wrong = matrix.wrong(row, cells)
        failed += bool(wrong)
        if not options.markdown:
            say("\n".join([f"{'FAILED' if wrong else 'passed'}  {row.name}", *(f"  {each}" for each in wrong)]))
    if options.markdown:
        say(str(table))
    return int(failed > 0)


def _weeks(lived: Iterable[Called]) -> int:
    failed = 0
    for called in lived:
        failed += bool(called.pages) or len(called.tickets) > 1
        what = f"{called.week.a_day:5} requests a day, {called.week.bad:.0%} bad"
        say(f"{what}: {len(called.pages)} pages, {len(called.tickets)} tickets")
    return int(failed > 0)
