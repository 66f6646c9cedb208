from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch import search_limit
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
    assert query("stats max(n) - min(n) as width", LINES) == [{"width": 4}]
    assert query("stats count_distinct(event) as kinds, avg(n) as mean, min(n) as low", LINES) == [
        {"kinds": 2, "mean": 3, "low": 1}
    ]


LAMBDA = [
    {"@timestamp": 1.0, "@message": "user=bob, took 12 ms", "size": "4", "tags": ["x", "y"]},
    {"@timestamp": 4000.0, "@message": "user=al, took 7 ms", "size": 10, "ip": "10.0.3.7", "raw": '{"a": [1, 2]}'},
]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("fields size * 2 + 1 as v", [9, 21]),
        ("fields size / 4 - 2 ^ 2 as v", [-3, -1.5]),
        ("fields size / 0 as v", [None, None]),
        ("fields -(size % 3) as v", [-1, -1]),
        ("fields abs(0 - size) as v", [4, 10]),
        ("fields greatest(size, 7) as v", [7, 10]),
        ("fields toupper(substr(@message, 5, 2)) as v", ["BO", "AL"]),
        ("fields concat('<', size, '>') as v", ["<4>", "<10>"]),
        ("fields replace(@message, 'user=', '') as t, strlen(t) as v", [15, 13]),
        ("fields coalesce(ip, 'none') as v", ["none", "10.0.3.7"]),
        ("fields isIpv4InSubnet(ip, '10.0.0.0/16') as v", [None, True]),
        ("fields jsonParse(raw) as j, j.a.1 as v", [None, 2]),
        ("fields datefloor(@timestamp, 1h) as v", [0, 3600]),
        ("fields bin(30s) as v", [0, 3990]),
        ("fields bin(1mo) as v", [0, 0]),
        ("fields toMillis(@timestamp) as v", [1000, 4_000_000]),
        ("fields size > 5 and ispresent(ip) as v", [False, True]),
        ('parse @message "user=*, took * ms" as v, ms', ["bob", "al"]),
        ('parse @message "took *" as v', ["12 ms", "7 ms"]),
        (r"parse @message /user=(?<v>\w+)/", ["bob", "al"]),
        (r"parse /took (\d+)/ as v", ["12", "7"]),
        ("unnest tags into v | limit 2", ["x", "y"]),
        ("parse '=*,' as u | parse 'took * ms' as n | stats max(n) - min(n) as v", [5]),
        ("stats count(*) as n by strlen(@message) as l | stats sum(n) as v, max(l) as m", [2]),
        ("stats avg(size) as a, stddev(size) as v", [3]),
        ("stats latest(@message) as m | parse m /user=(?<v>[a-z]+)/", ["al"]),
        ("fields 1 as one | dedup one | fields size as v # the first alone", ["4"]),
        ("filter @message like / took / | fields size / 2 as v | sort v desc", [5, 2]),
        ("stats sum(nothing) as s, max(nothing) as v", [None]),
    ],
)
def test_functions_and_commands_give_what_logs_insights_gives(text, values):
    assert [row.get("v") for row in query(text, LAMBDA)] == values


def test_columns_have_the_name_that_was_written():
    (row,) = query("fields @message, size * 2 | limit 1", LAMBDA)
    assert row["@shown"] == ["@message", "size * 2"]
    assert query("stats count(*) by bin(1h) as hour", LAMBDA)[1] == {
        "hour": "3600",
        "count(*)": 1,
        "@bins": {"hour": 3600},
    }
    (row,) = query("fields @message | display size | limit 1", LAMBDA)
    assert row["@shown"] == ["size"]


def test_the_fields_command_decides_which_columns_are_shown():
    (row,) = query('fields @timestamp, error.type as kind | filter @message = "a"', LINES)
    assert row["@shown"] == ["@timestamp", "kind"]
    assert row["kind"] == "Zip|Error"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pattern @message", "pattern"),
        ("parse @message 'x *' as y, z", "1 stars and 2 names"),
        ("parse @message /(a)/ as y, z", "1 groups and 2 names"),
        ("filter @message like /(/", "cannot be read"),
        ("stats pct(n)", "pct"),
        ("fields soundex(@message)", "soundex"),
        ("fields toupper()", "toupper"),
        ("stats count(*) by bin(5x)", "5x"),
        ("limit some", "some"),
        ("filter n between 1", "between"),
    ],
)
def test_what_is_not_evaluated_is_named(text, named):
    with pytest.raises((UnsupportedError, DefinitionError), match=named):
        query(text, LINES)


@given(
    st.text("filtersnby @=<>|&()/'\"1#,*", max_size=40)
    | st.builds(
        "{} {}".format,
        st.sampled_from(["stats", "parse", "fields", "sort", "dedup"]),
        st.text("n()'/*, asby+-^bin5m[]", max_size=20),
    )
)
def test_any_text_is_a_query_or_an_error_of_ours(text):
    with suppress(DashboardError):
        query(text, LINES)


@pytest.mark.parametrize(
    ("text", "message", "lines"),
    [
        ("filter @message like /(a+)+b/", "a" * 50, 1),
        ("parse @message /(?<x>(a|aa)+)$/", "a" * 60 + "b", 1),
        ("parse @message '*a*a*a*a*a*b' as a, b, c, d, e, f", "a" * 9000, 1),
        ("filter @message =~ /(a+)+b/", "a" * 17, 2000),
    ],
    ids=["nested", "alternatives", "stars", "many texts"],
)
def test_a_search_without_end_is_ended_and_named(monkeypatch, text, message, lines):
    monkeypatch.setattr(search_limit, "TICK_S", 0.05)
    with pytest.raises(UnsupportedError, match=r"the regular expression /.*/ takes more than"):
        query(text, [{"@timestamp": 0.0, "@message": message}] * lines)
    assert len(query("filter @message like /^/", LINES)) == len(LINES)


def test_a_query_is_split_in_no_time_however_it_is_quoted():
    with pytest.raises(DefinitionError):
        query("stats count(*) " + '"a" ' * 40, LINES)
    with pytest.raises(DefinitionError, match="10000"):
        query("fields " + "a" * 10_000, LINES)
