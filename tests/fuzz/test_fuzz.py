"""A short run of the fuzzer; `make fuzz` is the long one. What it found lies in the corpus, and is read again here."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

MANY, OF_SLOW = 140_000, 10_000
"""Of each target, and of those whose files take milliseconds to read: a million in all."""

SLOW = {"alarms", "templates", "expressions"}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_once_failed_end_in_words(name):
    seeds = TARGETS[name].seeds()
    assert seeds
    for data in seeds:
        TARGETS[name].read(data)


@pytest.mark.parametrize("name", TARGETS)
@given(seed=st.integers(0, 2**64))
def test_whatever_an_outsider_makes_of_a_file_ends_in_words(name, seed):
    target = TARGETS[name]
    target.read(target.mutate(Random(seed), target.seeds()))


@pytest.mark.reliability
@pytest.mark.parametrize("name", TARGETS)
def test_a_million_inputs_of_an_outsider_end_in_words(name, record_property):
    target, random = TARGETS[name], Random(name)
    seeds, count = target.seeds(), OF_SLOW if name in SLOW else MANY
    record_property("tried", count)
    for _ in range(count):
        target.read(target.mutate(random, seeds))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=600))
def test_bytes_of_any_kind_end_in_words(name, data):
    TARGETS[name].read(data)
