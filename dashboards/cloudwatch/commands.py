"""The commands that test and replay alarms, for any team's alarms: `python -m dashboards.cloudwatch`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dashboards.cloudwatch import alarm_tests, backtest
from dashboards.cloudwatch.alarm_files import read_alarms
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dashboards.cloudwatch.alarm import Alarm

Commands = argparse._SubParsersAction  # noqa: SLF001  argparse has no public name for what add_subparsers returns
_CHANGES = 8
"""Changes of state that fit on a line of a verdict."""


@dataclass(frozen=True)
class Own:
    """What a command works on when no file is named.

    Attributes:
        alarms: Files with alarms.
        tests: Files with tests of them.
        namespace: Gives the namespace that a recorded one stands for to these alarms.
    """

    alarms: Sequence[Path] = ()
    tests: Sequence[Path] = ()
    namespace: Callable[[str], str] = str


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run a command; return 0 when all is well, 1 when something failed or drifted, 2 for wrong input."""
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except DashboardError as error:
        say(f"{parser.prog}: {error}", sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        say(f"{parser.prog}: {error.name} is missing; pip install 'edge-model-packager[preview]'", sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        say(f"{parser.prog}: {error.filename}: {error.strerror}", sys.stderr)
        return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command on the alarms of files, with none of our own."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.cloudwatch", description=__doc__)
    add_commands(parser.add_subparsers(required=True, metavar="COMMAND"), Own())
    return run(parser, arguments)


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a line to the terminal."""
    (stream or sys.stdout).write(text + "\n")


def add_commands(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    """Add every command of this package."""
    for add in (_add_test, _add_simulate):
        add(commands, own)


def _add_test(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser("test", help="run alarm tests", description="Run alarm tests written in YAML.")
    command.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: the tests of our own alarms")
    command.add_argument("--junit", type=Path, metavar="FILE", help="also write the outcome as JUnit XML")
    add_alarms(command)
    command.set_defaults(run=_test, own=own)


def _add_simulate(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser(
        "simulate",
        help="what each alarm would have done",
        description="Evaluate alarms over recorded EMF lines, exports of CloudWatch Logs, or series in YAML.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    add_alarms(command)
    command.set_defaults(run=_simulate, own=own)


def add_alarms(command: argparse.ArgumentParser) -> None:
    """Add the options that name files with alarms."""
    command.add_argument(
        "--alarms", action="append", type=Path, default=[], metavar="FILE", help="alarms: a describe-alarms dump"
    )
    command.add_argument(
        "--template", action="append", type=Path, default=[], metavar="FILE", help="alarms: a CloudFormation template"
    )


def chosen_alarms(options: argparse.Namespace) -> tuple[dict[str, Alarm], Callable[[str], str]]:
    """Return the alarms of the files that were named, else our own, and the namespace that a recorded one stands for.

    Names on the terminal the alarms that cannot be evaluated.
    """
    named = [*options.alarms, *options.template]
    skipped: list[str] = []
    alarms = {name: alarm for file in named or options.own.alarms for name, alarm in read_alarms(file, skipped).items()}
    for reason in skipped:
        say(f"not evaluated: {reason}", sys.stderr)
    return alarms, str if named else options.own.namespace


def _test(options: argparse.Namespace) -> int:
    alarms, namespace = chosen_alarms(options)
    outcomes = [
        outcome
        for file in options.files or options.own.tests
        for outcome in alarm_tests.run_file(file, alarms, namespace)
    ]
    for outcome in outcomes:
        for failure in outcome.failures:
            say(f"FAILED {outcome.file}: {outcome.name}\n  {failure}")
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    say(f"{len(outcomes) - failed} passed, {failed} failed")
    if options.junit:
        options.junit.write_text(alarm_tests.junit(outcomes), "utf-8")
    return int(failed > 0)


def _simulate(options: argparse.Namespace) -> int:
    alarms, namespace = chosen_alarms(options)
    store = read_recording(options.files, namespace).store
    if not store.samples:
        raise DefinitionError(f"no metric in {', '.join(map(str, options.files))}; EMF lines are wanted")
    verdicts = backtest.backtest(alarms, store, *backtest.bounds_s(store))
    if options.json:
        say(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
        return 0
    for verdict in verdicts:
        say(_in_words(verdict))
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
