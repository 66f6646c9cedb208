"""The fast evaluation against the slow and plain one, over random alarms and series."""

import json
from types import FunctionType

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import CompositeAlarm, Metric, State
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.parameters import metric_alarm
from dashboards.cloudwatch.rules import parse_rule
from dashboards.cloudwatch.series import Sample, Store
from dashboards.cloudwatch.timeline import metric_timeline, run
from tests.dashboards.cloudwatch import reference

BASIC = ("Sum", "Average", "Minimum", "Maximum", "SampleCount")
BOUNDED = (
    "TM(10%:90%)",
    "TM(1:3)",
    "tc90",
    "TC(0:2)",
    "TC(:1)",
    "ts80",
    "TS(1:3)",
    "wm80",
    "WM(1:2)",
    "PR(0:2)",
    "PR(1:)",
)
STATISTICS = (*BASIC, *BASIC, "p50", "p90", "p99", "tm90", "IQM", *BOUNDED)
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
IDS = "abc"


@st.composite
def series(draw, end_s):
    """Samples at any second, some of them seen several times, in no order; long gaps included."""
    moments = st.integers(0, end_s - 1)
    if draw(st.booleans()):
        step = draw(st.sampled_from((10, 60, 60, 300)))
        moments = moments.map(lambda at: at // step * step)
    value = st.one_of(st.integers(0, 4).map(float), st.floats(-5, 5).map(lambda v: round(v, 2)))
    return draw(st.lists(st.tuples(moments, value, st.sampled_from((1, 1, 1, 3))), max_size=25))


@st.composite
def expressions(draw, depth=2):
    if depth == 0:
        return draw(st.sampled_from((*IDS, *IDS, 0, 1, 2)))
    inner = expressions(depth=depth - 1)
    metric = st.sampled_from(IDS)
    return draw(
        st.one_of(
            metric,
            st.tuples(st.sampled_from([*reference.BINARY]), inner, inner),
            st.tuples(st.sampled_from([*reference.ONE]), metric),
            st.tuples(st.sampled_from(("RATE", "DIFF", "DIFF_TIME", "MINUTE", "HOUR", "EPOCH")), metric),
            st.tuples(st.just("FILL"), metric, st.sampled_from(("REPEAT", 0, 3))),
            st.tuples(st.just("IF"), metric, inner, inner),
            st.tuples(st.just("IF"), metric, inner),
            st.tuples(st.sampled_from(reference.AGGREGATES), metric, metric),
            st.tuples(st.just("PERIOD"), metric),
        )
    )


@st.composite
def alarms(draw, expression):
    period = draw(st.sampled_from((60, 60, 120, 300, 3600, 10, 30)))
    periods = draw(st.integers(1, 5))
    return {
        "AlarmName": "a",
        "Period": period,
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": draw(st.integers(1, periods)),
        "Threshold": draw(st.sampled_from((0, 1, 2, 2.5))),
        "ComparisonOperator": draw(st.sampled_from([*reference.OPERATORS])),
        "TreatMissingData": draw(st.sampled_from(TREATMENTS)),
        "expression": expression,
        "stats": {name: draw(st.sampled_from(STATISTICS)) for name in IDS},
    }


def parameters(alarm):
    """The alarm in the words of PutMetricAlarm."""
    known = {key: value for key, value in alarm.items() if key not in {"expression", "stats", "Period"}}
    if alarm["expression"] == "a":
        statistic = alarm["stats"]["a"]
        key = "Statistic" if statistic in BASIC else "ExtendedStatistic"
        return known | {"Namespace": "N", "MetricName": "a", "Period": alarm["Period"], key: statistic}
    metrics = [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": alarm["Period"], "Stat": stat},
        }
        for name, stat in alarm["stats"].items()
    ]
    return known | {"Metrics": [*metrics, {"Id": "e", "Expression": reference.in_words(alarm["expression"])}]}


def stored(samples):
    store = Store()
    for name, each in samples.items():
        for at, value, seen in each:
            store.add(Metric("N", name), Sample(float(at), value, seen))
    return store


def changes(alarm, samples, end_s):
    line = metric_timeline(metric_alarm(parameters(alarm)), stored(samples), 0, end_s)
    return [(change.time_s, str(change.state)) for change in line.changes]


def span(alarm):
    return min(3 * 3600, 20 * alarm["Period"] + 600)


METRICS = (alarms("a"), st.data())
MATHS = (expressions(), st.data())


@given(*METRICS)
@settings(max_examples=150, deadline=None)
def test_an_alarm_on_one_metric_does_what_the_tables_say(alarm, data):
    samples = {"a": data.draw(series(span(alarm)))}
    assert changes(alarm, samples, span(alarm)) == reference.timeline(alarm, samples, span(alarm))


