"""Metric math against the examples of its documentation, and against Python on random series.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.errors import DashboardError, DefinitionError, UnsupportedError
from dashboards.cloudwatch.expressions import parse_expression
from dashboards.cloudwatch.metric_functions import Scope, Series
from dashboards.cloudwatch.metric_math import resolve

_ = None


def calculated(text, *, alarm=False, **series):
    length = len(next(iter(series.values())))
    metrics = {name: Series(values, name) for name, values in series.items()}
    scope = Scope(range(0, 60 * length, 60), 60, metrics, dict(metrics), alarm=alarm)
    return [found.values for found in resolve({"e": text}, scope)["e"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metric1 < metric2", [0, 0, 1, 0]),
        ("metric1 >= 30", [1, 0, 0, 0]),
        ("metric1 > 15 AND metric2 > 15", [1, 0, 0, 0]),
        ("metric1 > 15 && metric2 > 15 || metric1 == 0", [1, 0, 1, 1]),
        ("metric1 - metric2", [10, 20, -20, 0]),
        ("metric2 / metric1", [20 / 30, 0, _, _]),
        ("-metric1 ^ 2 + 1", [-899, -399, 1, 1]),
        ("2 ^ 3 * metric1 / PERIOD(metric1)", [4, 8 * 20 / 60, 0, 0]),
        ("FILL(metric2, 7)", [20, 7, 20, 7]),
        ("FILL(metric2, REPEAT)", [20, 20, 20, 20]),
        ("FILL(metric2, LINEAR)", [20, 20, 20, _]),
        ("FILL(metric2, metric1)", [20, 20, 20, 0]),
        ("SUM(METRICS())", [50, 20, 20, 0]),
        ('MAX(METRICS("1"))', [30, 20, 0, 0]),
        ("AVG([metric1, metric2])", [25, 10, 10, 0]),
        ("MIN([metric1, metric2])", [20, 20, 0, 0]),
        ("STDDEV([metric1, metric2])", [5, 0, 10, 0]),
        ("DATAPOINT_COUNT(METRICS())", [2, 1, 2, 1]),
        ("metric1 - AVG(metric1)", [17.5, 7.5, -12.5, -12.5]),
        ("ABS(CEIL(metric1 / 7) - FLOOR(metric1 / 7))", [1, 1, 0, 0]),
        ("DIFF(metric1)", [_, -10, -20, 0]),
        ("DIFF(metric2)", [_, _, 0, _]),
        ("DIFF_TIME(metric2)", [_, _, 120, _]),
        ("RATE(metric1) * 60", [_, -10, -20, 0]),
        ("TIME_SERIES(MAX(metric1))", [30, 30, 30, 30]),
        ("metric1 / METRIC_COUNT(METRICS())", [15, 10, 0, 0]),
        ("FIRST(SORT(METRICS(), SUM, ASC))", [20, _, 20, _]),
        ("SLICE(SORT(METRICS(), SUM, DESC), 1)", [20, _, 20, _]),
        ("MINUTE(metric1) + HOUR(metric1)", [0, 1, 2, 3]),
        ("IF(DAY(metric1) < 6, 1)", [1, 1, 1, 1]),
        ("RUNNING_SUM(metric2)", [20, 20, 40, 40]),
        ("LOG10(metric1 * 10 / 3)", [2, pytest.approx(1.8239, abs=1e-4), _, _]),
    ],
)
def test_functions_do_what_their_documentation_says(text, expected):
    assert calculated(text, metric1=[30, 20, 0, 0], metric2=[20, _, 20, _])[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IF(a, b, c)", [30, 0, 20, _, _]),
        ("IF(a, 5, c)", [5, 5, 20, _, _]),
        ("IF(a, b, 5)", [30, 0, 5, 5, _]),
        ("IF(a, b)", [30, 0, _, _, _]),
        ("IF(1, b, c)", [30, _, 0, 0, 30]),
        ("IF(0, b)", [_, _, _, _, _]),
    ],
)
def test_if_follows_the_published_tables(text, expected):
    assert calculated(text, a=[1, 1, 0, 0, _], b=[30, _, 0, 0, 30], c=[0, 0, 20, _, 20]) == [expected]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ANOMALY_DETECTION_BAND(m, 2)", "ANOMALY_DETECTION_BAND"),
        ("SERVICE_QUOTA(m)", "SERVICE_QUOTA"),
        ("NOVELTY(m)", "NOVELTY"),
        ("SELECT MAX(CPUUtilization) FROM x", "Metrics Insights"),
        ("SEARCH('{AWS/EC2} x', 'Sum')", "SEARCH"),
        ("m / SUM(m)", "SUM of one series"),
        ("RUNNING_SUM(m)", "RUNNING_SUM"),
        ("FILL(m, LINEAR)", "LINEAR"),
    ],
)
def test_what_an_alarm_cannot_have_evaluated_here_is_named(text, named):
    with pytest.raises(UnsupportedError, match=named):
        calculated(text, alarm=True, m=[1])


@pytest.mark.parametrize(
    "text", ["", "m +", "m m", "(m", "[m", "m &", "ABS(m, m)", "ABS(1)", "5", "x", "METRICS() * METRICS()"]
)
def test_a_wrong_expression_is_an_error_of_ours(text):
    with pytest.raises(DefinitionError):
        calculated(text, m=[1.0])


def test_expressions_may_build_on_each_other_but_not_in_a_circle():
    metrics = {"m": Series([1.0, 2.0])}
    scope = Scope(range(0, 120, 60), 60, metrics=metrics, values=metrics)
    assert resolve({"e2": "e1 * 2", "e1": "m + 1"}, scope)["e2"][0].values == [4, 6]
    with pytest.raises(DefinitionError, match="e1 -> e2 -> e1"):
        resolve({"e1": "e2", "e2": "e1"}, scope)


@given(st.text("ABS(m)+-*/<=1. ,[]'\"&|IF", max_size=30))
def test_any_text_is_an_expression_or_an_error_of_ours(text):
    with suppress(DashboardError):
        calculated(text, m=[1.0, None])


def leaves(node):
    """The names and numbers of an expression, from left to right."""
    kind, children, text = node
    return [text] if kind in {"name", "number"} else [leaf for child in children for leaf in leaves(child)]


operands = st.sampled_from(["m", "m1", "errors", "7", "0.5"])
groups = st.recursive(
    operands,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", " - ", "*", "/ "]), inner).map("".join),
        inner.map("({})".format),
        inner.map("-({})".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"SUM([{', '.join(each)}])"),
    ),
    max_leaves=8,
)


@given(groups)
def test_every_name_and_number_of_an_expression_is_in_its_tree_in_order(text):
    written = re.findall(r"[a-z]\w*|[\d.]+", text)
    assert leaves(parse_expression(text)) == [float(each) if each[0].isdigit() else each for each in written]


@given(groups, st.sampled_from(["m m", ")", "(", "(m", "[", ",", "+", "m("]))
def test_an_expression_with_something_left_over_is_refused(text, more):
    with pytest.raises(DashboardError):
        parse_expression(f"{text} {more}")


values = st.lists(st.one_of(st.none(), st.integers(-1000, 1000).map(float)), min_size=5, max_size=5)


@given(values, values)
def test_the_sum_of_an_array_is_the_sum_of_its_series(a, b):
    assert calculated("SUM([a, b])", a=a, b=b) == calculated("a + b", a=a, b=b)
