"""The six published examples of suppression: one unit is a minute, wait 2, extension 3.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm_Suppression.html
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.actions import Action, actions
from dashboards.cloudwatch.alarm import State
from dashboards.cloudwatch.timeline import Change

OK, ALARM = State.OK, State.ALARM


def changes(*pairs):
    return [Change(time, state) for time, state in pairs]


@pytest.mark.parametrize(
    ("alarm", "suppressor", "taken"),
    [
        pytest.param([(2, ALARM)], [], [(4, ALARM)], id="1 after the wait"),
        pytest.param([(2, ALARM)], [(3, ALARM)], [], id="2 suppressed within the wait"),
        pytest.param([(2, ALARM), (3, OK)], [], [(5, OK)], id="3 a change restarts the wait"),
        pytest.param([(2, ALARM)], [(1, ALARM)], [], id="4 already suppressed"),
        pytest.param([(2, ALARM)], [(3, ALARM), (6, OK)], [(9, ALARM)], id="5 after the extension"),
        pytest.param([(2, ALARM), (7, OK)], [(3, ALARM), (6, OK)], [(9, OK)], id="6 a change ends the extension"),
    ],
)
def test_suppression_acts_as_published(alarm, suppressor, taken):
    assert actions(changes(*alarm), changes(*suppressor), 2, 3) == [Action(*pair) for pair in taken]


@given(st.lists(st.integers(0, 50), unique=True, max_size=8), st.integers(0, 5))
def test_without_a_suppressor_the_last_change_is_always_told(times, wait):
    alarm = changes(*((time, (ALARM, OK)[n % 2]) for n, time in enumerate(sorted(times))))
    taken = actions(alarm, [], wait, 3)
    assert [action.state for action in taken][-1:] == [change.state for change in alarm][-1:]
    assert all(action.time_s - wait in times for action in taken)
