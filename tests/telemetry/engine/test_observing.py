"""Observing a step: what adds up, what is carried, what is refused, and what never reaches the work."""

import concurrent.futures
import contextlib
import inspect
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telemetry
from telemetry import catalog
from telemetry.engine import observing
from telemetry.engine.health import HEALTH
from telemetry.engine.testing import Record, recorded


def test_add_reaches_the_innermost_step_and_nothing_where_there_is_none():
    telemetry.add(bytes_read=1)
    with recorded() as records, telemetry.observe(catalog.PACKAGE_TARGET), telemetry.observe(catalog.READ_ARTIFACT):
        telemetry.add(bytes_read=2)
    assert records == [
        Record("ReadArtifact", {"bytes_read": 2}, parent="PackageTarget"),
        Record("PackageTarget", {}),
    ]


def test_the_last_value_wins_unless_the_row_says_otherwise():
    with recorded() as records, telemetry.observe(catalog.WRITE_COMPONENT) as step:
        for number in (3, 5, 4):
            step.add(parts=number, retries=number, storage_peak_bytes=number)
    assert records[0].fields == {"parts": 4, "retries": 12, "storage_peak_bytes": 5}


@given(st.lists(st.tuples(st.sampled_from(["read", "write"]), st.integers(0, 99), st.integers(0, 99))))
def test_an_enclosing_step_gathers_what_its_row_asks_for_whatever_the_nesting(steps):
    with recorded() as records, telemetry.observe(catalog.INVOKE_FUNCTION), contextlib.ExitStack() as nested:
        nested.enter_context(telemetry.observe(catalog.PACKAGE_TARGET))
        for kind, retries, aborted in steps:
            row = catalog.READ_ARTIFACT if kind == "read" else catalog.WRITE_COMPONENT
            step = nested.enter_context(telemetry.observe(row, retries=retries))
            if kind == "write":
                step.add(aborted=aborted)
    function = records[-1].fields
    assert function.get("retries", 0) == sum(retries for _, retries, _ in steps)
    assert function.get("uploads_aborted", 0) == sum(aborted for kind, _, aborted in steps if kind == "write")


def test_a_peak_is_the_largest_of_all_steps_inside():
    with recorded() as records, telemetry.observe(catalog.PACKAGE_REQUEST):
        for peak in (5, 9, 7):
            with telemetry.observe(catalog.PACKAGE_TARGET, peak_scratch_bytes=peak):
                pass
    assert records[-1].fields == {"peak_scratch_bytes": 9}


def test_adds_from_many_threads_all_count():
    with (
        recorded() as records,
        telemetry.observe(catalog.WRITE_COMPONENT) as step,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda _: [step.add(retries=1) for _ in range(500)], range(8)))
    assert records[0].fields == {"retries": 4000}


def test_a_carried_function_goes_on_below_the_step_that_was_open_also_many_times_at_once():
    def work(_):
        with telemetry.observe(catalog.PACKAGE_TARGET):
            telemetry.add(files=1)

    with recorded() as records, telemetry.context(training_id="t"), telemetry.observe(catalog.PACKAGE_REQUEST):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(telemetry.carrying(work), range(20)))
        thread = threading.Thread(target=telemetry.carrying(lambda: work(0)))
        thread.start()
        thread.join()
    assert (
        records[:-1]
        == [Record("PackageTarget", {"files": 1}, parent="PackageRequest", context={"training_id": "t"})] * 21
    )


def test_a_thread_of_its_own_begins_a_tree_of_its_own():
    def work():
        with telemetry.observe(catalog.READ_ARTIFACT):
            pass

    with recorded() as records, telemetry.observe(catalog.PACKAGE_REQUEST):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert records[0] == Record("ReadArtifact")


def test_the_context_binds_what_is_inside_and_nothing_after():
    with recorded() as records:
        with (
            telemetry.context(request_id="r", training_id=None),
            telemetry.context(target="onnx"),
            telemetry.observe(catalog.PLAN_PACKAGE),
        ):
            pass
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    assert [record.context for record in records] == [{"request_id": "r", "target": "onnx"}, {}]


def test_a_traced_function_keeps_its_face_and_its_result():
    @telemetry.traced(catalog.CREATE_MANIFEST)
    def make(name: str, *, upper: bool = False) -> str:
        """Make it."""
        telemetry.add(bytes_read=len(name))
        return name.upper() if upper else name

    with recorded() as records:
        assert make("abc", upper=True) == "ABC"
    assert records == [Record("CreateManifest", {"bytes_read": 3})]
    assert (make.__name__, make.__doc__) == ("make", "Make it.")
    assert list(inspect.signature(make).parameters) == ["name", "upper"]


