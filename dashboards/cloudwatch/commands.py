"""The commands that test and replay alarms, for any team's alarms: `python -m dashboards.cloudwatch`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dashboards.cloudwatch import alarm_tests, backtest
from dashboards.cloudwatch.alarm import LogAlarm
from dashboards.cloudwatch.alarm_files import Definitions, read_definitions, without_bands
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.recording import read_recording, told
from dashboards.cloudwatch.reports import annotation, junit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    command.add_argument("--github", action="store_true", help="also write annotations for GitHub Actions")
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
        "--alarms",
        "--template",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="alarms: a template or its folder, terraform show -json, describe-alarms, parameters of the API",
    )
    command.add_argument(
        "--parameter", action="append", default=[], metavar="K=V", help="the value of a template's parameter"
    )


def chosen(options: argparse.Namespace) -> tuple[Definitions, Callable[[str], str]]:
    """Return what the files define that were named, else our own, and the namespace that a recorded one stands for.

    Names on the terminal the alarms that cannot be evaluated.
    """
    definitions = read_definitions(options.alarms or options.own.alarms, given_parameters(options.parameter))
    for each in definitions.unevaluated:
        say(f"not evaluated: {each}", sys.stderr)
    return definitions, str if options.alarms else options.own.namespace


def given_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Return `K=V` as names with values."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not equals or not name:
            raise DefinitionError(f"--parameter {text!r}: write NAME=VALUE")
    return {name.strip(): value for name, _, value in pairs}


def _test(options: argparse.Namespace) -> int:
    definitions, namespace = chosen(options)
    outcomes = [
        outcome
        for file in options.files or options.own.tests
        for outcome in alarm_tests.run_file(file, definitions, namespace)
    ]
    for outcome in outcomes:
        for failure in outcome.failures:
            say(f"FAILED {outcome.file}: {outcome.name}\n  {failure}")
            if options.github:
                say(annotation("error", outcome.file, outcome.line, outcome.name, failure))
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    say(f"{len(outcomes) - failed} passed, {failed} failed")
    if options.junit:
        options.junit.write_text(junit(outcomes), "utf-8")
    return int(failed > 0)


def _simulate(options: argparse.Namespace) -> int:
    definitions, namespace = chosen(options)
    wants_lines = any(isinstance(alarm, LogAlarm) for alarm in definitions.alarms.values())
    recording = read_recording(options.files, namespace, definitions.alarms, keeps_lines=wants_lines)
    for text in told(recording.dropped):
        say(text, sys.stderr)
    if not recording.store.metrics and not recording.lines:
        raise DefinitionError(f"no metric in {', '.join(map(str, options.files))}; EMF lines are wanted")
    alarms = without_bands(definitions.alarms)
    span_s = backtest.bounds_s(recording.store, recording.lines)
    failed: dict[str, str] = {}
    verdicts = backtest.backtest(alarms, recording.store, *span_s, definitions.mutes, recording.lines, failed)
    for name, reason in failed.items():
        say(f"not evaluated: {name}: {reason}", sys.stderr)
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
