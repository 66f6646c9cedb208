import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import CompositeAlarm, Metric, State
from dashboards.cloudwatch.errors import DashboardError, DefinitionError, UnsupportedError
from dashboards.cloudwatch.notation import parse_notation
from dashboards.cloudwatch.parameters import metric_alarm
from dashboards.cloudwatch.series import Sample, Store
from dashboards.cloudwatch.timeline import judge, metric_timeline, run

METRIC = Metric("N", "m")
BASE = {
    "AlarmName": "a",
    "Namespace": "N",
    "MetricName": "m",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}


def store_of(notation, step_s=60, metric=METRIC):
    store = Store()
    for sample in parse_notation(notation):
        store.add(metric, Sample(sample.time_s * step_s, sample.value, sample.count))
    return store


def changes(parameters, notation, end_s, step_s=60):
    line = metric_timeline(metric_alarm(BASE | parameters), store_of(notation, step_s), 0, end_s)
    return [(change.time_s, str(change.state)) for change in line.changes]


def test_a_bad_minute_is_judged_when_it_has_ended():
    assert changes({}, "0 0 1 0", 300) == [(60, "OK"), (180, "ALARM"), (240, "OK")]


def test_a_window_of_five_minutes_slides_by_the_minute():
    assert changes({"Period": 300}, "0x3 1 0x8", 720) == [(60, "OK"), (300, "ALARM"), (600, "OK")]


def test_a_window_beyond_a_day_is_judged_once_an_hour():
    found = changes({"Period": 3600, "EvaluationPeriods": 48, "DatapointsToAlarm": 1}, "0x99 1", 3 * 3600)
    assert found == [(3600, "OK"), (7200, "ALARM")]


@pytest.mark.parametrize(("period", "fires_s"), [(10, 50), (20, 50), (30, 50)])
def test_high_resolution_is_judged_every_ten_seconds(period, fires_s):
    assert changes({"Period": period}, "0x3 1 0x9", 60, 10)[:2] == [(10, "OK"), (fires_s, "ALARM")]


def test_the_fire_tells_when_the_oldest_bad_point_began():
    line = metric_timeline(
        metric_alarm(BASE | {"EvaluationPeriods": 3, "DatapointsToAlarm": 2}), store_of("0 1 0 1"), 0, 300
    )
    (fired,) = line.fired
    assert (fired.time_s, fired.since_s) == (240, 60)
    (fired,) = metric_timeline(metric_alarm(BASE | {"Period": 300}), store_of("0x4 1 0"), 0, 600).fired
    assert (fired.time_s, fired.since_s) == (360, 300)  # five minutes that end with the bad one
    assert line.window_at(240) == ("-0X0X", (None, 0, 1, 0, 1))


PERCENTILE = {"Statistic": None, "ExtendedStatistic": "p99", "EvaluateLowSampleCountPercentile": "ignore"}


def test_a_percentile_with_few_samples_keeps_its_state_only_when_told_to():
    assert changes(PERCENTILE, "5*999 5*1000 0*999", 180) == [(120, "ALARM")]
    assert changes(PERCENTILE | {"EvaluateLowSampleCountPercentile": "evaluate"}, "5*999", 60) == [(60, "ALARM")]


def test_dynamodb_keeps_its_state_over_gaps_whatever_it_asks_for():
    store = store_of("1 _x9", metric=Metric("AWS/DynamoDB", "m"))
    line = metric_timeline(metric_alarm(BASE | {"Namespace": "AWS/DynamoDB"}), store, 0, 600)
    assert line.at(600) is State.ALARM