@given(*MATHS)
@settings(max_examples=60, deadline=None)
def test_an_alarm_on_maths_sees_its_evaluation_range_and_nothing_else(expression, data):
    expression = expression if isinstance(expression, tuple) else ("+", expression, "a")
    alarm = data.draw(alarms(expression))
    samples = {name: data.draw(series(span(alarm))) for name in IDS}
    try:
        made = metric_alarm(parameters(alarm))
    except DefinitionError:
        assume(False)  # a single number, or 1 / 0: CloudWatch would refuse it, too
    line = metric_timeline(made, stored(samples), 0, span(alarm))
    expected = reference.timeline(alarm, samples, span(alarm))
    assert [(change.time_s, str(change.state)) for change in line.changes] == expected


NAMES = ("a", "b", "c", "d")
STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")


@st.composite
def rules(draw, depth=3):
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
        percent = draw(st.sampled_from(("", "%")))
        number = draw(st.integers(1, 100 if percent else len(names)))
        at_least = ("AT_LEAST", number, percent, draw(st.sampled_from(STATES)), draw(st.booleans()), names)
        return draw(st.sampled_from((True, False, (draw(st.sampled_from(STATES)), names[0]), at_least)))
    kind = draw(st.sampled_from(("AND", "OR", "NOT")))
    terms = draw(st.lists(rules(depth=depth - 1), min_size=1, max_size=1 if kind == "NOT" else 3))
    return (kind, *terms)


RULES = (rules(), st.fixed_dictionaries({name: st.sampled_from(STATES) for name in NAMES}))
COMPOSITES = (rules(), rules(), st.data())


@given(*RULES)
@settings(max_examples=100, deadline=None)
def test_a_rule_holds_when_its_terms_do(rule, states):
    given = {name: State(state) for name, state in states.items()}
    assert parse_rule(reference.rule_in_words(rule)).holds(given) == reference.holds(rule, states)


@given(*COMPOSITES)
@settings(max_examples=25, deadline=None)
def test_a_composite_follows_its_children_at_every_moment(rule, above, data):
    base = alarms("a")
    children = {name: data.draw(base) | {"AlarmName": name, "Period": 60} for name in NAMES}
    samples = data.draw(series(1200))
    made = {name: metric_alarm(parameters(child)) for name, child in children.items()}
    made["x"] = CompositeAlarm("x", reference.rule_in_words(rule))
    made["y"] = CompositeAlarm("y", f'({reference.rule_in_words(above)}) OR ALARM("x")')
    lines = run(made, stored({"a": samples}), 0, 1200)
    expected = {name: reference.timeline(child, {"a": samples}, 1200) for name, child in children.items()}
    for moment in range(0, 1201, 60):
        states = {
            name: next((s for at, s in reversed(found) if at <= moment), "INSUFFICIENT_DATA")
            for name, found in expected.items()
        }
        x = reference.holds(rule, states)
        assert (lines["x"].at(moment) == "ALARM") == x
        assert (lines["y"].at(moment) == "ALARM") == (x or reference.holds(above, states))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "drawn"),
    [
        (test_an_alarm_on_one_metric_does_what_the_tables_say, METRICS),
        (test_an_alarm_on_maths_sees_its_evaluation_range_and_nothing_else, MATHS),
        (test_a_rule_holds_when_its_terms_do, RULES),
        (test_a_composite_follows_its_children_at_every_moment, COMPOSITES),
    ],
    ids=["metrics", "maths", "rules", "composites"],
)
def test_ten_thousand_alarms_of_each_kind_do_what_the_reference_does(test, drawn):
    many = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
    inner = test.hypothesis.inner_test
    # A function of its own: the one above has settings already.
    many(given(*drawn)(FunctionType(inner.__code__, inner.__globals__, inner.__name__)))()


def test_the_reference_says_what_the_published_tables_say():
    tables = [
        (3, "0-X-X", ("OK",) * 4),
        (3, "-----", ("INSUFFICIENT_DATA", None, "ALARM", "OK")),
        (3, "--X--", ("ALARM", None, "ALARM", "OK")),
        (2, "0-X--", ("OK", "OK", "ALARM", "OK")),
        (2, "---X-", ("ALARM", None, "ALARM", "OK")),
    ]
    for m, window, states in tables:
        points = [{"0": False, "X": True, "-": None}[mark] for mark in window]
        assert tuple(reference.decided(points, m, 3, missing) for missing in TREATMENTS) == states
    assert json.dumps(reference.in_words(("IF", ("<", "a", 2), "b"))) == '"IF((a < 2), b)"'
