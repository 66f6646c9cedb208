from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.errors import InsufficientStorageError, RequestError, StagingNeededError
from packager.limits.strategy import AUTO, STRATEGIES, Demand, Supply, choose
from packager.settings import GIB, MIB
from telemetry.catalog.parts import STRATEGY
from telemetry.engine.testing import recorded

SCRATCH = Path("/scratch")
many = settings(max_examples=200)

demands = st.builds(
    Demand,
    staged_bytes=st.lists(st.integers(0, 1000), max_size=9).map(tuple),
    needs_staging=st.booleans(),
    time_s=st.floats(0, 1000),
)
supplies = st.builds(
    Supply,
    scratch_bytes=st.integers(0, 4000),
    path=st.just(SCRATCH),
    memory_bytes=st.none() | st.integers(0, 1000),
    memory_per_target_bytes=st.integers(1, 300),
    at_once=st.integers(1, 9),
    time_left_s=st.just(math.inf) | st.floats(0, 1000),
    streaming_enabled=st.booleans(),
)
wishes = st.sampled_from((AUTO, *STRATEGIES))


def chosen(wanted, demand, supply):
    try:
        return choose(wanted, demand, supply)
    except (InsufficientStorageError, StagingNeededError) as error:
        return error


@many
@given(wishes, demands, supplies)
def test_property_6_what_is_chosen_fits_the_limits_and_what_does_not_fit_is_refused_with_figures(
    wanted, demand, supply
):
    outcome = chosen(wanted, demand, supply)
    assert repr(outcome) == repr(chosen(wanted, demand, supply))
    if isinstance(outcome, StagingNeededError):
        assert (wanted, demand.needs_staging) == ("streaming", True)
    elif isinstance(outcome, InsufficientStorageError):
        assert outcome.required_bytes > outcome.available_bytes == supply.scratch_bytes
        assert outcome.missing_bytes == outcome.required_bytes - supply.scratch_bytes
        assert outcome.path == str(SCRATCH)
        assert outcome.suggestions
    else:
        assert wanted in (AUTO, outcome.strategy)
        assert outcome.scratch_bytes <= supply.scratch_bytes
        assert 1 <= outcome.at_once <= supply.at_once
        assert outcome.at_once <= max(1, len(demand.staged_bytes))
        if outcome.at_once > 1 and supply.memory_bytes is not None:
            assert outcome.at_once * supply.memory_per_target_bytes <= supply.memory_bytes
        if outcome.stages and outcome.strategy != "partial":
            together = sorted(demand.staged_bytes, reverse=True)[: outcome.at_once]
            assert outcome.scratch_bytes == sum(together)


@many
@given(demands, supplies)
def test_property_6_any_demand_above_the_limits_selects_a_strategy_unless_not_even_one_target_can_be_staged(
    demand, supply
):
    outcome = chosen(AUTO, demand, supply)
    must_stage = demand.needs_staging or not supply.streaming_enabled
    smallest = min(demand.staged_bytes, default=0)
    assert isinstance(outcome, InsufficientStorageError) == (must_stage and smallest > supply.scratch_bytes)


@many
@given(demands, supplies)
def test_auto_takes_the_first_of_the_table_that_fits_and_says_why_not_the_others(demand, supply):
    outcome = chosen(AUTO, demand, supply)
    if isinstance(outcome, InsufficientStorageError):
        return
    names = list(STRATEGIES)
    assert list(outcome.refused) == names[: names.index(outcome.strategy)]
    assert all(f"{name} {why}" in outcome.reason for name, why in outcome.refused.items())
    if supply.streaming_enabled and not demand.needs_staging and supply.time_left_s == math.inf:
        assert outcome.strategy == "streaming"


@many
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=9), st.integers(0, 9000))
def test_targets_run_side_by_side_as_far_as_they_fit_and_else_one_after_another(staged, scratch):
    demand = Demand(tuple(staged), needs_staging=True)
    outcome = chosen(AUTO, demand, Supply(scratch, SCRATCH, at_once=9))
    largest = sorted(staged, reverse=True)
    fit = max(count for count in range(len(staged) + 1) if sum(largest[:count]) <= scratch)
    expected = ("standard", fit) if fit >= 2 else ("sequential", 1) if fit else ("partial", 1)
    if min(staged) <= scratch:
        assert (outcome.strategy, outcome.at_once) == expected


