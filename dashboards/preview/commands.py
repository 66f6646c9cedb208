"""The command `preview`: a dashboard drawn offline."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm_files import Definitions, collect, without_bands
from dashboards.cloudwatch.commands import Commands, Own, add_alarms, chosen, given_parameters, say
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.errors import DefinitionError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class OwnDashboards(Own):
    """What is drawn when no body is named: dashboards by name, and folders with the runbooks of our alarms."""

    dashboards: Mapping[str, Path] = field(default_factory=dict)
    runbooks: tuple[Path, ...] = ()


def add_preview(commands: Commands[argparse.ArgumentParser], own: OwnDashboards) -> None:
    """Add the command."""
    command = commands.add_parser(
        "preview",
        help="draw a dashboard offline",
        description="Draw a dashboard over recorded telemetry as one HTML page or PNG. Any CloudWatch body works. Exit "
        "status 1 when the file holds other dashboards that cannot be worked out.",
    )
    command.add_argument(
        "--telemetry",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="what was recorded; without it the data are made up",
    )
    command.add_argument(
        "--body", type=Path, metavar="FILE", help="a dashboard body, the JSON of get-dashboard, or a template"
    )
    command.add_argument("--dashboard", metavar="NAME", help="one of our own (default: overview), or of a template's")
    command.add_argument("--format", choices=("html", "png"), default="html")
    command.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: NAME.html)")
    add_alarms(command)
    command.set_defaults(run=_preview, own=own)


def _preview(options: argparse.Namespace) -> int:
    from dashboards.preview.render import preview, read_dashboards, view_of  # noqa: PLC0415  an extra, and heavy

    own: OwnDashboards = options.own
    file = options.body or own.dashboards.get(options.dashboard or "overview")
    if file is None:
        there = ", ".join(sorted(own.dashboards))
        raise DefinitionError(f"there is no dashboard {options.dashboard}; there are {there}")
    bodies, left_out = read_dashboards(file, given_parameters(options.parameter))
    for reason in left_out:
        say(f"not worked out: {reason}", sys.stderr)
    wanted = options.dashboard if options.body and options.dashboard else next(iter(bodies))
    if wanted not in bodies:
        raise DefinitionError(f"{file} holds no dashboard {wanted}; there are {', '.join(bodies)}")
    out = options.out or Path(f"{file.stem}.{options.format}")
    definitions, namespace = _alarms(options)
    # Our own runbooks are for our own alarms: on anybody else's dashboard they would only mislead.
    folders = own.runbooks if not options.body and not options.alarms else ()
    runbooks = {path.stem: path.read_text("utf-8") for folder in folders for path in sorted(folder.glob("*.md"))}
    view = view_of(bodies[wanted], options.telemetry, without_bands(definitions.alarms), namespace)
    missing = preview((wanted, bodies[wanted]), view, runbooks, out, options.format)
    for reason in missing:
        say(f"not drawn: {reason}", sys.stderr)
    say(f"{out.resolve()} ({out.stat().st_size / 1e6:.1f} MB)")
    # Whoever asks for one dashboard by name has it; else the file was asked for, and not all of it could be read.
    return int(bool(left_out) and not options.dashboard)


def _alarms(options: argparse.Namespace) -> tuple[Definitions, Callable[[str], str]]:
    """Return the alarms that belong to a dashboard: those that were named, its template's, ours to ours, else none."""
    if options.alarms or not options.body:
        return chosen(options)
    found = Definitions()
    data = load(options.body)
    if isinstance(data, dict) and "widgets" not in data and "DashboardBody" not in data:
        collect(found, data, str(options.body), given_parameters(options.parameter))
    return found, str
