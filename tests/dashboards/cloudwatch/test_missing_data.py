"""The tables AWS publishes, cell by cell, and what must hold for any window.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import Missing, State
from dashboards.cloudwatch.timeline import judge

OK, ALARM, NO_DATA, KEEP = State.OK, State.ALARM, State.INSUFFICIENT_DATA, None
TABLES = [
    (3, "0-X-X", (OK, OK, OK, OK)),
    (3, "0----", (OK, OK, OK, OK)),
    (3, "-----", (NO_DATA, KEEP, ALARM, OK)),
    (3, "0XX-X", (ALARM, ALARM, ALARM, ALARM)),
    (3, "--X--", (ALARM, KEEP, ALARM, OK)),
    (2, "0-X-X", (ALARM, ALARM, ALARM, ALARM)),
    (2, "00X0X", (ALARM, ALARM, ALARM, ALARM)),
    (2, "0-X--", (OK, OK, ALARM, OK)),
    (2, "----0", (OK, OK, ALARM, OK)),
    (2, "---X-", (ALARM, KEEP, ALARM, OK)),
]
TREATMENTS = (Missing.MISSING, Missing.IGNORE, Missing.BREACHING, Missing.NOT_BREACHING)
CELLS = [
    pytest.param(m, window, missing, state, id=f"{m}of3 {window} {missing}")
    for m, window, states in TABLES
    for missing, state in zip(TREATMENTS, states, strict=True)
]


@pytest.mark.parametrize(("datapoints", "window", "missing", "state"), CELLS)
def test_every_cell_of_the_published_tables_of_missing_data_is_met(datapoints, window, missing, state):
    assert judge(window, datapoints, 3, missing) is state


@pytest.mark.parametrize(("window", "fires"), [("----X", False), ("---X-", False), ("--X--", True)])
def test_a_lone_bad_point_fires_only_when_it_is_old_enough(window, fires):
    assert (judge(window, 3, 3, Missing.MISSING) is ALARM) is fires


@st.composite
def windows(draw, marks="0X-"):
    periods = draw(st.integers(1, 12))
    return (
        draw(st.text(marks, min_size=periods + 2, max_size=periods + 2)),
        draw(st.integers(1, periods)),
        periods,
        draw(st.sampled_from(Missing)),
    )


@given(windows(), st.data())
def test_a_good_point_in_place_of_another_never_raises_an_alarm(case, data):
    window, datapoints, periods, missing = case
    index = data.draw(st.integers(0, len(window) - 1))
    better = window[:index] + "0" + window[index + 1 :]
    for before in State:
        if (judge(window, datapoints, periods, missing) or before) is not ALARM:
            assert (judge(better, datapoints, periods, missing) or before) is not ALARM


@given(windows())
def test_a_good_point_that_arrives_never_raises_an_alarm(case):
    window, datapoints, periods, missing = case
    for before in State:
        now = judge(window, datapoints, periods, missing) or before
        if now is not ALARM:
            assert (judge(window[1:] + "0", datapoints, periods, missing) or now) is not ALARM


@given(windows(marks="0X"))
def test_without_gaps_the_treatment_of_gaps_means_nothing_and_m_of_the_newest_n_decide(case):
    window, datapoints, periods, _ = case
    expected = ALARM if window[-periods:].count("X") >= datapoints else OK
    assert {judge(window, datapoints, periods, missing) for missing in Missing} == {expected}


@given(windows())
def test_a_lower_m_never_silences_an_alarm(case):
    window, _, periods, missing = case
    states = [judge(window, m, periods, missing) for m in range(1, periods + 1)]
    assert all(lower is ALARM or higher is not ALARM for lower, higher in pairwise(states))
