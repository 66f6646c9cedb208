"""Try every promise at full count and write docs/reliability.md: `python -m tests.reliability [GROUP...]`.

The page is written after each group. `--missing` leaves out the groups whose rows are of this very commit already.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.page import of_commit, written
from tests.reliability.plugin import Chosen, Tally
from tests.reliability.promises import GROUPS, PROMISES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="[default: 2]")
    parser.add_argument("--missing", action="store_true", help="leave out what was run of this commit")
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    groups = [each for each in GROUPS if each in (options.groups or GROUPS)]
    if options.missing:
        groups = [each for each in groups if not of_commit(_page(), each, commit())]
    if len(groups) == 1:
        return run(groups[0], options.processes)
    # A process for each: what one group imports, patches or leaves in memory is nothing to the next.
    command = [sys.executable, "-m", "tests.reliability", "--processes", str(options.processes)]
    return max((subprocess.run([*command, each], check=False).returncode for each in groups), default=0)


def run(group: str, processes: int) -> int:
    """Run one group and write its rows."""
    started = time.monotonic()
    promises = tuple(each for each in PROMISES if each.group == group)
    tally = Tally(promises)
    files = dict.fromkeys(test.partition("::")[0] for each in promises for test in each.tests)
    spread = ["-n", str(processes), "--dist", "worksteal"] if processes > 1 else []
    status = pytest.main(["-q", *spread, *files], plugins=[tally, Chosen(promises)])
    took_s = time.monotonic() - started
    PAGE.write_text(written(_page(), tally.counts, _where(took_s)))
    for promise, count in tally.counts.items():
        for name in (*count.failed, *(f"skipped: {each}" for each in count.skipped)):
            print(f"{promise.says} {name}")
    print(f"{group}: {took_s:.0f} s")
    return int(status)


def commit() -> str:
    """The commit that is checked out, and whether anything but the page differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short=9", "HEAD"], capture_output=True, text=True, check=True)
        changes = [*git, "status", "--porcelain", "--", ":!docs/reliability.md"]
        changed = subprocess.run(changes, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "no commit"
    return f"{name.stdout.strip()}{' and changes' if changed else ''}"


def _page() -> str:
    return PAGE.read_text() if PAGE.exists() else ""


def _where(took_s: float) -> str:
    when = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{when}, {commit()}, Python {platform.python_version()}, {os.cpu_count()} cores, {took_s:.0f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
