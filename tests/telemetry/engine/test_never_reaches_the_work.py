"""A broken recorder, clock or value is telemetry's own trouble: counted, said once, and never the work's."""

import concurrent.futures
import contextvars
import decimal
import enum
import functools
import math
import os
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanProcessor

import telemetry
from telemetry import catalog
from telemetry.check import check_line
from telemetry.engine import steps
from telemetry.engine.embedded import EmbeddedMetrics
from telemetry.engine.health import HEALTH, Health
from telemetry.engine.logs import Logs
from telemetry.engine.otlp_file import otlp_json
from telemetry.engine.settings import Settings
from telemetry.engine.spans import Spans
from telemetry.engine.steps import Guard


def explode(*_, **__):
    raise RuntimeError("exploded")


NUMERIC = [
    "__abs__",
    "__add__",
    "__bool__",
    "__float__",
    "__ge__",
    "__gt__",
    "__index__",
    "__int__",
    "__le__",
    "__lt__",
]
OTHERS = ["__contains__", "__eq__", "__format__", "__hash__", "__iter__", "__len__", "__radd__", "__repr__", "__str__"]
NAMED = ["encode", "isascii", "items", "keys"]


def exploding(base):
    """Return a subclass of which every method raises that anybody might call."""
    return type(f"Exploding{base.__name__.title()}", (base,), dict.fromkeys(NUMERIC + OTHERS + NAMED, explode))


class Unloaded:
    """As a lazy proxy outside of its request: even to ask for its class raises."""

    __class__ = property(explode)


class Silent:
    __str__ = __repr__ = explode


class Colour(str, enum.Enum):  # noqa: UP042  its text is not its value, unlike that of a StrEnum
    RED = "red"


ExplodingError = exploding(Exception)
Exploding = exploding(object)


class ExplodingPropertiesError(Exception):
    figures = next_step = response = property(explode)


ITSELF = {"a": 1}
ITSELF["itself"] = [ITSELF]
DEEP = functools.reduce(lambda inner, _: [inner], range(100_000), [])

