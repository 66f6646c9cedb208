"""docs/reliability.md says what the promises say, and what is counted is what tests said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.page import NOT_RUN, command, of_commit, rows_of, written
from tests.reliability.plugin import Count, Tally
from tests.reliability.promises import GROUPS, PROMISES, Promise

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_the_page_has_a_row_for_each_promise_and_no_other():
    assert list(rows_of(PAGE)) == [promise.says for promise in PROMISES]
    assert written(PAGE, {}, "") == PAGE


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.says)
def test_a_row_of_the_page_names_its_command_and_what_was_tried_held(promise):
    row = rows_of(PAGE)[promise.says]
    assert row.command == command(promise)
    assert row.held >= 0.95 * row.tried
    assert (row.tried > 0) == (row.where != NOT_RUN)


def test_every_promise_is_tried_by_a_test_that_is_there_and_every_group_is_run():
    files = sorted({test.partition("::")[0] for promise in PROMISES for test in promise.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for promise in PROMISES:
        for begin in promise.tests:
            assert any(each.startswith(begin) for each in listed), begin
    assert {promise.group for promise in PROMISES} == set(GROUPS)
    assert re.search(
        r"^reliability:.*\n(\t.*\n)*\t.*-m tests\.reliability", (ROOT / "Makefile").read_text(), re.MULTILINE
    )


def test_a_group_is_done_for_a_commit_when_every_row_of_it_says_so():
    whole = written("", {each: Count(1, 1) for each in PROMISES}, "2026-01-01, abc, Python 3.11, 2 cores, 9 s")
    changed = whole.replace("abc", "abc and changes", 1)
    for group in GROUPS:
        assert of_commit(whole, group, "abc")
        assert not of_commit(whole, group, "abd")
        assert of_commit(changed, group, "abc") == (group != PROMISES[0].group)
        assert not of_commit("", group, "abc")


COUNTED = """
import pytest

def test_once():
    pass

def test_many_times(record_property):
    record_property("tried", 200)

def test_most_of_the_time(record_property):
    record_property("tried", 100)
    record_property("held", 97)

def test_that_takes_time(record_property):
    record_property("longest_s", 2.5)

def test_never(record_property):
    record_property("held", 0)

def test_that_fails(record_property):
    record_property("tried", 50)
    assert not "held"

def test_that_is_skipped():
    pytest.skip("not here")

def test_of_no_promise():
    pass
"""


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["one process", "two processes"])
def test_what_is_tried_and_held_is_counted_by_promise(pytester, processes):
    pytester.makepyfile(test_it=COUNTED)
    names = ("once", "many", "most", "that_takes", "never", "that_fails", "that_is_skipped")
    promises = tuple(Promise("group", name, (f"test_it.py::test_{name}",)) for name in names)
    tally = Tally(promises)
    pytester.inline_run("-p", "no:cacheprovider", *processes, plugins=[tally])
    assert list(tally.counts.values()) == [
        Count(1, 1),
        Count(200, 200),
        Count(100, 97),
        Count(1, 1, longest_s=2.5),
        Count(1, 0),
        Count(50, 0, failed=["test_that_fails"]),
        Count(skipped=["test_that_is_skipped"]),
    ]


def test_a_run_of_some_groups_leaves_the_rows_of_the_others():
    first, second = PROMISES[0], PROMISES[-1]
    page = written("", {first: Count(5, 5)}, "yesterday")
    page = written(page, {second: Count(7, 6, longest_s=3.14, skipped=["one"])}, "today")
    rows = rows_of(page)
    assert (rows[first.says].tried, rows[first.says].held, rows[first.says].where) == (5, 5, "yesterday")
    assert (rows[second.says].tried, rows[second.says].held, rows[second.says].skipped) == (7, 6, 1)
    assert {row.where for row in rows.values()} == {"yesterday", "today; the longest took 3.1 s", NOT_RUN}
