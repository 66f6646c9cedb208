import json
from dataclasses import replace

import pytest

from dashboards import cli
from dashboards.cloudwatch.alarm import Comparison, CompositeAlarm, Metric, MetricAlarm, Query
from dashboards.drills import faults, report
from dashboards.drills.function import DrillError, FunctionRun
from dashboards.drills.judging import assess, due_s, run_all
from dashboards.drills.table import DRILLS
from dashboards.product.specs import Catalog
from telemetry.watch import OURS

NAMES = [drill.name for drill in DRILLS]


def test_every_fault_sets_off_its_alarms_alone_calls_one_person_once_and_is_found_by_the_runbooks_first_query():
    outcomes = run_all(DRILLS)
    assert [report.shown(outcome) for outcome in outcomes if outcome.failures] == []
    healthy, *faulty = outcomes
    assert healthy.fired == ()
    # AWS's own metrics are not recorded here.
    own = {alarm.name for alarm in Catalog().alarms if all(each.namespace == OURS for each in alarm.signals)}
    assert not own & set(healthy.unseen) - {"storage-filling", "probe-failing", "audit-failing", "publishing-failing"}
    called = {outcome.drill: sum(each.called for each in outcome.fired) for outcome in faulty}
    assert called == {drill.name: int(bool(drill.calls)) for drill in DRILLS[1:]}


def test_every_drill_speaks_of_alarms_that_exist():
    known = {alarm.name for alarm in Catalog().everything}
    assert [
        name for drill in DRILLS for name in {*drill.fires, *filter(None, [drill.calls]), *drill.finds} - known
    ] == []


def test_what_a_drill_expects_in_vain_and_what_it_does_not_expect_is_named(tmp_path):
    drill = next(drill for drill in DRILLS if drill.name == "no-time")
    wrong = replace(
        drill,
        fires=(*(name for name in drill.fires if name != "limits-near"), "storage-critical"),
        calls="service-failure",
        finds={"service-failure": ("error", "No space left")},
    )
    outcome = assess(wrong, drill.inject(tmp_path))
    assert outcome.failures == (
        "storage-critical stayed silent",
        "limits-near fired, which this fault is no reason for",
        "service-failure called nobody",
        "packaging-impaired called somebody, which is not its turn",
        "the query of service-failure does not show 'No space left' in error",
    )
    assert "FAILED   storage-critical stayed silent" in report.shown(outcome)
    assert "FAILED (5)" in report.summary([outcome])


def test_a_composite_is_due_when_the_children_that_fire_allow_it():
    def alarm(name, period_s):
        query = Query("m", Metric("N", "M", ()), "Sum")
        return MetricAlarm(name, (query,), "m", period_s, 3, 2, 1, Comparison.GREATER_OR_EQUAL)

    alarms = {
        "quick": alarm("quick", 60),
        "slow": alarm("slow", 300),
        "either": CompositeAlarm("either", "ALARM(quick) OR ALARM(slow)"),
        "both": CompositeAlarm("both", "ALARM(quick) AND ALARM(slow)"),
    }
    assert due_s(alarms, "slow", {"slow"}) == 600
    assert due_s(alarms, "either", {"quick", "slow"}) == 120
    assert due_s(alarms, "either", {"slow"}) == 600
    assert due_s(alarms, "both", {"quick", "slow"}) == 600
    assert due_s(alarms, "both", {"quick"}) == float("inf")


def test_where_nothing_may_be_mounted_the_small_disk_is_a_folder_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(faults.shutil, "which", lambda _: None)
    drill = next(drill for drill in DRILLS if drill.name == "small-disk")
    outcome = assess(drill, drill.inject(tmp_path))
    assert outcome.failures == ()
    assert outcome.fault.startswith("nothing may be mounted here")


def test_a_function_that_cannot_run_is_an_error_with_its_last_words():
    with pytest.raises(DrillError, match="ended with 1: its last words"):
        FunctionRun([], inside=["sh", "-c", "echo its last words >&2; exit 1"]).recorded()
    with pytest.raises(DrillError, match="recorded nothing"):
        FunctionRun([]).recorded()


def test_the_command_lists_drills_prints_json_and_fails_with_a_drill(capsys, monkeypatch):
    assert cli.main(["drill", "--list"]) == 0
    assert capsys.readouterr().out.split() == NAMES
    assert cli.main(["drill", "no-time", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["drill"], outcome["failures"]) == ("no-time", [])
    monkeypatch.setattr(faults, "FunctionRun", lambda events, **_: FunctionRun(events))
    assert cli.main(["drill", "no-time"]) == 1
    assert "FAILED   time-nearly-up stayed silent" in capsys.readouterr().out
    assert cli.main(["drill", "no-such"]) == 2
    assert "there is no drill no-such; there are healthy" in capsys.readouterr().err
