"""The command line, `packager`, and what it says when its own packages are missing."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the console script; says what to install when the command line's own packages are missing."""
    from packager.cli.signals import end_at_once_on_signals  # noqa: PLC0415  before what takes its time to load

    end_at_once_on_signals()
    try:
        from packager.cli.commands import packager  # noqa: PLC0415  click and rich are an extra
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit(f"The command line needs {error.name}. Install the package with its extra `cli`.")
    if "_PACKAGER_COMPLETE" in os.environ:
        from packager.cli.completion import register  # noqa: PLC0415  few runs complete anything

        register()
    from packager.cli.output import written  # noqa: PLC0415  it needs click

    with written():  # click prints help, versions and completions itself
        packager()