@pytest.mark.parametrize(
    ("warm_up", "first"),
    [
        (None, (60, "ALARM")),
        ({"WarmUpPeriodDurationInMinutes": 4}, (180, "OK")),
        ({"WarmUpPeriodDurationInMinutes": 4, "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True}, (240, "OK")),
    ],
)
def test_a_warm_up_holds_the_first_judgement_back(warm_up, first):
    parameters = {"EvaluationPeriods": 2, "DatapointsToAlarm": 1, "TreatMissingData": "breaching"}
    assert changes(parameters | {"WarmUpConfiguration": warm_up}, "_ 0 0 0 0", 300)[0] == first


def test_metric_maths_is_compared_like_any_metric():
    def stat(name):
        return {"Metric": {"Namespace": "N", "MetricName": name}, "Period": 60, "Stat": "Sum"}

    parameters = {
        **{key: value for key, value in BASE.items() if key not in {"Namespace", "MetricName", "Statistic", "Period"}},
        "Threshold": 0.5,
        "Metrics": [
            {"Id": "bad", "MetricStat": stat("m"), "ReturnData": False},
            {"Id": "total", "MetricStat": stat("n"), "ReturnData": False},
            {"Id": "rate", "Expression": "bad / total", "ReturnData": True},
        ],
    }
    store = store_of("0 1 3 _")
    for sample in (Sample(60 * step, 4) for step in range(4)):
        store.add(Metric("N", "n"), sample)
    line = metric_timeline(metric_alarm(parameters), store, 0, 240)
    assert line.values == (0, 0.25, 0.75, 0)
    assert [change.time_s for change in line.fired] == [180]


def test_composites_follow_their_children_and_unknown_children_are_named():
    alarms = {
        "a": metric_alarm(BASE),
        "b": CompositeAlarm("b", "ALARM(a)"),
        "c": CompositeAlarm("c", "NOT ALARM(b) AND OK(a)"),
    }
    lines = run(alarms, store_of("0 1 0"), 0, 180)
    assert [(change.time_s, change.state) for change in lines["b"].changes] == [(0, "OK"), (120, "ALARM"), (180, "OK")]
    assert [change.time_s for change in lines["c"].fired] == [60, 180]
    with pytest.raises(DefinitionError, match="c watches b"):
        run({"a": alarms["a"], "c": alarms["c"]}, Store(), 0, 60)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"Period": 45}, "10, 20, 30"),
        ({"EvaluationPeriods": 1441}, "limit is 86400"),
        ({"Period": 3600, "EvaluationPeriods": 169}, "limit is 604800"),
        ({"DatapointsToAlarm": 2}, "2 out of 1"),
        ({"Threshold": None, "ThresholdMetricId": "ad1"}, "ThresholdMetricId"),
        ({"ComparisonOperator": "LessThanLowerThreshold"}, "LessThanLowerThreshold"),
        ({"EvaluationWindow": {"WallClockWindow": {}}, "Period": 120}, "wall clock"),
        ({"EvaluationWindow": {"WallClockWindow": {"Timezone": "Mars/Base"}}}, "Mars/Base"),
        ({"Statistic": "zz90"}, "zz90"),
        ({"TreatMissingData": "fine"}, "fine"),
    ],
)
def test_what_cloudwatch_refuses_or_we_cannot_evaluate_is_named(wrong, message):
    with pytest.raises(DashboardError, match=message):
        metric_alarm(BASE | wrong)


@given(st.lists(st.sampled_from(["0", "1", "_"]), max_size=20), st.integers(1, 4), st.data())
def test_a_state_is_a_function_of_the_window_alone(items, periods, data):
    m = data.draw(st.integers(1, periods))
    missing = data.draw(st.sampled_from(["missing", "ignore", "breaching", "notBreaching"]))
    alarm = metric_alarm(BASE | {"EvaluationPeriods": periods, "DatapointsToAlarm": m, "TreatMissingData": missing})
    line = metric_timeline(alarm, store_of(" ".join(items)), 0, 60 * len(items))
    before = State.INSUFFICIENT_DATA
    for minute in range(1, len(items) + 1):
        window, _ = line.window_at(60 * minute)
        before = judge(window, m, periods, alarm.treatment) or before
        assert line.at(60 * minute) is before


def test_twenty_alarms_over_a_week_of_minutes_take_at_most_a_second():
    store = store_of("1 0x8 _ 2 0x3 _x2" + " 0 1 2 0 _ 1 0" * 1440)
    statistics = (
        {},
        {"Statistic": "Maximum"},
        {"Statistic": "Average"},
        {"Statistic": None, "ExtendedStatistic": "p99"},
    )
    alarms = {
        f"a{n}": metric_alarm(
            BASE
            | {
                "AlarmName": f"a{n}",
                "Period": (60, 300, 3600, 86_400, 60)[n % 5],
                "EvaluationPeriods": 3 + n % 5,
                "DatapointsToAlarm": 2,
            }
            | statistics[n % 4]
        )
        for n in range(20)
    }
    took_s = []
    for _ in range(3):  # the best of three: others may use the machine
        start = time.process_time()
        lines = run(alarms, store, 0, 7 * 86_400)
        took_s.append(time.process_time() - start)
    assert all(line.changes for line in lines.values())
    assert min(took_s) <= 1, f"{took_s} s of processor time"


def test_an_expression_that_an_alarm_may_not_have_is_named_with_the_alarm():
    parameters = {
        key: value for key, value in BASE.items() if key not in {"Namespace", "MetricName", "Statistic", "Period"}
    }
    metrics = [{"Id": "e", "Expression": "SEARCH('{N} m', 'Sum')", "Period": 60}]
    with pytest.raises(UnsupportedError, match=r"^SEARCH"):
        metric_timeline(metric_alarm(parameters | {"Metrics": metrics}), Store(), 0, 60)
