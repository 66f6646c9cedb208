import math
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError
from dashboards.cloudwatch.notation import parse_metric, parse_notation
from dashboards.cloudwatch.series import Grid, Sample, Store

METRIC = Metric("N", "m")


def values_of(text):
    """The values by step; None between them where there is none."""
    at = {int(sample.time_s): sample.value for sample in parse_notation(text)}
    return [at.get(step) for step in range(max(at, default=-1) + 1)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2.5 -3", [1, 2.5, -3]),
        ("4x3", [4, 4, 4, 4]),
        ("1+2x3", [1, 3, 5, 7]),
        ("10-1x2", [10, 9, 8]),
        ("_ 1 _x3 2", [None, 1, None, None, None, 2]),
        ("1e3", [1000]),
        ("", []),
    ],
)
def test_the_notation_reads_as_in_promtool(text, values):
    assert values_of(text) == values


def test_a_value_may_stand_for_many_samples_of_its_step():
    assert parse_notation("5*200 7*3x1") == [Sample(0, 5, 200), Sample(1, 7, 3), Sample(2, 7, 3)]


@pytest.mark.parametrize("text", ["x", "1x", "5*", "--1", "1+x3", "1..2", "1e999"])
def test_a_value_that_cannot_be_read_is_quoted(text):
    with pytest.raises(DefinitionError, match="write 5"):
        parse_notation(text)


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("AWS/Lambda/Errors", Metric("AWS/Lambda", "Errors")),
        ("A/b{y=2, x=1}", Metric("A", "b", (("x", "1"), ("y", "2")))),
    ],
)
def test_a_metric_is_written_with_its_namespace_and_dimensions(text, metric):
    assert parse_metric(text) == metric
    assert parse_metric(str(metric)) == metric


@pytest.mark.parametrize("text", ["Errors", "A/b{c}", "/b", "A/b{"])
def test_a_metric_that_cannot_be_read_is_quoted(text):
    with pytest.raises(DefinitionError, match="write"):
        parse_metric(text)


def store_of(samples):
    store = Store()
    for sample in samples:
        store.add(METRIC, sample)
    return store


samples = st.lists(
    st.builds(Sample, st.integers(0, 719).map(float), st.floats(-1e9, 1e9), st.integers(1, 3).map(float)), max_size=40
)
WORK = {
    "Sum": math.fsum,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
    "Average": lambda values: math.fsum(values) / len(values),
    "p75": lambda values: quantiles(values, n=4, method="inclusive")[2] if len(values) > 1 else values[0],
}


@given(samples, st.sampled_from([*WORK]), st.integers(1, 13))
def test_a_statistic_speaks_of_the_samples_of_its_window_and_of_nothing_else(samples, statistic, width):
    found = store_of(samples).statistic(METRIC, statistic, Grid(0, 60, 12), width)
    for step, value in enumerate(found):
        inside = [
            s.value
            for s in samples
            for _ in range(int(s.count))
            if 60 * (step + 1 - width) <= s.time_s < 60 * (step + 1)
        ]
        assert value == (pytest.approx(WORK[statistic](inside), rel=1e-9, abs=1e-6) if inside else None)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30), st.integers(2, 9))
def test_a_sliding_sum_loses_nothing_to_what_went_before(values, width):
    found = store_of([Sample(60.0 * n, value) for n, value in enumerate(values)]).statistic(
        METRIC, "Sum", Grid(0, 60, len(values)), width
    )
    assert found == [math.fsum(values[max(0, end - width) : end]) for end in range(1, len(values) + 1)]


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=99), st.sampled_from([2, 5, 29, 31, 60]), st.integers(-3, 3))
def test_narrow_and_wide_windows_and_samples_before_and_after_what_is_asked_for_are_alike(values, width, shift):
    store = store_of([Sample(60.0 * (n + shift), value) for n, value in enumerate(values)])
    placed = [values[n - shift] if 0 <= n - shift < len(values) else None for n in range(40)]
    for statistic, work in (("Sum", math.fsum), ("Minimum", min), ("Maximum", max)):
        windows = [[v for v in placed[max(0, end - width) : end] if v is not None] for end in range(1, 41)]
        assert store.statistic(METRIC, statistic, Grid(0, 60, 40), width) == [
            work(window) if window else None for window in windows
        ]


@given(st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=40), st.integers(1, 99))
def test_a_percentile_lies_between_its_ranks(values, percent):
    store = store_of([Sample(0, value) for value in values])
    expected = quantiles(values, n=100, method="inclusive")[percent - 1]
    assert store.statistic(METRIC, f"p{percent}", Grid(0, 60, 1))[0] == pytest.approx(expected, abs=1e-9)


def test_a_counted_value_weighs_as_many():
    counted = store_of([Sample(0, 1, 99), Sample(0, 100, 1)])
    assert counted.statistic(METRIC, "p50", Grid(0, 60, 1)) == [1]
    assert counted.statistic(METRIC, "p100", Grid(0, 60, 1)) == [100]
    assert counted.statistic(METRIC, "Average", Grid(0, 60, 1)) == [math.fsum([99, 100]) / 100]


@pytest.mark.parametrize("statistic", ["zz99", "p101", "average"])
def test_a_statistic_that_is_not_evaluated_is_named(statistic):
    with pytest.raises(UnsupportedError, match=statistic):
        store_of([Sample(0, 1)]).statistic(METRIC, statistic, Grid(0, 60, 1))