EXPLODING = [
    Exploding(),
    *(exploding(base)() for base in (int, float, str, bytes, list, dict, set, decimal.Decimal)),
    {Silent(): 1},
    {"a": [exploding(str)("b")]},
    Unloaded(),
    DEEP,
]
"""What Hypothesis itself cannot hold in its hands."""
NASTY = [
    Colour.RED,
    ITSELF,
    10**30,
    -(10**30),
    math.nan,
    math.inf,
    -math.inf,
    b"bytes",
    decimal.Decimal("1.5"),
    decimal.Decimal("NaN"),
    decimal.Decimal("sNaN"),
    "x" * 10_000_000,
    10**400,
    True,
    None,
    1j,
    object(),
    {"a": {"b": {"c": {"d": {"e": 1}}}}},
    [1] * 100_000,
    {1: 2, None: 3},
    "\ud800 \x00 \x1b[31m \n \u2028",
    "ÿ" * 70_000,
    float("1e309"),
    5e-324,
]
values = st.one_of(
    st.builds(lambda: -(10**5000)),  # has no text of its own
    st.sampled_from(NASTY),
    st.text(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
)


class Keep(telemetry.Recorder):
    def __init__(self):
        self.steps = []

    def end(self, step):
        self.steps.append(step)


class KeepSpans(SpanProcessor):
    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


def assert_conforming(step, kept):
    """Hold both lines and the span of a step against what CloudWatch and a collector take."""
    assert check_line(EmbeddedMetrics(catalog.VOCABULARY).render(step)) == []
    assert check_line(Logs.as_json("debug").render(step)) == []
    assert encode_spans(kept.spans).SerializeToString()
    otlp_json(kept.spans[0]).encode()


@given(st.sampled_from(catalog.ROWS), st.data())
def test_any_value_in_any_field_leaves_lines_that_cloudwatch_takes(row, data):
    fields = {field: data.draw(values, field) for field in sorted(row.fields)}
    keep, kept = Keep(), KeepSpans()
    context = telemetry.context(request_id=data.draw(values), target=data.draw(values))
    with (
        telemetry.attached(Spans(catalog.VOCABULARY, Settings(), kept), keep),
        context,
        telemetry.observe(row, **fields),
    ):
        pass
    assert_conforming(keep.steps[0], kept)


@given(values, values, values)
def test_any_exception_leaves_lines_that_cloudwatch_takes(figures, next_step, text):
    class AnyError(Exception):
        pass

    error = AnyError(text)
    error.figures, error.next_step, error.response = figures, next_step, figures
    keep, kept = Keep(), KeepSpans()
    with (
        telemetry.attached(Spans(catalog.VOCABULARY, Settings(), kept), keep),
        pytest.raises(AnyError),
        telemetry.observe(catalog.READ_ARTIFACT),
    ):
        raise error
    assert_conforming(keep.steps[0], kept)


@pytest.mark.parametrize("number", range(len(NASTY + EXPLODING)))  # no values: pytest looks into them
def test_every_nasty_value_leaves_its_three_records(number, recorded_in):
    recording, found = recorded_in()
    value = (NASTY + EXPLODING)[number]
    fields = dict.fromkeys(catalog.READ_ARTIFACT.fields, value)
    with recording, telemetry.context(job_name=value), telemetry.observe(catalog.READ_ARTIFACT, **fields):
        telemetry.log("warning", "Something", value=value)
    assert len(found.emf) == len(found.spans) == 1
    assert [line["event"] for line in found.logs] == ["Something", "ReadArtifact"]


@pytest.mark.parametrize("kind", ["text", "properties", "surrogate"])
def test_every_nasty_exception_leaves_its_three_records(kind, recorded_in):
    recording, found = recorded_in()
    error = {"text": ExplodingError, "properties": ExplodingPropertiesError, "surrogate": OSError}[kind]("\ud800")
    with recording, pytest.raises(type(error)) as raised, telemetry.observe(catalog.READ_ARTIFACT):
        raise error
    assert raised.value is error
    assert len(found.emf) == len(found.logs) == len(found.spans) == 1
    assert found.logs[0]["next_step"]


@pytest.mark.parametrize("told", [None, 5, {}, {"Code": 5}, {"Code": "\ud800" * 5000}], ids=range(5))
def test_a_service_error_of_any_form_leaves_its_line(told, recorded_in):
    class ServiceError(Exception):
        response = {"Error": told}  # noqa: RUF012  as botocore's has it

    recording, found = recorded_in()
    with recording, pytest.raises(ServiceError), telemetry.observe(catalog.READ_ARTIFACT):
        raise ServiceError
    assert "ServiceError" in found.emf[0]["error_type"]


def test_an_exception_without_a_text_still_has_its_line(recorded_in):
    recording, found = recorded_in()
    with recording, pytest.raises(ExplodingError), telemetry.observe(catalog.READ_ARTIFACT):
        raise ExplodingError
    assert found.logs[0]["error"] == "<ExplodingException, whose text failed with RuntimeError>"
    assert len(found.spans) == len(found.emf) == 1


def test_bad_metric_values_are_dropped_by_name_and_the_rest_of_the_line_stays(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.READ_ARTIFACT) as step:
        step.add(bytes_read=math.nan, requests="three", resumed=True, store="s3")
    (emf,) = found.emf
    assert "BytesRead" not in emf
    assert "Requests" not in emf
    assert emf["Resumed"] == 1
    assert found.health[0]["Faults"] == 2
    assert "ReadArtifact.bytes_read is nan" in found.health[0]["first_fault"]


def test_a_decimal_is_a_number(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.READ_ARTIFACT, bytes_read=decimal.Decimal(12)):
        pass
    assert found.emf[0]["BytesRead"] == 12


def test_a_text_of_ten_megabytes_is_cut_and_counted(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.READ_ARTIFACT, source="x" * 10_000_000):
        pass
    assert found.emf[0]["source"] == "x" * 1024 + "... (10000000 characters)"
    assert found.health[0]["LinesTrimmed"] == 1


@pytest.mark.parametrize("hook", ["begin", "leave", "end"])
def test_a_recorder_that_raises_is_switched_off_and_the_others_go_on(hook, recorded_in):
    calls = []

    def broken(_self, _step):
        calls.append(hook)
        raise OSError("recorder")

    recorder = type("BrokenRecorder", (telemetry.Recorder,), {hook: broken})()
    recording, found = recorded_in()
    with telemetry.attached(recorder), recording, telemetry.attached(recorder):
        for _ in range(10):
            with telemetry.observe(catalog.PLAN_PACKAGE):
                pass
    assert len(found.emf) == len(found.logs) == len(found.spans) == 10
    assert len(calls) == 2 * Guard.PATIENCE
    assert HEALTH.take()["faults"] + found.health[0]["Faults"] == len(calls)


def test_a_recorder_that_cannot_even_be_named_does_no_harm(recorded_in):
    class Nameless(telemetry.Recorder):
        __repr__ = __str__ = explode

        def end(self, _step):
            raise ExplodingError

    recording, found = recorded_in()
    with recording, telemetry.attached(Nameless()), telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert len(found.emf) == 1
    assert "Nameless.end raised: ExplodingException" in found.health[0]["first_fault"]


def test_values_that_do_not_add_up_do_no_harm(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.WRITE_COMPONENT) as step:
        for value in NASTY + EXPLODING:
            step.add(retries=value, storage_peak_bytes=value)
            step.add(retries=1, storage_peak_bytes=1)
    assert len(found.emf) == len(found.logs) == len(found.spans) == 1


def test_a_step_that_is_left_in_another_thread_ends_and_its_thread_goes_on(recorded_in):
    recording, found = recorded_in()
    with recording:
        for _ in range(2 * Guard.PATIENCE):
            step = telemetry.observe(catalog.READ_ARTIFACT)
            contextvars.copy_context().run(step.__enter__)
            thread = threading.Thread(target=step.__exit__, args=(None, None, None))
            thread.start()
            thread.join()
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    assert [line["Operation"] for line in found.emf] == ["ReadArtifact"] * 2 * Guard.PATIENCE + ["PlanPackage"]
    assert "parentSpanId" not in found.spans[-1]
    assert "ReadArtifact was left twice, or elsewhere" in found.health[0]["first_fault"]


def test_a_context_that_is_left_elsewhere_does_no_harm():
    def held():
        with telemetry.context(training_id="t"):
            yield

    generator = held()
    contextvars.copy_context().run(next, generator)
    generator.close()
    assert "the context was left twice, or elsewhere" in HEALTH.take()["first_fault"]


def test_a_step_that_is_entered_twice_ends_once(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE) as step, step:
        pass
    assert len(found.emf) == 1


@pytest.mark.parametrize("key", ["level", "event", "self", "row", "keys", "timestamp", "name", "method_name"])
def test_a_key_of_any_name_reaches_its_line_or_gives_way_to_ours(key, recorded_in):
    recording, found = recorded_in()
    with recording:
        for _ in range(2 * Guard.PATIENCE):
            telemetry.log("info", "Something", **{key: "mine"})
            with telemetry.observe(catalog.PLAN_PACKAGE, **{key: "mine"}) as step:
                step.add(**{key: "mine"})
    lines = [line for line in found.logs if line["event"] == "Something"]
    assert len(lines) == 2 * Guard.PATIENCE
    assert {line["level"] for line in lines} == {"info"}
    assert len(found.emf) == 2 * Guard.PATIENCE


@pytest.mark.parametrize("level", ["notice", "INFO", "", None, 20])
def test_a_level_that_is_none_is_told_as_an_error(level, recorded_in):
    recording, found = recorded_in()
    with recording:
        telemetry.log(level, "Something")
    assert [(line["event"], line["level"]) for line in found.logs] == [("Something", "error")]
    assert "is no level; say one of debug, info, warning, error" in found.health[0]["first_fault"]


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_standard_error_that_is_gone_costs_people_the_log_and_nobody_the_metrics(stream, recorded_in, monkeypatch):
    gone = open(os.devnull, "w")  # noqa: SIM115, PTH123  closed at once
    gone.close()
    recording, found = recorded_in(Settings(console=True))
    monkeypatch.setattr(sys, "stderr", gone if stream else None)
    with recording:
        for _ in range(2 * Guard.PATIENCE):
            with telemetry.observe(catalog.PLAN_PACKAGE):
                pass
    assert len(found.emf) == 2 * Guard.PATIENCE


def test_adding_while_the_clock_ends_the_step_loses_no_last_word(recorded_in):
    fields = [field for field in sorted(catalog.INVOKE_FUNCTION.fields) if field != "trigger"]
    stop = threading.Event()

    def add_on(step):
        while not stop.is_set():
            for field in fields:
                step.add(**{field: 1})
            step.fields.clear()

    recording, found = recorded_in()
    with recording, concurrent.futures.ThreadPoolExecutor(1) as pool, telemetry.observe(catalog.INVOKE_FUNCTION):
        for _ in range(200):
            with telemetry.observe(catalog.INVOKE_FUNCTION) as step:
                adding = pool.submit(add_on, step)
                assert telemetry.close_open_spans() >= 1
            stop.set()
            adding.result()
            stop.clear()
    assert len(found.emf) == 201


@pytest.mark.parametrize(
    "part",
    ["telemetry.engine.logs.error_details", "telemetry.engine.embedded.error_type"],
)
def test_a_broken_line_takes_neither_its_sister_nor_the_work(part, recorded_in, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr(part, broken)
    recording, found = recorded_in()
    with recording, pytest.raises(KeyError), telemetry.observe(catalog.READ_ARTIFACT):
        raise KeyError
    assert len(found.spans) == 1
    assert len(found.emf) + len(found.logs) == 1


@pytest.mark.parametrize("time_ns", [explode, *(lambda t=t: t for t in (math.nan, math.inf, None, "noon", -5, 0))])
@pytest.mark.parametrize("clock", ["clock_ns", "wall_ns"])
def test_a_clock_that_says_no_time_leaves_lines_and_spans_that_are_taken(clock, time_ns, recorded_in, monkeypatch):
    kept = KeepSpans()
    recording, found = recorded_in()
    with recording, telemetry.attached(Spans(catalog.VOCABULARY, Settings(), kept)), monkeypatch.context() as patch:
        patch.setattr(steps, clock, time_ns)
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    assert len(found.emf) == len(found.logs) == len(found.spans) == 1
    assert found.emf[0]["Duration"] < 60_000
    assert encode_spans(kept.spans).SerializeToString()


def test_a_clock_that_runs_backwards_gives_no_negative_duration(recorded_in, monkeypatch):
    recording, found = recorded_in()
    with recording, monkeypatch.context() as patch:
        ticks = iter([2_000_000, 1_000_000])
        patch.setattr(steps, "clock_ns", lambda: next(ticks))
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    assert found.emf[0]["Duration"] == 0


def test_a_missing_library_is_counted_and_the_rest_records(recorded_in, monkeypatch):
    import telemetry.engine.embedded  # noqa: PLC0415  patched below

    def missing():
        raise ModuleNotFoundError("aws_embedded_metrics")

    monkeypatch.setattr(telemetry.engine.embedded, "library", missing)
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert found.emf == []
    assert len(found.logs) == len(found.spans) == 1
    log = next(line for line in found.documents if line["event"] == "TelemetryHealth")
    assert "a part of telemetry is missing: ModuleNotFoundError" in log["first_fault"]


def test_a_fault_is_said_once_on_standard_error(capsys):
    health = Health()
    for _ in range(3):
        health.fault("the very same fault")
    assert capsys.readouterr().err == "telemetry: the very same fault\n"
    assert health.take()["faults"] == 3
