"""The simulated day: what an engineer on call sees of it answers what is broken, since when, and for whom."""

import time

import pytest

from dashboards import cli
from dashboards.cloudwatch import insights
from dashboards.cloudwatch.alarm_files import parse_alarms
from dashboards.drills import day as days
from dashboards.drills import faults
from dashboards.preview.panels import View
from dashboards.product.specs import Catalog, alarm_parameters
from telemetry.watch import first_steps


@pytest.fixture(scope="module")
def day():
    return days.simulated(int(time.time()), bad=faults.no_time)


@pytest.fixture(scope="module")
def panels(day):
    alarms = parse_alarms(alarm_parameters(Catalog()), "the catalog")
    view = View(day.recording, alarms, day.start_s, day.end_s)
    return {panel.widget.title: panel for panel in view.panels(day.body())}


def test_the_page_says_that_it_is_simulated_and_at_its_end_what_the_fault_was(day):
    first, *_, last = (each["properties"].get("markdown", "") for each in day.body()["widgets"])
    assert first.startswith("**Simulated.**")
    assert day.fault not in first
    assert last.startswith("**The answer.**")
    assert day.fault in last


def test_a_missing_log_group_takes_every_line_and_metric_of_ours_from_then_on():
    day = days.simulated(int(time.time()), bad=faults.no_log_group)
    assert max(line["@timestamp"] for line in day.recording.lines) < day.fault_s
    lines = View(day.recording, parse_alarms(alarm_parameters(Catalog()), "the catalog"), day.start_s, day.end_s)
    names = {name for name, line in lines.timelines.items() if line.fired}
    assert names >= {f"edge-model-packager-prod-{name}" for name in ("metrics-missing", "probe-failing")}


def test_the_first_row_tells_since_when_it_fails_and_for_whom(day, panels):
    (row,) = panels["Failed by the service: since when, and who is hurt"].rows
    assert row["usecase_id"] == "warehouse"
    assert day.fault_s <= row["since"] < row["last"] < day.end_s
    hour, whole = (panels[f"Working, last {span} (%)"].plots[0].values[-1] for span in ("hour", "day"))
    assert 0 < hour < whole < 100


def test_what_names_the_cause_is_in_alarm_and_nothing_was_before_the_fault(day, panels):
    states = dict(panels["In alarm: what names the cause"].states)
    assert "edge-model-packager-prod-service-failure" in states
    alarms = parse_alarms(alarm_parameters(Catalog()), "the catalog")
    lines = View(day.recording, alarms, day.start_s, day.end_s).timelines
    assert [name for name, line in lines.items() if any(each.time_s < day.fault_s for each in line.fired)] == []


def test_no_chart_of_the_first_page_is_empty(panels):
    for title, panel in panels.items():
        assert not panel.unsupported, title
        if panel.widget.type == "metric" and panel.widget.properties["view"] == "timeSeries":
            assert any(value is not None for plot in panel.plots for value in plot.values), title


@pytest.mark.parametrize("query", [first_steps.TOP_USE_CASES, first_steps.TOP_TARGETS, first_steps.TOP_ERRORS])
def test_the_tables_name_what_failed_most_with_whose_failure_it_is(day, query):
    first = insights.query(query, day.recording.lines)[0]
    assert first["fault"] == "service"
    assert first["requests"] >= 2


def test_the_command_draws_it(tmp_path, monkeypatch, capsys, day):
    monkeypatch.setattr(days, "simulated", lambda *_, **__: day)
    assert cli.main(["day", "--out", str(tmp_path / "day.html")]) == 0
    assert "Simulated" in (tmp_path / "day.html").read_text("utf-8")
    assert "a simulated day" in capsys.readouterr().out
    assert cli.main(["day", "no-time", "no-log-group", "--out", str(tmp_path / "days")]) == 0
    assert sorted(path.name for path in (tmp_path / "days").iterdir()) == ["no-log-group.html", "no-time.html"]
    assert cli.main(["day", "no-such"]) == 2
    assert "there is no drill no-such; there are small-disk" in capsys.readouterr().err
