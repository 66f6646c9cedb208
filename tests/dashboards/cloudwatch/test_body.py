import pytest

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.body import lines, problems, widgets
from dashboards.cloudwatch.errors import DefinitionError


def metrics(*entries):
    return [line.metric for line in lines({"metrics": entries})]


def test_the_shorthand_of_metrics_is_written_out():
    found = metrics(
        ["AWS/EC2", "Read", "Host", "a", "Disk", "x"],
        [".", "Write", ".", ".", ".", "y"],
        ["...", "z"],
        ["...", "b", ".", "x", {"label": "b"}],
        ["AWS/EC2", "Read"],
    )
    assert found == [
        Metric("AWS/EC2", "Read", (("Disk", "x"), ("Host", "a"))),
        Metric("AWS/EC2", "Write", (("Disk", "y"), ("Host", "a"))),
        Metric("AWS/EC2", "Write", (("Disk", "z"), ("Host", "a"))),
        Metric("AWS/EC2", "Write", (("Disk", "x"), ("Host", "b"))),
        Metric("AWS/EC2", "Read"),
    ]


def test_an_expression_between_metrics_does_not_disturb_the_shorthand():
    assert metrics(["N", "a"], [{"expression": "m1"}], [".", "b"]) == [Metric("N", "a"), None, Metric("N", "b")]


@pytest.mark.parametrize("entry", [["N"], ["N", "a", "Host"], [".", ".", ".", "x"], []])
def test_a_metric_that_cannot_be_read_is_an_error(entry):
    with pytest.raises(DefinitionError):
        metrics(entry)


def test_what_a_line_does_not_say_comes_from_its_widget():
    (line,) = lines({"metrics": [["N", "a", {"yAxis": "right"}]], "stat": "p90", "period": 60})
    assert (line.statistic, line.period_s, line.axis, line.label) == ("p90", 60, "right", "a p90")


def test_widgets_without_a_place_flow_from_left_to_right():
    placed = widgets({"widgets": [{"type": "text", "width": 10}] * 3 + [{"type": "text", "x": 3, "y": 20}]})
    assert [(widget.x, widget.y) for widget in placed] == [(0, 0), (10, 0), (0, 6), (3, 20)]


METRIC = {"type": "metric", "x": 0, "y": 0, "width": 6, "height": 6}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ([{**METRIC, "properties": {"region": "r", "metrics": [["N", "a"]]}}], None),
        ([{**METRIC, "properties": {"metrics": [["N", "a"]]}}], "'region' is missing"),
        ([{**METRIC, "properties": {"region": "r"}}], "neither metrics nor an alarm"),
        ([{**METRIC, "properties": {"region": "r", "metrics": [["N", "a"]], "view": "map"}}], "view 'map'"),
        ([{**METRIC, "properties": {"region": "r", "metrics": [["N", "a"]], "view": "gauge"}}], "gauge needs"),
        ([{**METRIC, "properties": {"region": "r", "metrics": [["N", "a", {"period": 45}]]}}], "period 45"),
        ([{**METRIC, "properties": {"region": "r", "metrics": [["N", "a", {"id": "M"}]]}}], "id 'M'"),
        (
            [{**METRIC, "properties": {"region": "r", "metrics": [["N", "a", {"id": "m"}], ["N", "b", {"id": "m"}]]}}],
            "more than once",
        ),
        (
            [{"type": "text", "x": 20, "y": 0, "width": 6, "height": 1, "properties": {"markdown": ""}}],
            "columns 20 to 26",
        ),
        ([{"type": "text", "x": 0, "y": 0, "height": 0, "properties": {"markdown": ""}}], "height 0"),
        ([{"type": "text", "properties": {}}], "'markdown' is missing"),
        ([{"type": "map"}], "type 'map'"),
        ([{"type": "text", "x": x, "y": 0, "properties": {"markdown": ""}} for x in (0, 5)], "stands on widget 1"),
        ([{"type": "text", "properties": {"markdown": ""}}] * 501, "501 widgets"),
    ],
)
def test_what_cloudwatch_would_refuse_is_named(entries, named):
    found = list(problems({"widgets": entries}))
    assert any(named in problem for problem in found) if named else found == []


def test_variables_are_checked_too():
    variables = [
        {"id": "a b", "type": "property", "inputType": "select"},
        {"id": "x", "type": "t", "inputType": "input"},
    ]
    found = list(problems({"widgets": [], "variables": variables}))
    assert [problem.split(":")[0] for problem in found] == ["variable 'a b'", "variable a b", "variable x"]
