"""The command `preview`: a dashboard drawn offline."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm_files import without_bands
from dashboards.cloudwatch.commands import Commands, Own, add_alarms, chosen, say
from dashboards.cloudwatch.errors import DefinitionError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


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
        description="Draw a dashboard over recorded telemetry as one HTML page or PNG. Any CloudWatch body works.",
    )
    command.add_argument(
        "--telemetry", action="append", type=Path, default=[], metavar="FILE", help="what was recorded"
    )
    command.add_argument("--body", type=Path, metavar="FILE", help="a dashboard body, or the JSON of get-dashboard")
    command.add_argument("--dashboard", default="overview", metavar="NAME", help="one of our own (default: overview)")
    command.add_argument("--format", choices=("html", "png"), default="html")
    command.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: NAME.html)")
    add_alarms(command)
    command.set_defaults(run=_preview, own=own)


def _preview(options: argparse.Namespace) -> int:
    from dashboards.preview.render import preview, view_of  # noqa: PLC0415  an extra of the package, and heavy

    own: OwnDashboards = options.own
    body = options.body or own.dashboards.get(options.dashboard)
    if body is None:
        raise DefinitionError(
            f"there is no dashboard {options.dashboard}; there are {', '.join(sorted(own.dashboards))}"
        )
    out = options.out or Path(f"{body.stem}.{options.format}")
    runbooks = {path.stem: path.read_text("utf-8") for folder in own.runbooks for path in sorted(folder.glob("*.md"))}
    definitions, namespace = chosen(options)
    view = view_of(options.telemetry, without_bands(definitions.alarms), namespace)
    missing = preview(body, view, runbooks, out, options.format)
    for reason in missing:
        say(f"not drawn: {reason}", sys.stderr)
    say(f"{out.resolve()} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0