def test_streaming_is_the_way_of_choice_and_takes_no_scratch():
    with recorded() as records:
        choice = choose(AUTO, Demand((2 * GIB,) * 8), Supply(0, SCRATCH, at_once=2))
    assert (choice.strategy, choice.at_once, choice.scratch_bytes, choice.stages) == ("streaming", 2, 0, False)
    (record,) = records
    assert record.fields == {
        "strategy": "streaming",
        "fell_back": "false",
        "required_bytes": 0,
        "available_bytes": 0,
        "reason": "no scratch and constant memory",
    }


def test_a_large_artifact_on_a_small_disk_is_refused_with_figures_and_a_way_out():
    demand, supply = Demand((2 * GIB,)), Supply(64 * MIB, SCRATCH)
    for wanted in ("standard", "sequential"):
        with pytest.raises(InsufficientStorageError) as raised:
            choose(wanted, demand, supply)
        assert (raised.value.required_bytes, raised.value.missing_bytes) == (2 * GIB, 2 * GIB - 64 * MIB)
        assert raised.value.suggestions[:2] == [
            "use the strategy streaming: no scratch and constant memory",
            "use the strategy partial: what fits is made, the next call makes the rest",
        ]
    for wanted in (AUTO, "streaming", "partial"):
        assert not choose(wanted, demand, supply).stages


def test_an_archive_that_cannot_be_streamed_falls_back_to_staging():
    demand = Demand((GIB, GIB), needs_staging=True)
    with recorded() as records:
        choice = choose(AUTO, demand, Supply(3 * GIB, SCRATCH, at_once=2))
    assert (choice.strategy, choice.at_once, choice.stages) == ("standard", 2, True)
    assert dict(choice.refused) == {"streaming": "cannot go back to earlier bytes"}
    assert records[0].fields["fell_back"] == "true"
    assert "streaming cannot go back" in records[0].fields["reason"]
    with pytest.raises(StagingNeededError, match="auto, standard or sequential"):
        choose("streaming", demand, Supply(3 * GIB, SCRATCH))


def test_switching_streaming_off_takes_it_out_of_auto_and_not_out_of_an_explicit_wish():
    off = Supply(3 * GIB, SCRATCH, streaming_enabled=False)
    assert choose(AUTO, Demand((GIB,)), off).strategy == "standard"
    assert choose("streaming", Demand((GIB,)), off).strategy == "streaming"
    with pytest.raises(InsufficientStorageError) as raised:
        choose(AUTO, Demand((4 * GIB,)), off)
    assert raised.value.suggestions[0] == "set ENABLE_STREAMING_PROCESSING=true: streaming takes no scratch"


def test_what_does_not_fit_the_time_left_is_done_in_part():
    demand = Demand((GIB,) * 4, time_s=1000)
    assert choose(AUTO, demand, Supply(0, SCRATCH, time_left_s=600, at_once=2)).strategy == "streaming"
    choice = choose(AUTO, demand, Supply(0, SCRATCH, time_left_s=400, at_once=2))
    assert choice.strategy == "partial"
    assert choice.refused["streaming"] == "takes about 500 s, 400 s are left"
    assert choose("streaming", demand, Supply(0, SCRATCH, time_left_s=400)).strategy == "streaming"


def test_memory_decides_how_many_are_under_way_and_never_whether_one_is():
    for memory_mib, at_once in ((0, 1), (64, 1), (128, 2), (1024, 4)):
        supply = Supply(0, SCRATCH, memory_bytes=memory_mib * MIB, memory_per_target_bytes=64 * MIB, at_once=4)
        assert choose(AUTO, Demand((1,) * 9), supply).at_once == at_once


def test_an_unknown_strategy_is_an_error_that_lists_the_known_ones():
    with pytest.raises(RequestError, match="Name one of auto, streaming, standard, sequential, partial"):
        choose("fast", Demand((1,)), Supply(0, SCRATCH))


def test_the_table_and_the_catalog_name_the_same_strategies():
    assert set(STRATEGIES) < set(STRATEGY.values)


def test_the_documentation_lists_the_strategies_in_the_order_of_auto():
    text = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)[: len(STRATEGIES)] == list(STRATEGIES)