def generator():
    yield


async def coroutine():
    pass


async def async_generator():
    yield


@pytest.mark.parametrize("function", [generator, coroutine, async_generator])
def test_a_function_that_returns_before_its_work_is_refused_at_its_definition(function):
    with pytest.raises(TypeError, match="observe CreateManifest in the function that consumes it"):
        telemetry.traced(catalog.CREATE_MANIFEST)(function)


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), MemoryError()]
)
def test_exceptions_of_any_kind_pass_through_as_they_are(error):
    with recorded() as records:
        with pytest.raises(BaseException) as raised, telemetry.observe(catalog.READ_ARTIFACT):  # noqa: PT011  compared below
            raise error
        assert raised.value is error
    assert records == [Record("ReadArtifact", outcome="failure", error=type(error).__name__)]


def test_an_undeclared_field_is_dropped_and_counted_but_fails_a_test():
    with telemetry.observe(catalog.READ_ARTIFACT) as step:
        step.add(no_such_field=1)  # nothing records: nothing is checked
    HEALTH.take()
    with pytest.raises(AssertionError, match="ReadArtifact declares no field 'byte_read'"):  # noqa: SIM117
        with recorded() as records, telemetry.observe(catalog.READ_ARTIFACT) as step:
            step.add(byte_read=1, requests=2)
    assert records == [Record("ReadArtifact", {"requests": 2})]
    assert HEALTH.take()["faults"] == 1


def test_an_unknown_key_of_the_context_fails_a_test():
    with pytest.raises(AssertionError, match="no key 'bucket'"), recorded(), telemetry.context(bucket="b"):
        pass


def test_a_fault_does_not_hide_the_failure_of_the_work():
    with pytest.raises(ZeroDivisionError), recorded(), telemetry.observe(catalog.READ_ARTIFACT, typo=1):
        raise ZeroDivisionError


def test_numbers_and_texts_that_do_not_add_up_are_counted_and_the_first_stays():
    with pytest.raises(AssertionError, match=r"WriteComponent\.retries"):  # noqa: SIM117  the recording must end first
        with recorded() as records, telemetry.observe(catalog.WRITE_COMPONENT, retries=1) as step:
            step.add(retries="many")
    assert records[0].fields == {"retries": 1}


def test_without_a_recorder_nothing_is_kept():
    with telemetry.observe(catalog.READ_ARTIFACT, bytes_read=1) as step:
        assert telemetry.current() is None
    assert step.fields == {}


def test_closing_ends_open_steps_innermost_first_and_only_once():
    with (
        recorded() as records,
        telemetry.observe(catalog.PACKAGE_REQUEST),
        telemetry.observe(catalog.READ_ARTIFACT, bytes_read=5),
    ):
        assert telemetry.close_open_spans() == 2
        assert telemetry.close_open_spans() == 0
        with telemetry.observe(catalog.CLEAN_UP):
            pass
    assert [(record.row, record.outcome) for record in records] == [
        ("ReadArtifact", "incomplete"),
        ("PackageRequest", "incomplete"),
        ("CleanUp", "success"),
    ]
    assert records[0].fields == {"bytes_read": 5}


def test_recorders_come_and_go_without_disturbing_each_other():
    with recorded() as outer:
        with recorded() as inner, telemetry.observe(catalog.PLAN_PACKAGE):
            pass
        with telemetry.observe(catalog.READ_ARTIFACT):
            pass
    assert [record.row for record in inner] == ["PlanPackage"]
    assert [record.row for record in outer] == ["PlanPackage", "ReadArtifact"]


def test_every_public_name_is_there():
    assert all(hasattr(telemetry, name) for name in telemetry.__all__)
    assert observing.current() is None


def test_the_outermost_step_carries_identifiers_that_are_learned_inside_unless_there_are_several():
    with recorded() as records, telemetry.observe(catalog.INVOKE_FUNCTION):
        for job in ("tj-1", "tj-2"):
            with telemetry.context(training_id=job, usecase_id="uc-1"), telemetry.observe(catalog.PACKAGE_REQUEST):
                pass
    assert [record.context for record in records] == [
        {"training_id": "tj-1", "usecase_id": "uc-1"},
        {"training_id": "tj-2", "usecase_id": "uc-1"},
        {"training_id": "several", "usecase_id": "uc-1"},
    ]
