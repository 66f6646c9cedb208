from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.deadline import time_limit
from packager.errors import (
    BUSY_CODES,
    RECOVERABLE_CODES,
    AccessDeniedError,
    ArtifactChangedError,
    ArtifactNotFoundError,
    CleanupFailedError,
    ExtractionError,
    InsufficientStorageError,
    OperationAbortedError,
    StoreError,
    is_recoverable,
)
from packager.limits import retry
from packager.limits.cleanup import CleanupContext
from packager.settings import Settings
from telemetry.engine.aws_calls import THROTTLED
from telemetry.engine.testing import recorded

retrying = partial(retry.retrying, pause=lambda _: None)


def store_error(code, kind=StoreError):
    return kind(f"failed with {code}", code=code, operation="read", uri="s3://bucket/key")


def shortage():
    return InsufficientStorageError("It", required_bytes=2, available_bytes=1, path="/tmp")  # noqa: S108  only named


faults = st.sampled_from(sorted(RECOVERABLE_CODES)).map(store_error)


class Work:
    """Raises one fault after the other, then returns; it leaves something behind at every attempt."""

    def __init__(self, folder, errors):
        self.folder = folder
        self.errors = list(errors)
        self.attempts = 0
        self.cleaned = 0
        self.found = []

    def __call__(self):
        self.attempts += 1
        self.found.append(len(list(self.folder.iterdir())))
        (self.folder / f"part-{self.attempts}").touch()
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def clean(self):
        self.cleaned += 1
        for each in self.folder.iterdir():
            each.unlink()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(faults, max_size=8), st.integers(1, 9))
def test_property_10_recoverable_faults_within_the_budget_end_in_success_and_beyond_it_in_the_original_error(
    tmp_path, errors, attempts
):
    folder = tmp_path / "scratch"
    with recorded() as records, CleanupContext(Settings(scratch_dir=tmp_path)) as cleanup:
        cleanup.register_cleanup(folder)
        folder.mkdir()
        work = Work(folder, errors)
        try:
            outcome = retrying(work, clean=work.clean, attempts=attempts)
        except StoreError as error:
            outcome = error
    failures = min(len(errors), attempts)
    assert work.found == [0] * work.attempts  # every attempt begins on clean ground
    assert not folder.exists()
    assert work.cleaned == failures
    if len(errors) < attempts:
        assert outcome == "done"
    else:
        assert outcome is errors[attempts - 1]
        assert len(outcome.__notes__) == attempts  # one says why it was given up, one tells of each earlier attempt
    retries = [each.fields for each in records if each.row == "RetryTarget"]
    assert [each["attempt"] for each in retries] == list(range(1, failures + 1))
    assert [each["exhausted"] for each in retries] == [int(each == attempts) for each in range(1, failures + 1)]
    assert len({id(error) for error in errors}) == len(errors)


@given(st.sampled_from((AccessDeniedError, ArtifactNotFoundError, StoreError)), st.text(max_size=12))
def test_only_a_closed_set_of_errors_is_recoverable(kind, code):
    assert is_recoverable(store_error(code, kind)) == (code in RECOVERABLE_CODES)
    for error in (
        ExtractionError("damaged"),
        OperationAbortedError("stop"),
        CleanupFailedError([]),
        OSError(),
        ValueError(),
    ):
        assert not is_recoverable(error)
    assert not is_recoverable(store_error("503", ArtifactChangedError))


def test_every_answer_that_counts_as_throttled_is_recoverable():
    assert THROTTLED <= BUSY_CODES <= RECOVERABLE_CODES


def test_an_error_that_cannot_pass_is_raised_at_once_on_clean_ground(tmp_path):
    work = Work(tmp_path, [error := ExtractionError("damaged")])
    with recorded() as records, pytest.raises(ExtractionError) as raised:
        retrying(work, clean=work.clean, attempts=5)
    assert raised.value is error
    assert (work.attempts, work.cleaned, records) == (1, 1, [])


def test_scratch_that_ran_out_is_tried_once_more_after_the_cleanup(tmp_path):
    work = Work(tmp_path, [shortage()])
    assert retrying(work, clean=work.clean, attempts=5) == "done"
    again = Work(tmp_path, [shortage(), store_error("SlowDown"), last := shortage(), shortage()])
    with pytest.raises(InsufficientStorageError) as raised:
        retrying(again, clean=again.clean, attempts=9)
    assert raised.value is last
    assert again.attempts == 3


def test_a_failing_cleanup_ends_the_retries_and_does_not_hide_the_error(tmp_path):
    work = Work(tmp_path, [error := store_error("SlowDown"), store_error("SlowDown")])
    with recorded() as records, pytest.raises(StoreError) as raised:
        retrying(work, clean=lambda: 1 / 0, attempts=5)
    assert raised.value is error
    assert work.attempts == 1
    assert error.__notes__[0] == "Cleaning up after it failed with ZeroDivisionError: division by zero"
    assert [each.fields["exhausted"] for each in records] == [1]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_there_is_no_attempt_that_the_time_left_does_not_hold(left_s):
    times = iter(left_s)

    def fail():
        raise store_error("SlowDown")

    limit = time_limit(lambda: next(times))
    with recorded() as records, pytest.raises(StoreError) as raised, limit:
        retrying(fail, clean=lambda: None, attempts=len(left_s) + 1)
    enough = [each > retry.WAIT_INITIAL_S * 2**at + retry.WAIT_JITTER_S for at, each in enumerate(left_s)]
    attempts = enough.index(False) + 1 if False in enough else len(left_s) + 1
    assert len(records) == attempts
    assert ("are left" in raised.value.__notes__[0]) == (False in enough)


def test_the_pauses_grow_and_stay_below_the_longest():
    paused = []

    def fail():
        raise store_error("SlowDown")

    with recorded() as records, pytest.raises(StoreError):
        retry.retrying(fail, clean=lambda: None, attempts=1100, pause=paused.append)
    planned = [min(retry.WAIT_MAX_S, retry.WAIT_INITIAL_S * 2 ** min(n, 9)) for n in range(1099)]
    assert [each.fields["wait_s"] for each in records] == [*planned, 0.0]
    for pause_s, least_s in zip(paused, planned, strict=True):
        assert least_s <= pause_s <= min(retry.WAIT_MAX_S, least_s + retry.WAIT_JITTER_S)
    assert len(set(paused[:5])) == 5  # clients that failed together do not come back together


def test_being_told_to_end_is_not_retried_and_nothing_is_cleaned_twice(tmp_path):
    for error in (SystemExit(), KeyboardInterrupt()):
        work = Work(tmp_path, [error])
        with pytest.raises(type(error)):
            retrying(work, clean=work.clean, attempts=5, on=lambda _: True)
        assert (work.attempts, work.cleaned) == (1, 0)
        work.clean()
