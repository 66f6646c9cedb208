from functools import cache

import pytest
import yaml

from dashboards import cli
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.drills import matrix
from dashboards.drills.matrix import TRAFFIC, cell, rows, wrong
from dashboards.drills.weeks import WEEKS, lived
from dashboards.places import MATRIX

ROWS = {row.name: row for row in rows()}
QUICK = (
    "roles table refused",
    "one damaged upload",
    "audit log refused",
)
"""Faults of each kind: the others are simulated by `make soak` and `dashboards matrix`."""


def test_there_are_forty_classes_of_faults_at_four_kinds_of_traffic():
    assert len(ROWS) >= 40
    assert set(TRAFFIC) == {"1/day", "10/day", "1/minute", "burst"}
    assert all(row.what for row in ROWS.values())
    assert len(ROWS) == len(rows())


@cache
def cells(name):
    """What becomes of a fault at every traffic."""
    return [cell(ROWS[name], traffic) for traffic in TRAFFIC]


@pytest.mark.parametrize("name", QUICK)
def test_a_fault_calls_those_that_it_has_to_in_time_and_nobody_else(name):
    assert wrong(ROWS[name], cells(name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ROWS.keys() - set(QUICK)))
def test_every_other_fault_calls_those_that_it_has_to_in_time(name):
    assert wrong(ROWS[name], cells(name)) == []


def test_an_outage_pages_within_half_an_hour_at_any_traffic_once():
    for each in cells("roles table refused"):
        (calls,) = each.called_s.values()
        assert len(calls) == 1
        assert calls[0] <= 1800


@pytest.mark.parametrize("week", WEEKS[:8:4], ids=lambda week: f"{week.a_day} a day, {week.bad:.0%} bad")
def test_a_healthy_week_wakes_nobody_and_opens_one_ticket_at_most(week):
    called = lived(week)
    assert (called.pages, len(called.tickets) <= 1) == ((), True)


@pytest.mark.slow
@pytest.mark.parametrize("week", WEEKS, ids=lambda week: f"{week.a_day} a day, {week.bad:.0%} bad, {week.seed}")
def test_each_of_twelve_healthy_weeks_wakes_nobody(week):
    called = lived(week)
    assert (called.pages, len(called.tickets) <= 1) == ((), True)


def test_the_weeks_are_twelve_with_two_to_fifteen_percent_of_bad_uploads():
    assert len(WEEKS) == 12
    assert {week.bad for week in WEEKS} >= {0.02, 0.15}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"does": {"request": "no such"}}, "it breaks: there is no outcome 'no such'"),
        ({"does": {"request": {"Nothing": 1}}}, "it breaks: there is no series Nothing"),
        ({"does": {"requests": {}}}, "it breaks: nothing is called requests in `does`"),
        ({"does": {}, "call": {}}, "it breaks: nothing is called call"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_named(tmp_path, entry, message):
    path = tmp_path / "faults.yaml"
    path.write_text(yaml.safe_dump({"faults": [{"name": "it breaks", "what": "so", **entry}]}))
    with pytest.raises(DefinitionError, match=message):
        rows(path)


def test_a_call_too_late_too_often_or_by_nobody_who_should_is_named():
    row = ROWS["one damaged upload"]
    found = matrix.Cell(row.name, "1/day", {"packaging-broken": (60, 120)}, {"probe-failing": 60})
    assert [*matrix.judged(row, found)] == [
        "one damaged upload at 1/day: packaging-broken calls after 60 s, and should not"
    ]
    outage = ROWS["roles table refused"]
    late = matrix.Cell(outage.name, "1/day", {"packaging-broken": (9000, 9060)})
    assert next(iter(matrix.judged(outage, late))).endswith("calls after 9000 s, not within 1800 s")
    assert next(iter(matrix.judged(outage, matrix.Cell(outage.name, "1/day")))).endswith(
        "packaging-broken calls nobody"
    )


def test_the_command_runs_named_faults_and_prints_the_table(capsys):
    assert cli.main(["matrix", "one probe fails"]) == 0
    assert capsys.readouterr().out == "passed  one probe fails\n"
    assert cli.main(["matrix", "--markdown", "one probe fails"]) == 0
    assert "| one probe fails | nobody | nobody | nobody | nobody |" in capsys.readouterr().out
    assert cli.main(["matrix", "no such"]) == 2
    assert "there is no fault no such" in capsys.readouterr().err


def test_the_page_for_the_engineer_on_call_shows_every_fault_with_whom_it_calls():
    page = (MATRIX.parents[3] / "docs" / "on-call.md").read_text("utf-8")
    shown = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    for row in ROWS.values():
        line = shown[row.name]
        cells = [each.strip() for each in line.split("|")[2:6]]
        for traffic, text in zip(TRAFFIC, cells, strict=True):
            assert {word for word in text.replace(",", "").split() if "-" in word} == set(row.calls[traffic]), line
