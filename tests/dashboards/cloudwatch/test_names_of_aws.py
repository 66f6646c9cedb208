"""Names of CloudFormation's functions, metric maths, statistics, Logs Insights and dashboard bodies, listed again.

Each is evaluated, or named with the reason. The lists are apart from those of the source, so that one that is dropped
there fails here.
"""

import json

import pytest

from dashboards.cloudwatch.alarm_files import read_definitions
from dashboards.cloudwatch.body import TYPES, VIEWS, problems
from dashboards.cloudwatch.errors import UnsupportedError
from dashboards.cloudwatch.insights import query
from dashboards.cloudwatch.metric_functions import Scope, Series
from dashboards.cloudwatch.metric_math import resolve
from dashboards.cloudwatch.statistics import parse_statistic

MATHS = {
    "ABS": "m", "ANOMALY_DETECTION_BAND": "m, 2", "AVG": "m", "CEIL": "m", "DATAPOINT_COUNT": "m", "DATE": "m",
    "DAY": "m", "DIFF": "m", "DIFF_TIME": "m", "EPOCH": "m", "FILL": "m, 0", "FIRST": "METRICS()", "FLOOR": "m",
    "HOUR": "m", "IF": "m, m, 0", "LAST": "METRICS()", "LOG": "m", "LOG10": "m", "MAX": "[m]", "METRIC_COUNT": "[m]",
    "METRICS": "", "MIN": "[m]", "MINUTE": "m", "MONTH": "m", "PERIOD": "m", "RATE": "m", "REMOVE_EMPTY": "METRICS()",
    "RUNNING_SUM": "m", "SEARCH": "'x', 'Sum', 60", "SLICE": "METRICS(), 0, 1", "SORT": "METRICS(), AVG, DESC, 1",
    "STDDEV": "[m]", "SUM": "[m]", "TIME_SERIES": "1", "YEAR": "m",
}  # fmt: skip
NAMED_MATHS = {
    "DB_PERF_INSIGHTS": "'a'",
    "INSIGHT_RULE_METRIC": "'r', UniqueContributors",
    "LAMBDA": "'f'",
    "SERVICE_QUOTA": "m",
}
SINGLE = {"AVG", "DATAPOINT_COUNT", "METRIC_COUNT", "PERIOD"}
STATISTICS = (
    *("SampleCount", "Sum", "Average", "Minimum", "Maximum", "IQM", "p99", "p99.99", "p0", "p100"),
    *(f"{kind}{share}" for kind in ("tm", "wm", "tc", "ts") for share in ("90", "99.5")),
    *(
        f"{kind}({ends})"
        for kind in ("TM", "WM", "TC", "TS")
        for ends in ("10%:90%", ":90%", "10%:", "1:2", ":2", "1:")
    ),
    *("PR(:300)", "PR(100:2000)", "PR(100:)"),
)
INSIGHTS = (
    "abs(n)", "ceil(n)", "floor(n)", "greatest(n, 2)", "least(n, 2)", "log(n)", "sqrt(n)", "n + 1", "n - 1", "n * 2",
    "n / 2", "n ^ 2", "n % 2", "bin(5m)", "datefloor(@timestamp, 1h)", "dateceil(@timestamp, 1h)", "fromMillis(n)",
    "toMillis(@timestamp)", "now()", "ispresent(n)", "coalesce(n, 1)", "isempty(s)", "isblank(s)", "concat(s, 'a')",
    "ltrim(s)", "rtrim(s)", "trim(s)", "strlen(s)", "toupper(s)", "tolower(s)", "substr(s, 1)", "replace(s, 'a', 'b')",
    "strcontains(s, 'a')", "isValidIp(ip)", "isValidIpv4(ip)", "isValidIpv6(ip)", "isIpInSubnet(ip, '10.0.0.0/8')",
    "isIpv4InSubnet(ip, '10.0.0.0/8')", "isIpv6InSubnet(ip, '::/8')", "jsonParse(j)", "jsonStringify(j)",
)  # fmt: skip
AGGREGATES = (
    "avg(n)", "count(*)", "count(n)", "count_distinct(n)", "max(n)", "min(n)", "pct(n, 95)", "stddev(n)", "sum(n)",
    "earliest(n)", "latest(n)", "sortsFirst(n)", "sortsLast(n)",
)  # fmt: skip
COMMANDS = (
    "fields n", "display n", "filter n = 1", "filterIndex n in ['1']", "limit 1", "sort n desc", "stats count(*)",
    "dedup n", "parse s '*' as x", "parse s /(?<x>.)/", "fields jsonParse(j) as p | unnest p.a into x",
    "SOURCE logGroups(namePrefix: ['a'])",
)  # fmt: skip
NAMED_COMMANDS = (
    *("pattern @message", "diff", "anomaly", "unmask n", "join type=left", "lookup t n", "addtotals", "makeresults"),
)
INTRINSICS = {
    "Ref": "P", "Fn::Base64": "x", "Fn::Cidr": ["10.0.0.0/8", 1, 8], "Fn::FindInMap": ["M", "a", "b"],
    "Fn::GetAtt": ["R", "Arn"], "Fn::GetAZs": "", "Fn::If": ["C", "a", "b"], "Fn::ImportValue": "x",
    "Fn::Join": ["", ["a", "b"]], "Fn::Length": [1, 2], "Fn::Select": [0, ["a"]], "Fn::Split": [",", "a,b"],
    "Fn::Sub": "${P}", "Fn::ToJsonString": {"a": 1}, "Fn::Transform": {"Name": "AWS::Include"},
    "Fn::GetStackOutput": ["s", "o"],
}  # fmt: skip
CONDITIONS = {
    "Fn::And": [{"Condition": "C"}, {"Condition": "C"}], "Fn::Or": [{"Condition": "C"}, {"Condition": "C"}],
    "Fn::Not": [{"Condition": "C"}], "Fn::Equals": ["a", "b"], "Condition": "C",
}  # fmt: skip
LINE = {"@timestamp": 60.0, "@message": "m", "n": 1, "s": "a", "ip": "10.0.0.1", "j": '{"a": [1]}'}


