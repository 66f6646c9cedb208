"""The page that says what was promised, how often it was tried, and how often it held."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.reliability.promises import PROMISES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.reliability.plugin import Count
    from tests.reliability.promises import Promise

HEAD = """# Reliability

What holds under attack, faults, kills and load, and how often it was tried. `make reliability` runs all of it, one
group after another, and writes this page from that run; the command of a row runs the group of that row again and
writes its rows. Each row says of which commit its numbers are, and how long its group took. What is skipped needs a
program that is not installed.

| promise | tried | held | skipped | when, of which commit, where | command |
|---|---|---|---|---|---|
"""
NOT_RUN = "not run"
_ROW = re.compile(r"^\| (.*?) \| (\d+) \| (\d+) \| (\d+) \| (.*?) \| `(.*?)` \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says of one promise."""

    says: str
    tried: int
    held: int
    skipped: int
    where: str
    command: str

    def __str__(self) -> str:
        return f"| {self.says} | {self.tried} | {self.held} | {self.skipped} | {self.where} | `{self.command}` |"


def command(promise: Promise) -> str:
    return f".venv/bin/python -m tests.reliability {promise.group}"


def rows_of(page: str) -> dict[str, Row]:
    """The rows of a page by promise."""
    found = (
        Row(says, int(tried), int(held), int(skipped), *rest) for says, tried, held, skipped, *rest in _cells(page)
    )
    return {row.says: row for row in found}


def _cells(page: str) -> list[tuple[str, ...]]:
    return _ROW.findall(page)


def of_commit(page: str, group: str, commit: str) -> bool:
    """Whether every row of a group says that it is of this commit, of which nothing was changed."""
    rows = rows_of(page)
    names = [each.says for each in PROMISES if each.group == group]
    return all(name in rows and f" {commit}," in rows[name].where for name in names)


def written(page: str, counts: Mapping[Promise, Count], where: str) -> str:
    """The page with the rows of `counts` new and the others as `page` has them."""
    rows = rows_of(page)
    for promise, count in counts.items():
        longest = f"; the longest took {count.longest_s:.1f} s" if count.longest_s else ""
        said = Row(promise.says, count.tried, count.held, len(count.skipped), where + longest, command(promise))
        rows[promise.says] = said
    missing = {each.says: Row(each.says, 0, 0, 0, NOT_RUN, command(each)) for each in PROMISES}
    return HEAD + "".join(f"{rows.get(says, row)}\n" for says, row in missing.items())
