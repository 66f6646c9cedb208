import copy
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.alarm_files import read_definitions
from dashboards.cloudwatch.body import with_defaults
from dashboards.cloudwatch.errors import DashboardError, UnsupportedError
from dashboards.cloudwatch.recording import Recording
from dashboards.cloudwatch.series import Grid, Sample, Store
from dashboards.preview.page import render_page
from dashboards.preview.panels import View, search, table_of

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


def test_a_short_recording_is_shown_in_short_periods_and_a_long_one_in_long_ones():
    assert plots("Shorthand", 5).grid.step_s == 10
    assert plots("Shorthand").grid.step_s == 60
    assert plots("Shorthand", 60 * 24 * 7).grid.length <= 360


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
    (plot,) = shown("log", query="stats count(*) as n by Host", view="bar").plots
    assert (plot.label, plot.values) == ("a", (1.0,))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{Shop,Host} MetricName="Load"', ["Load a", "Load b"]),
        ('{Shop,Host} MetricName="Load" Host="b"', ["Load b"]),
        ("{Shop,Host} load", ["Load a", "Load b"]),
        ('{Shop} MetricName="Load"', []),
        ('{Shop,Host} MetricName="Other"', []),
    ],
)
def test_a_search_finds_what_its_terms_say(text, labels):
    assert [found.label for found in search(recording().store, Grid(0, 60, 60), text, "Sum", 60)] == labels


def test_a_search_that_is_not_evaluated_is_named():
    with pytest.raises(UnsupportedError, match="only a schema"):
        search(Store(), Grid(0, 60, 1), "{Shop,Host} (a OR b)", "Sum", 60)


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
