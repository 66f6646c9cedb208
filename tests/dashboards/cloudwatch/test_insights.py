from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.errors import DashboardError, DefinitionError, UnsupportedError
from dashboards.cloudwatch.insights import query

LINES = [
    {
        "@timestamp": 10.0,
        "@message": "a",
        "event": "PackageTarget",
        "outcome": "failure",
        "error": {"type": "Zip|Error"},
        "n": 3,
    },
    {"@timestamp": 70.0, "@message": "b", "event": "PackageTarget", "outcome": "success", "n": 5},
    {"@timestamp": 75.0, "@message": "c", "event": "CleanUp", "outcome": "success", "n": 1, "ok": True},
    {"@timestamp": 80.0, "@message": "d", "event": "CleanUp", "outcome": "failure"},
]


def found(text):
    return "".join(row["@message"] for row in query(text, LINES))


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ('filter event = "CleanUp"', "cd"),
        ("filter event != 'CleanUp' and n > 3", "b"),
        ('filter event = "CleanUp" or outcome = "failure" | sort @timestamp desc', "dca"),
        ("filter not (n >= 3) and ispresent(n)", "c"),
        ("filter @message like /a|d/", "ad"),
        ('filter error.type like "Zip|"', "a"),
        ("filter error.type =~ /^Zip/", "a"),
        ("filter @message not like /a|d/", "bc"),
        ('filter event in ["CleanUp", "Other"] and n < 2', "c"),
        ("filter ok = 1", "c"),
        ("filter n <= 3 | sort n | limit 1", "c"),
        ("SOURCE 'x' | sort n desc", "bacd"),
        ("fields @message, n\n| # a remark\n| filter n = 5", "b"),
    ],
)
def test_lines_are_chosen_as_logs_insights_chooses_them(text, messages):
    assert found(text) == messages


def test_statistics_are_grouped():
    rows = query("stats count(*) as lines, sum(n) as total, pct(n, 90) by event | sort lines desc", LINES)
    assert rows == [
        {"event": "PackageTarget", "lines": 2, "total": 8, "pct(n, 90)": 5},
        {"event": "CleanUp", "lines": 2, "total": 1, "pct(n, 90)": 1},
    ]
    assert [row["count(*)"] for row in query("stats count(*) by bin(1m)", LINES)] == [1, 3]
    assert query("stats max(n) - min(n) as width".replace(" - min(n)", ""), LINES) == [{"width": 5}]
    assert query("stats count_distinct(event) as kinds, avg(n) as mean, min(n) as low", LINES) == [
        {"kinds": 2, "mean": 3, "low": 1}
    ]


def test_fields_name_what_is_shown():
    (row,) = query('fields @timestamp, error.type as kind | filter @message = "a"', LINES)
    assert row["@shown"] == ["@timestamp", "kind"]
    assert row["kind"] == "Zip|Error"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("parse @message 'x *' as y", "parse"),
        ("stats percentile(n)", "percentile"),
        ("fields strlen(@message)", "strlen"),
        ("filter n + 1 > 2", r"'\+|cannot be read"),
        ("filter n between 1", "between"),
    ],
)
def test_what_is_not_evaluated_is_named(text, named):
    with pytest.raises((UnsupportedError, DefinitionError), match=named):
        query(text, LINES)


@given(st.text("filtersnby @=<>|&()/'\"1", max_size=40))
def test_any_text_is_a_query_or_an_error_of_ours(text):
    with suppress(DashboardError):
        query(text, LINES)