@pytest.mark.parametrize("name", [*MATHS, *NAMED_MATHS])
def test_a_function_of_metric_maths_is_evaluated_or_named(name):
    text = f"{name}({(MATHS | NAMED_MATHS)[name]})"
    series = Series([1.0, None, 3.0], "m")
    scope = Scope(range(0, 180, 60), 60, {"m": series}, {"m": series}, lambda *_: [], band=(series, series))
    if name in NAMED_MATHS:
        with pytest.raises(UnsupportedError, match=name):
            resolve({"e": text}, scope)
    else:
        found = resolve({"e": f"m * 0 + {text}" if name in SINGLE else text}, scope)["e"]
        assert all(len(each.values) == 3 for each in found)
        assert found or name == "SEARCH"


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_known(name):
    found = parse_statistic(name)
    assert found == name or found.of([(1.0, 1.0), (2.0, 3.0)]) is None or found.of([(1.0, 1.0), (2.0, 3.0)]) >= 0


@pytest.mark.parametrize("text", INSIGHTS)
def test_a_function_of_logs_insights_has_a_value(text):
    (row,) = query(f"fields {text} as x", [LINE])
    assert row["x"] is not None


@pytest.mark.parametrize("text", AGGREGATES)
def test_an_aggregate_of_logs_insights_has_a_value(text):
    (row,) = query(f"stats {text} as x", [LINE])
    assert row["x"] is not None


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_of_logs_insights_is_evaluated(text):
    assert query(text, [LINE])


@pytest.mark.parametrize("text", NAMED_COMMANDS)
def test_a_command_of_logs_insights_that_is_not_evaluated_is_named(text):
    with pytest.raises(UnsupportedError, match=text.split()[0]):
        query(text, [LINE])


ALARM = {
    "Namespace": "N", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}  # fmt: skip


@pytest.mark.parametrize("name", [*INTRINSICS, *CONDITIONS])
def test_an_intrinsic_function_is_worked_out_or_stands_for_itself(tmp_path, name):
    conditions = {"C": {"Fn::Equals": [{"Ref": "P"}, "p"]}}
    value = {name: INTRINSICS.get(name)}
    if name in CONDITIONS:
        conditions["D"], value = {name: CONDITIONS[name]}, {"Fn::If": ["D", "yes", "no"]}
    dimension = {"Name": "D", "Value": {"Fn::Join": ["-", ["x", value]]}}
    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {**ALARM, "Dimensions": [dimension]}}
    template = {"Parameters": {"P": {"Type": "String", "Default": "p"}}, "Mappings": {"M": {"a": {"b": "c"}}}}
    (tmp_path / "t.json").write_text(json.dumps({**template, "Conditions": conditions, "Resources": {"A": alarm}}))
    found = read_definitions([tmp_path / "t.json"])
    assert not found.unevaluated
    ((_, text),) = found.alarms["A"].metrics[0].dimensions
    assert text.startswith("x-")
    assert ("${" in text) == (name not in {*CONDITIONS, "Ref", "Fn::FindInMap", "Fn::If", "Fn::Join", "Fn::Length",
                                           "Fn::Select", "Fn::Split", "Fn::Sub", "Fn::ToJsonString"})  # fmt: skip


def test_the_types_and_views_of_widgets_are_those_of_the_reference():
    assert {*TYPES} == {"metric", "text", "log", "alarm", "explorer", "custom"}
    assert {*VIEWS} == {"timeSeries", "singleValue", "gauge", "bar", "pie", "table"}
    scale = {"left": {"min": 0, "max": 1}}
    for view in VIEWS:
        properties = {"region": "r", "view": view, "metrics": [["N", "m"]], "yAxis": scale}
        assert [*problems({"widgets": [{"type": "metric", "properties": properties}]})] == []
