"""A broken recorder, clock or value is telemetry's own trouble: counted, said once, and never the work's."""

import decimal
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telemetry
from telemetry import catalog, steps
from telemetry.conformance import check_line
from telemetry.embedded import EmbeddedMetrics
from telemetry.health import HEALTH, Health
from telemetry.logs import Logs
from telemetry.recording import Guard


class Exploding:
    def __str__(self):
        raise RuntimeError("no text")


class ExplodingError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


NASTY = [
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
    Exploding(),
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


@given(st.sampled_from(catalog.ROWS), st.data())
def test_any_value_in_any_field_leaves_lines_that_cloudwatch_takes(row, data):
    fields = {field: data.draw(values, field) for field in sorted(row.fields)}
    keep = Keep()
    context = telemetry.context(request_id=data.draw(values), target=data.draw(values))
    with telemetry.attached(keep), context, telemetry.observe(row, **fields):
        pass
    (step,) = keep.steps
    assert check_line(EmbeddedMetrics().render(step)) == []
    assert check_line(Logs.as_json("debug").render(step)) == []


@given(values, values, values)
def test_any_exception_leaves_lines_that_cloudwatch_takes(figures, next_step, text):
    class AnyError(Exception):
        pass

    error = AnyError(text)
    error.figures, error.next_step, error.response = figures, next_step, figures
    keep = Keep()
    with telemetry.attached(keep), pytest.raises(AnyError), telemetry.observe(catalog.READ_ARTIFACT):
        raise error
    assert check_line(EmbeddedMetrics().render(keep.steps[0])) == []
    assert check_line(Logs.as_json("debug").render(keep.steps[0])) == []


def test_an_exception_without_a_text_still_has_its_line(recorded_in):
    recording, found = recorded_in()
    with recording, pytest.raises(ExplodingError), telemetry.observe(catalog.READ_ARTIFACT):
        raise ExplodingError
    assert found.logs[0]["error"] == "<ExplodingError, whose text failed with RuntimeError>"
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


@pytest.mark.parametrize(
    "part", ["telemetry.logs.error_details", "telemetry.logs.rendered", "telemetry.embedded.rendered"]
)
def test_a_broken_line_takes_neither_its_sister_nor_the_work(part, recorded_in, monkeypatch):
    def broken(_step):
        raise RuntimeError("broken")

    monkeypatch.setattr(part, broken)
    recording, found = recorded_in()
    with recording, pytest.raises(KeyError), telemetry.observe(catalog.READ_ARTIFACT):
        raise KeyError
    assert len(found.spans) == 1
    assert len(found.emf) + len(found.logs) == 1


@pytest.mark.parametrize("clock", ["clock_ns", "wall_ns"])
def test_a_broken_clock_is_counted(clock, recorded_in, monkeypatch):
    def stopped():
        raise OSError("no clock")

    recording, found = recorded_in()
    with recording, monkeypatch.context() as patch:
        patch.setattr(steps, clock, stopped)
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    assert len(found.emf) == len(found.logs) == len(found.spans) == 1


def test_a_clock_that_runs_backwards_gives_no_negative_duration(recorded_in, monkeypatch):
    recording, found = recorded_in()
    with recording, monkeypatch.context() as patch:
        ticks = iter([2_000_000, 1_000_000])
        patch.setattr(steps, "clock_ns", lambda: next(ticks))
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass
    assert found.emf[0]["Duration"] == 0


def test_a_missing_library_is_counted_and_the_rest_records(recorded_in, monkeypatch):
    import telemetry.embedded  # noqa: PLC0415  patched below

    def missing():
        raise ModuleNotFoundError("aws_embedded_metrics")

    monkeypatch.setattr(telemetry.embedded, "_library", missing)
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
