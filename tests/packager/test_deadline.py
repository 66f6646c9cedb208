"""Calls end in time, whatever they wait for."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager import deadline
from packager.deadline import (
    ABORT_RESERVE_S,
    LONGEST_CALL_S,
    LOOKS_EVERY_S,
    STOPS_WITHIN_S,
    Stop,
    UnderWay,
    call_with_deadline,
    is_stopped,
    pause,
    raise_if_late,
    send_nothing_late,
    stopped_by,
    time_left_s,
    time_limit,
)
from packager.errors import OperationAbortedError, OutOfTimeError
from telemetry import carrying
from tests.faulty_proxy import faulty_proxy
from tests.s3_server import client


@pytest.fixture
def never():
    """An event that a call can wait for in vain; set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the module reads, which only the test moves on."""
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


class Waited:
    """An event whose waiting moves the clock on, that is set once so much was waited, and keeps every wait."""

    def __init__(self, clock, set_after_s=math.inf):
        self.clock = clock
        self.left_s = set_after_s
        self.waits_s = []

    def wait(self, timeout):
        self.waits_s.append(timeout)
        self.clock.s = round(self.clock.s + timeout, 6)
        self.left_s -= timeout
        return self.left_s <= 1e-9


def test_only_a_call_that_ends_long_before_the_limit_is_made_in_the_thread_that_asks():
    assert call_with_deadline(threading.current_thread) is threading.current_thread()
    with time_limit(lambda: LONGEST_CALL_S + 1):
        assert call_with_deadline(threading.current_thread) is threading.current_thread()
    with time_limit(lambda: LONGEST_CALL_S):
        assert call_with_deadline(threading.current_thread).name == "call-in-time"
    assert call_with_deadline(threading.current_thread, give_up=lambda: None).daemon


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


def test_whoever_waits_for_a_call_looks_at_the_time_often_and_never_waits_past_the_limit(clock, monkeypatch, never):
    waits_s = []

    def wait(_, timeout):
        waits_s.append(timeout)
        clock.s = round(clock.s + timeout, 6)

    monkeypatch.setattr(deadline, "wait", wait)
    with time_limit(lambda: round(1000.35 - clock.s, 6)), pytest.raises(OutOfTimeError) as raised:
        call_with_deadline(never.wait, 0.1)
    assert waits_s == pytest.approx([0.1, 0.1, 0.05])
    assert raised.value.time_left_s == pytest.approx(0.1)


def test_what_giving_up_raises_ends_the_waiting_with_that_error(never):
    asked = []

    def give_up():
        asked.append(1)
        if len(asked) == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_with_deadline(never.wait, give_up=give_up)
    assert len(asked) == 3
    assert call_with_deadline(lambda: 5, give_up=give_up) == 5


def test_a_stop_counts_from_its_first_telling_and_leaves_the_reserve_to_clean_up(clock):
    stop = Stop()
    with stopped_by(Stop()), stopped_by(stop):
        assert (stop.told, is_stopped(), time_left_s()) == (False, False, math.inf)
        stop.tell()
        assert time_left_s() == ABORT_RESERVE_S
        clock.s += STOPS_WITHIN_S - ABORT_RESERVE_S + 0.5
        stop.tell()
        assert (stop.told, is_stopped(), time_left_s()) == (True, True, ABORT_RESERVE_S - 0.5)
        with time_limit(lambda: 0.25):
            assert time_left_s() == 0.25
        raise_if_late(ABORT_RESERVE_S - 0.75)
        for reserve_s in (ABORT_RESERVE_S - 0.5, ABORT_RESERVE_S):
            with pytest.raises(OperationAbortedError, match="told to stop") as raised:
                raise_if_late(reserve_s)
            assert raised.value.next_step == "Run it again; what is finished is not done again."
    assert (is_stopped(), time_left_s()) == (False, math.inf)


def test_calls_that_nobody_waits_for_any_more_are_under_way_until_they_end(never):
    calls, entered = UnderWay(), threading.Event()

    def hang():
        with calls:
            entered.set()
            never.wait()

    thread = threading.Thread(target=hang)
    assert calls.ends(0)
    with calls:
        thread.start()
        entered.wait()
    assert not calls.ends(-1)
    never.set()
    assert calls.ends(60)
    thread.join()


def test_work_ends_when_no_more_than_the_reserve_is_left():
    with time_limit(lambda: ABORT_RESERVE_S + 0.001):
        raise_if_late()
    with time_limit(lambda: ABORT_RESERVE_S), pytest.raises(OutOfTimeError, match="nearly up") as raised:
        raise_if_late()
    assert raised.value.time_left_s == ABORT_RESERVE_S
    assert raised.value.next_step


def test_a_pause_lasts_as_long_as_it_should_and_looks_at_the_time_often(clock):
    event = Waited(clock)
    pause(0.25, event)
    assert event.waits_s == pytest.approx([LOOKS_EVERY_S, LOOKS_EVERY_S, 0.05])


def test_a_pause_ends_when_its_event_is_set_or_the_reserve_begins(clock):
    told = Waited(clock, set_after_s=0.2)
    pause(5, told)
    assert told.waits_s == pytest.approx([0.1, 0.1])
    late = Waited(clock)
    with time_limit(lambda: round(1003.35 - clock.s, 6)):
        pause(5, late, reserve_s=3)
        assert late.waits_s == pytest.approx([0.1, 0.05])
        pause(5, late, reserve_s=3)
        assert len(late.waits_s) == 2


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
        with time_limit(lambda: 0.01):
            assert s3.list_buckets()["Buckets"] is not None
