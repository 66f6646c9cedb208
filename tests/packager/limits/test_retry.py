from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from packager.errors import (
    AccessDeniedError,
    ArtifactChangedError,
    ArtifactNotFoundError,
    CleanupFailedError,
    ExtractionError,
    InsufficientStorageError,
    OperationAbortedError,
    StoreError,
)
from packager.limits import retry
from packager.limits.cleanup import CleanupContext, TerminatedError
from packager.limits.retry import RECOVERABLE_CODES, is_recoverable, retrying
from packager.settings import Settings
from telemetry.engine.testing import recorded

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def without_pauses():
    with stamina.set_testing(True, attempts=1000, cap=True):
        yield


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

    with recorded() as records, pytest.raises(StoreError) as raised:
        retrying(fail, clean=lambda: None, attempts=len(left_s) + 1, time_left_s=lambda: next(times))
    enough = [each > retry.WAIT_JITTER_S for each in left_s]
    attempts = enough.index(False) + 1 if False in enough else len(left_s) + 1
    assert len(records) == attempts
    assert ("are left" in raised.value.__notes__[0]) == (False in enough)


def test_the_pauses_grow_and_stay_below_the_longest(monkeypatch):
    slept = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    stamina.set_testing(False)

    def fail():
        raise store_error("SlowDown")

    with recorded() as records, pytest.raises(StoreError):
        retrying(fail, clean=lambda: None, attempts=9)
    planned = [min(retry.WAIT_MAX_S, retry.WAIT_INITIAL_S * 2**n) for n in range(8)]
    assert [each.fields["wait_s"] for each in records] == [*planned, 0.0]
    for pause_s, least_s in zip(slept, planned, strict=True):
        assert least_s <= pause_s <= min(retry.WAIT_MAX_S, least_s + retry.WAIT_JITTER_S)


def test_being_told_to_end_is_not_retried_and_nothing_is_cleaned_twice(tmp_path):
    for error in (TerminatedError(), KeyboardInterrupt()):
        work = Work(tmp_path, [error])
        with pytest.raises(type(error)):
            retrying(work, clean=work.clean, attempts=5, on=lambda _: True)
        assert (work.attempts, work.cleaned) == (1, 0)
        work.clean()


def test_stamina_tells_of_the_retries_of_others_only(tmp_path):
    told = []
    before = get_on_retry_hooks()
    retry._silence_hooks.cache_clear()
    set_on_retry_hooks([told.append])
    try:
        inner = iter([ValueError(), "inner"])

        @stamina.retry(on=ValueError)
        def of_others():
            value = next(inner)
            if isinstance(value, Exception):
                raise value
            return value

        work = Work(tmp_path, [store_error("SlowDown")])
        retrying(lambda: (work(), of_others()), clean=work.clean, attempts=3)
        assert [each.name.rpartition(".")[2] for each in told] == ["of_others"]
    finally:
        set_on_retry_hooks(before)
        retry._silence_hooks.cache_clear()


def test_a_retry_writes_nothing_to_the_standard_streams():
    program = (
        "from packager.errors import StoreError; from packager.limits.retry import retrying; import stamina\n"
        "stamina.set_testing(True, attempts=9, cap=True)\n"
        "errors = [StoreError('busy', code='SlowDown')]\n"
        "def work():\n  if errors: raise errors.pop()\n"
        "retrying(work, clean=lambda: None, attempts=3)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
