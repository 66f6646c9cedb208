import copy
import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.alarm_files import read_definitions
from dashboards.cloudwatch.body import with_defaults
from dashboards.cloudwatch.errors import DashboardError
from dashboards.cloudwatch.recording import Recording
from dashboards.cloudwatch.series import Sample, Store
from dashboards.preview.page import render_page
from dashboards.preview.panels import View, table_of
from dashboards.preview.sample import sample_of

SHOP = Path(__file__).parents[1].joinpath("shop")
BODY = json.loads((SHOP / "body.json").read_text())


def recording(minutes=60):
    store = Store()
    for minute in range(minutes):
        for host in "ab":
            store.add(Metric("Shop", "Load", (("Host", host),)), Sample(minute * 60.0, minute % 7))
    return Recording(store, [{"@timestamp": 0.0, "@message": "x", "Host": "a"}])


def view(minutes=60):
    return View(recording(minutes), read_definitions([SHOP / "alarms.json"]).alarms, 0, minutes * 60)


def plots(title, minutes=60):
    panels = {panel.widget.title: panel for panel in view(minutes).panels(BODY)}
    return panels[title]


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = [path for path in places(BODY["widgets"]) if len(path) > 1]
ODD = [None, "", "x", -1, 3, 1e9, True, [], {}, [[]], [None], {"a": 1}, "N/A"]


@given(st.sampled_from(PLACES), st.sampled_from(ODD))
@settings(max_examples=150)
def test_any_widget_is_drawn_or_named(path, value):
    widget = copy.deepcopy(BODY["widgets"][path[0]])
    at = widget
    for key in path[1:-1]:
        at = at[key]
    at[path[-1]] = value
    with suppress(DashboardError):
        page, missing = render_page("t", {"widgets": [widget]}, view(5), {}, str)
        assert page.count('<section class="widget') == 1
        assert ('<aside class="unsupported"' in page) == bool(missing)


def test_every_plot_has_a_name_of_its_own():
    assert [plot.label for plot in plots("Shorthand").plots] == ["Load Average a", "Load Average b"]
    assert [plot.label for plot in plots("Search").plots] == ["Load a", "Load b"]


def test_each_line_is_shown_at_its_own_period_and_only_a_long_recording_at_a_longer_one():
    of_a = ["Shop", "Load", "Host", "a"]
    lines = [[*of_a, {"period": 60, "id": "m1"}], [*of_a, {"period": 300, "id": "m2"}], [{"expression": "m1 + m2"}]]
    (panel,) = view(20).panels({"widgets": [{"type": "metric", "properties": {"stat": "Sum", "metrics": lines}}]})
    minute, five, both = panel.plots
    assert (minute.grid.step_s, five.grid.step_s, both.grid.step_s) == (60, 300, 300)
    assert minute.values[:5] == (0, 1, 2, 3, 4)
    assert five.values == (10, 14, 18, 15)
    assert both.values == (20, 28, 36, 30)
    assert plots("Shorthand", 60 * 24 * 7).plots[0].grid.length <= 360


def test_without_telemetry_the_data_are_made_up_and_the_same_every_time():
    body = {"widgets": [{"type": "metric", "properties": {"metrics": [["Shop", "Load"]]}}]}
    made, again = (sample_of(body, 1_800_000_000).store for _ in range(2))
    assert made == again
    shown = View(sample_of(body, 10_800), {}, 0, 10_800, sample=True)
    page, missing = render_page("t", body, shown, {}, str)
    assert missing == []
    assert "sample data: no telemetry was given" in page
    assert "1970-01-01 03:00:00 UTC, sample" in page


def test_a_marker_outside_of_what_is_shown_is_left_out_and_a_band_is_cut():
    def drawn(*vertical):
        properties = {"metrics": [["Shop", "Load", "Host", "a"]], "annotations": {"vertical": list(vertical)}}
        page, missing = render_page("t", {"widgets": [{"type": "metric", "properties": properties}]}, view(5), {}, str)
        assert missing == []
        return re.search(r'id="specs">(.*?)</script>', page)[1]

    inside, outside = {"value": "1970-01-01T00:01:00Z"}, {"value": "1971-01-01T00:00:00Z"}
    assert "60000" in drawn(inside)
    assert "31536000000" not in drawn(outside)
    assert "31536000000" not in drawn([inside, outside])


