from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import State
from dashboards.cloudwatch.errors import DashboardError, DefinitionError, UnsupportedError
from dashboards.cloudwatch.rules import in_order, parse_rule

NAMES = ("a", "b", "c d", "e-1")
A_FIRES = dict.fromkeys(NAMES, State.OK) | {"a": State.ALARM}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("ALARM(a)", True),
        ('ALARM("a") AND NOT ALARM(b)', True),
        ("(ALARM(a) OR ALARM(b)) AND OK('c d')", True),
        ("ALARM(b) OR ALARM(a) AND ALARM(e-1)", False),
        ("NOT NOT ALARM(a)", True),
        ("INSUFFICIENT_DATA(a)", False),
        ("ALARM(arn:aws:cloudwatch:eu-west-1:111122223333:alarm:a)", True),
        ("TRUE", True),
        ("FALSE OR alarm(a)", True),
    ],
)
def test_rules_read_as_cloudwatch_reads_them(rule, holds):
    assert parse_rule(rule).holds(A_FIRES) is holds


@pytest.mark.parametrize(
    "rule",
    ["", "ALARM(a", "ALARM a)", "ALARM(a) ALARM(b)", "a", "ALARM(a) AND", 'ALARM("a)', "AND ALARM(a)", "()"],
)
def test_a_rule_that_cannot_be_read_is_an_error_that_quotes_it(rule):
    with pytest.raises(DefinitionError, match="rule"):
        parse_rule(rule)


def test_the_limits_of_a_rule_are_those_of_cloudwatch():
    children = [f"ALARM(n{number})" for number in range(101)]
    assert len(parse_rule(" OR ".join(children[:100])).children) == 100
    with pytest.raises(DefinitionError, match="101 alarms"):
        parse_rule(" OR ".join(children))
    assert parse_rule(" OR ".join(["TRUE"] * 500)).holds({})
    with pytest.raises(DefinitionError, match="501 elements"):
        parse_rule(" OR ".join(["TRUE"] * 501))


def test_what_is_not_evaluated_is_named():
    with pytest.raises(UnsupportedError, match="nested"):
        parse_rule("(" * 400 + "TRUE" + ")" * 400)


@given(st.text("ALRMOKNTFSE()\"' ab", max_size=40))
def test_any_text_is_a_rule_or_an_error_of_ours(text):
    with suppress(DashboardError):
        parse_rule(text)


@st.composite
def positive_rules(draw, depth=3):
    if depth == 0 or draw(st.booleans()):
        return f'ALARM("{draw(st.sampled_from(NAMES))}")'
    operator = draw(st.sampled_from((" AND ", " OR ")))
    parts = draw(st.lists(positive_rules(depth=depth - 1), min_size=1, max_size=3))
    return f"({operator.join(parts)})"


@given(positive_rules(), st.fixed_dictionaries({name: st.sampled_from(State) for name in NAMES}), st.data())
def test_one_more_child_in_alarm_never_silences_a_rule_without_not(text, states, data):
    rule = parse_rule(text)
    worse = states | {data.draw(st.sampled_from(NAMES)): State.ALARM}
    assert not rule.holds(states) or rule.holds(worse)


def test_composites_come_after_what_they_watch_and_a_circle_is_named():
    rules = {"x": parse_rule("ALARM(y) OR ALARM(a)"), "y": parse_rule("ALARM(b)")}
    assert in_order(rules) == ["y", "x"]
    with pytest.raises(DefinitionError, match="x -> y -> x"):
        in_order(rules | {"y": parse_rule("ALARM(x)")})
