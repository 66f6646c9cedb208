"""Calls end in time, whatever they wait for."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.deadline import LONGEST_CALL_S, call_with_deadline, send_nothing_late, time_left_s, time_limit
from packager.errors import OutOfTimeError
from telemetry import carrying
from tests.faulty_proxy import faulty_proxy
from tests.s3_server import client


@pytest.fixture
def never():
    """An event that a call can wait for in vain; set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_that_ends_long_before_the_limit_is_made_in_the_thread_that_asks():
    assert call_with_deadline(threading.current_thread) is threading.current_thread()
    with time_limit(lambda: LONGEST_CALL_S + 1):
        assert call_with_deadline(threading.current_thread) is threading.current_thread()


def test_within_a_limit_a_call_returns_and_raises_as_it_is():
    error = ZeroDivisionError("its own")

    def fail():
        raise error

    with time_limit(lambda: 100):
        assert call_with_deadline(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError) as raised:
            call_with_deadline(fail)
    assert raised.value is error


def test_a_call_sees_the_limit_of_the_one_who_asks():
    with time_limit(lambda: 70):
        assert call_with_deadline(time_left_s) == 70
        with time_limit(lambda: 30):
            assert call_with_deadline(time_left_s) == 30
    assert time_left_s() == math.inf


def test_a_call_that_does_not_come_back_is_given_up(never):
    asked = threading.Event()

    def hang():
        asked.set()
        never.wait()

    with time_limit(lambda: 0 if asked.is_set() else 100), pytest.raises(OutOfTimeError, match="no answer came"):
        call_with_deadline(hang)


@given(left_s=st.floats(-1e6, 1e6), reserve_s=st.floats(0, 100))
def test_a_call_is_made_if_and_only_if_there_is_time_for_it(left_s, reserve_s):
    made = []
    with time_limit(lambda: 0 if made else left_s):
        try:
            call_with_deadline(lambda: made.append(1), reserve_s)
        except OutOfTimeError as error:
            assert error.next_step  # noqa: PT017  a property, not an expectation
    assert bool(made) == (left_s > reserve_s)


def test_other_threads_know_the_limit_when_they_carry_the_context():
    known = []
    with time_limit(lambda: 7):
        thread = threading.Thread(target=carrying(lambda: known.append(time_left_s())))
    thread.start()
    thread.join()
    assert known == [7]


def test_a_client_sends_nothing_after_the_limit(s3_server):
    with faulty_proxy(s3_server.endpoint_url) as proxy:
        s3 = client(proxy.endpoint_url, retries={"total_max_attempts": 3})
        send_nothing_late(s3)
        with time_limit(lambda: 0), pytest.raises(OutOfTimeError, match="no request is sent"):
            s3.list_buckets()
        assert proxy.requests == []
        assert s3.list_buckets()["Buckets"] is not None
