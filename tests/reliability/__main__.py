"""Try every promise at full count and write docs/reliability.md: `python -m tests.reliability [GROUP...]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.page import written
from tests.reliability.plugin import Chosen, Tally
from tests.reliability.promises import GROUPS, PROMISES

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="[default: 2]")
    options = parser.parse_args(arguments)
    promises = tuple(each for each in PROMISES if each.group in (options.groups or GROUPS))
    if not promises:
        parser.error(f"there is no group of that name; there are {', '.join(GROUPS)}")
    tally = Tally(promises)
    files = dict.fromkeys(test.partition("::")[0] for each in promises for test in each.tests)
    processes = ["-n", str(options.processes), "--dist", "worksteal"] if options.processes > 1 else []
    status = pytest.main(["-q", *processes, *files], plugins=[tally, Chosen(promises)])
    page = PAGE.read_text() if PAGE.exists() else ""
    PAGE.write_text(written(page, tally.counts, _where()))
    for promise, count in tally.counts.items():
        for name in (*count.failed, *(f"skipped: {each}" for each in count.skipped)):
            print(f"{promise.says} {name}")
    return int(status)


def _where() -> str:
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, Python {platform.python_version()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
