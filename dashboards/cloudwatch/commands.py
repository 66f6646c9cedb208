"""The commands that test and replay alarms, for any team's alarms: `python -m dashboards.cloudwatch`."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dashboards.cloudwatch import alarm_tests, backtest, changes, queries
from dashboards.cloudwatch.alarm import Alarm, LogAlarm, MetricAlarm
from dashboards.cloudwatch.alarm_files import Definitions, Unevaluated, read_definitions, without_bands
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.explanations import moment
from dashboards.cloudwatch.lint import RULES, lint
from dashboards.cloudwatch.recording import Recording, read_recording, told
from dashboards.cloudwatch.reports import annotation, junit, line_of, sarif
from dashboards.cloudwatch.schedules import duration_s, moment_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


Commands = argparse._SubParsersAction  # noqa: SLF001  argparse has no public name for what add_subparsers returns
_EVERY_S = 0.5
_PAGE = "docs/cloudwatch.md"
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
        say(f"{parser.prog}: {error.name} is missing. Install the package with its extra `preview`.", sys.stderr)
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
    for add in (_add_test, _add_simulate, _add_backtest, _add_diff, _add_queries, _add_lint):
        add(commands, own)


def _add_test(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser("test", help="run alarm tests", description="Run alarm tests written in YAML.")
    command.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: the tests of our own alarms")
    command.add_argument("--junit", type=Path, metavar="FILE", help="also write the outcome as JUnit XML")
    command.add_argument("--github", action="store_true", help="also write annotations for GitHub Actions")
    command.add_argument("--watch", action="store_true", help="run again whenever a file changes, until interrupted")
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


def _add_backtest(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser(
        "backtest",
        help="how often alarms would have called over a history",
        description="Evaluate the alarms of files over recorded history: how often each called, how long it lasted, "
        "how late it was, whether it flapped.",
    )
    command.add_argument("alarms", nargs="*", type=Path, metavar="FILE", help="files with alarms; default: our own")
    _add_history(command)
    command.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    command.set_defaults(run=_backtest, own=own)


def _add_diff(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser(
        "diff",
        help="what a change of alarms would have changed",
        description="Evaluate two versions of the same alarms (templates, Terraform plans, dumps) over one history: "
        "when each changed alarm called before, and when it would now.",
    )
    command.add_argument("old", type=Path, metavar="OLD")
    command.add_argument("new", type=Path, metavar="NEW")
    _add_history(command)
    command.add_argument("--format", choices=("text", "html", "markdown"), default="text", help="markdown: a comment")
    command.add_argument("--out", type=Path, metavar="FILE", help="where it goes (default: the terminal)")
    command.add_argument("--exit-code", action="store_true", help="exit with 1 when any alarm differs")
    command.set_defaults(run=_diff, own=own)


def _add_queries(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser(
        "queries",
        help="the calls of AWS's command line that fetch the history",
        description="Print the calls of `aws cloudwatch get-metric-data` whose results `backtest` and `diff` read.",
    )
    command.add_argument("alarms", nargs="*", type=Path, metavar="FILE", help="files with alarms; default: our own")
    command.add_argument("--start", required=True, metavar="TIME", help="2026-01-31T00:00:00Z, or 14d for so long ago")
    command.add_argument("--end", metavar="TIME", help="default: now")
    _add_parameter(command)
    command.set_defaults(run=_queries, own=own)


def _add_lint(commands: Commands[argparse.ArgumentParser], own: Own) -> None:
    command = commands.add_parser(
        "lint",
        help="what reading alarms finds before an incident does",
        description="Check the alarms of files by rules, which docs/cloudwatch.md explains and a template's Metadata "
        "can silence. Exit status 1 when a rule has something to say.",
    )
    command.add_argument("alarms", nargs="*", type=Path, metavar="FILE", help="files with alarms; default: our own")
    command.add_argument("--history", action="append", type=Path, default=[], metavar="FILE", help="recorded data")
    command.add_argument("--ignore", action="append", default=[], metavar="RULE", help="leave a rule out")
    command.add_argument("--sarif", type=Path, metavar="FILE", help="also write the findings as SARIF")
    command.add_argument("--github", action="store_true", help="also write annotations for GitHub Actions")
    _add_parameter(command)
    command.set_defaults(run=_lint, own=own)


def _add_history(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--history", action="append", type=Path, required=True, metavar="FILE", help="recorded data: EMF, JSON, CSV"
    )
    _add_parameter(command)


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
    _add_parameter(command)


def _add_parameter(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="K=V",
        help="the value of a template's parameter, or what a deployment calls a resource: Queue.QueueName=orders",
    )


def chosen(options: argparse.Namespace) -> tuple[Definitions, Callable[[str], str]]:
    """Return what the files define that were named, else our own, and the namespace that a recorded one stands for.

    Names on the terminal the alarms that cannot be evaluated.
    """
    definitions = read_definitions(options.alarms or options.own.alarms, given_parameters(options.parameter))
    for each in definitions.unevaluated:
        say(f"not evaluated: {each}", sys.stderr)
    return definitions, str if options.alarms else options.own.namespace


def _named(files: Sequence[Path], what: str) -> Sequence[Path]:
    """Return files; raise when there are none, of ours neither: nothing checked would look like all being well."""
    if not files:
        raise DefinitionError(f"name a file with {what}")
    return files


def _some(alarms: dict[str, Alarm], options: argparse.Namespace) -> dict[str, Alarm]:
    """Return alarms; raise when there are none, as of files of dashboards alone: nothing said would look fine."""
    if not alarms:
        raise DefinitionError(f"no alarm of {', '.join(map(str, options.alarms or options.own.alarms))} is evaluated")
    return alarms


def given_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Return `K=V` as names with values."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not equals or not name:
            raise DefinitionError(f"--parameter {text!r}: write NAME=VALUE")
    return {name.strip(): value for name, _, value in pairs}


def _test(options: argparse.Namespace) -> int:
    if not options.watch:
        return _test_once(options)
    files = [*options.files, *options.alarms] or [*options.own.tests, *options.own.alarms]
    for file in options.files:
        with suppress(DashboardError):  # it is told when the tests run, and may be mended while they are watched
            files += alarm_tests.tests_of(file)[1]
    with suppress(KeyboardInterrupt):
        for _ in changing(files, _EVERY_S):
            try:
                _test_once(options)
            except DashboardError as error:
                say(f"{error}", sys.stderr)
            sys.stdout.flush()
    return 0


def changing(files: Sequence[Path], every_s: float) -> Iterator[None]:
    """Yield now, and whenever a file has changed."""
    before: object = None
    while True:
        now = [file.stat().st_mtime_ns if file.exists() else None for file in files]
        if now != before:
            before = now
            yield
        time.sleep(every_s)


def _test_once(options: argparse.Namespace) -> int:
    definitions, namespace = chosen(options)
    left_out: list[Unevaluated] = []
    outcomes = [
        outcome
        for file in _named(options.files or options.own.tests, "tests")
        for outcome in alarm_tests.run_file(file, definitions, namespace, left_out)
    ]
    for each in left_out:
        say(f"not evaluated: {each}", sys.stderr)
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
    return _replay(options, options.files)


def _backtest(options: argparse.Namespace) -> int:
    return _replay(options, options.history)


def _replay(options: argparse.Namespace, files: Sequence[Path]) -> int:
    _named(options.alarms or options.own.alarms, "alarms")
    definitions, namespace = chosen(options)
    recording = _recorded(files, namespace, [definitions])
    span_s = backtest.bounds_s(recording.store, recording.lines)
    failed: dict[str, str] = {}
    alarms = _some(without_bands(definitions.alarms), options)
    verdicts = backtest.backtest(alarms, recording.store, *span_s, definitions.mutes, recording.lines, failed)
    for name, reason in failed.items():
        say(f"not evaluated: {name}: {reason}", sys.stderr)
    if options.json:
        say(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
        return 0
    for verdict in verdicts:
        say(_in_words(verdict))
    return 0


def _recorded(files: Sequence[Path], namespace: Callable[[str], str], all_: Sequence[Definitions]) -> Recording:
    """Return what was recorded, with lines only where an alarm asks for lines; say what CloudWatch would drop."""
    alarms = {name: alarm for each in all_ for name, alarm in each.alarms.items()}
    wants_lines = any(isinstance(alarm, LogAlarm) for alarm in alarms.values())
    recording = read_recording(files, namespace, alarms, keeps_lines=wants_lines)
    for text in told(recording.dropped):
        say(text, sys.stderr)
    if not recording.store.metrics and not recording.lines:
        raise DefinitionError(f"no metric in {', '.join(map(str, files))}; EMF lines are wanted")
    return recording


def _diff(options: argparse.Namespace) -> int:
    parameters = given_parameters(options.parameter)
    old, new = (read_definitions([path], parameters) for path in (options.old, options.new))
    for each in (old, new):
        for left_out in each.unevaluated:
            say(f"not evaluated: {left_out}", sys.stderr)
        each.alarms = without_bands(each.alarms)
    recording = _recorded(options.history, str, [old, new])
    report = changes.compare(old, new, recording, *backtest.bounds_s(recording.store, recording.lines))
    shown = {
        "text": lambda: changes.in_text(report) + "\n",
        "html": lambda: changes.in_html(report, f"{options.old.name} and {options.new.name}"),
        "markdown": lambda: changes.in_markdown(report),
    }[options.format]()
    if options.out:
        options.out.write_text(shown, "utf-8")
    else:
        sys.stdout.write(shown)
    return int(options.exit_code and bool(report.differences))


def _lint(options: argparse.Namespace) -> int:
    unknown = sorted(set(options.ignore) - RULES.keys())
    if unknown:
        raise DefinitionError(f"there is no rule {unknown[0]}; there are {', '.join(RULES)}")
    alarms = _named(options.alarms or options.own.alarms, "alarms")
    definitions = read_definitions(alarms, given_parameters(options.parameter))
    recording = _recorded(options.history, options.own.namespace, [definitions]) if options.history else None
    span_s = backtest.bounds_s(recording.store) if recording else (0, 0)
    found = [
        each
        for each in lint(definitions, recording.store if recording else None, span_s)
        if each.rule not in options.ignore
    ]
    for each in found:
        say(str(each))
        if options.github:
            text = f"{each.name}: {each.text}"
            say(annotation("warning", each.origin.file, line_of(each.origin), each.rule, text))
    say(f"{len(found)} findings in {len(definitions.alarms)} alarms")
    if options.sarif:
        options.sarif.write_text(sarif(found, {name: title for name, (title, _) in RULES.items()}, _PAGE), "utf-8")
    return int(bool(found))


def _queries(options: argparse.Namespace) -> int:
    _named(options.alarms or options.own.alarms, "alarms")
    definitions, _ = chosen(options)
    now_s = time.time()
    end_s = moment_s(options.end) if options.end else now_s
    ago = re.fullmatch(r"\d+[dhm]", options.start)
    start_s = now_s - duration_s(options.start) if ago else moment_s(options.start)
    commands, open_ = queries.calls(_some(definitions.alarms, options), start_s, end_s, now_s)
    for metric in open_:
        say(f"not asked for: {metric}: only a deployment knows its name; --parameter K=V says it", sys.stderr)
    kept_s = queries.finest(now_s - start_s)
    for name, alarm in definitions.alarms.items():
        if isinstance(alarm, MetricAlarm) and alarm.period_s < kept_s:
            told = f"its periods of {alarm.period_s} s cannot be judged that far back"
            say(f"{name}: {told}, where CloudWatch keeps {kept_s} s; a later --start can", sys.stderr)
    for command in commands:
        say(command)
    return 0 if commands else 1


def _in_words(verdict: backtest.Verdict) -> str:
    """Return a verdict in a line: of many changes the first and the last ones; `--json` has all of them."""
    notes = [] if verdict.seen else ["saw no data"]
    if verdict.delays_s:
        quickest, slowest = min(verdict.delays_s), max(verdict.delays_s)
        took = f"{quickest:g}" + f" to {slowest:g}" * (slowest > quickest)
        notes.append(f"{took} s after the first bad point")
    notes += [f"called {len(verdict.called_s)} of {len(verdict.fired_s)} times"] if verdict.fired_s else []
    notes += [f"{verdict.muted} calls muted"] if verdict.muted else []
    notes += [f"in ALARM for {moment(verdict.alarm_s)}"] if verdict.alarm_s else []
    notes += ["flapping"] if verdict.flapping else []
    changes = verdict.states.split(", ")
    if len(changes) > _CHANGES:
        changes[_CHANGES - 2 : -2] = [f"... {len(changes) - _CHANGES} more changes ..."]
    return f"{verdict.last:17} {verdict.name}: {', '.join(changes)}" + f" ({'; '.join(notes)})" * bool(notes)