def test_maths_and_alarms_of_a_widget_are_evaluated():
    doubled = {plot.label: plot.values for plot in plots("Two axes").plots}
    assert doubled["twice"] == tuple(2 * value for value in doubled["Load Average a"])
    assert dict(plots("States").states) == {"busy": "OK", "both": "OK"}
    assert plots("Alarm").thresholds == (("> 90", 90.0),)
    assert plots("Shorthand").alarms == ("busy",)


def shown(kind, **properties):
    (panel,) = view().panels({"widgets": [{"type": kind, "properties": properties}]})
    return panel


def test_what_cannot_be_drawn_of_a_widget_leaves_the_rest_whole():
    of_a, of_b = (["Shop", "Load", "Host", host] for host in "ab")
    panel = shown("metric", metrics=[of_a, [*of_b, {"stat": "zz90"}], [{"expression": "SELECT 1", "id": "q"}]])
    assert [plot.label for plot in panel.plots] == ["Load Average"]
    assert [reason.partition(":")[0] for reason in panel.unsupported] == ["Load zz90", "q"]
    panel = shown("alarm", alarms=["busy", "nobody"])
    assert dict(panel.states) == {"busy": "OK"}
    assert panel.unsupported == ("no alarm nobody among those given; name their file with --alarms",)


def test_an_expression_may_stand_before_its_metric():
    load = ["Shop", "Load", "Host", "a", {"id": "m1"}]
    panel = shown("metric", metrics=[[{"expression": "2 * m1", "label": "twice"}], load])
    assert [plot.label for plot in panel.plots] == ["twice", "Load Average"]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("${LAST} of ${MAX}", "3 of 6"),
        ("${PROP('Dim.Host')} ${PROP('MetricName')} ${PROP('Stat')}", "a Load Maximum"),
        ("average ${AVG}", "average 2.90"),
        ("${OTHER}", "${OTHER}"),
    ],
)
def test_a_label_tells_of_its_series(label, text):
    metric = ["Shop", "Load", "Host", "a", {"label": label, "stat": "Maximum", "period": 60}]
    (plot,) = shown("metric", metrics=[metric]).plots
    assert plot.label == text


def test_a_query_is_drawn_as_its_view_asks():
    assert shown("log", query="fields @message", view="table").rows
    binned = shown("log", query="stats count(*) as n by bin(1m)", view="table")
    assert table_of(binned.rows) == (("bin(1m)", "n"), [("1970-01-01 00:00:00", "1")])
    (plot,) = shown("log", query="stats count(*) as n by bin(1m)", view="timeSeries").plots
    assert (plot.label, plot.values[0], plot.values[1]) == ("n", 1, None)
    (plot,) = shown("log", query="stats count(*) as n by bin(1m) as t, Host", view="timeSeries").plots
    assert (plot.label, plot.values[0]) == ("n a", 1)
    binned = shown("log", query="stats count(*) as n by bin(1m) as t")
    assert table_of(binned.rows) == (("t", "n"), [("1970-01-01 00:00:00", "1")])
    (plot,) = shown("log", query="stats count(*) as n by bin(1m)", view="pie").plots
    assert (plot.label, plot.values) == ("1970-01-01 00:00:00", (1,))
    (plot,) = shown("log", query="stats count(*) as n by Host", view="bar").plots
    assert (plot.label, plot.values) == ("a", (1.0,))


def test_variables_take_their_default_values():
    widget = {
        "type": "metric",
        "properties": {"region": "r", "metrics": [["N", "m", "Host", "a", {"region": "r"}]], "title": "T of X"},
    }
    variables = [
        {"type": "property", "property": "Host", "defaultValue": "b"},
        {"type": "property", "property": "region", "defaultValue": "s"},
        {"type": "pattern", "pattern": "X", "defaultValue": "Y"},
        {"type": "property", "property": "title"},
    ]
    (shown,) = with_defaults({"widgets": [widget], "variables": variables})["widgets"]
    assert shown["properties"] == {
        "region": "s",
        "metrics": [["N", "m", "Host", "b", {"region": "s"}]],
        "title": "T of Y",
    }
