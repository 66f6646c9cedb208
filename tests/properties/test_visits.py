"""A property that hardly visits the region that it is about is noticed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.visits import Visits


def test_regions_are_counted_once_an_example_and_those_that_lack_examples_are_named():
    visit = Visits()
    for number in range(10):
        visit.begin()
        visit("every", when=True)
        visit("every")
        visit("some", when=number < 3)
    assert visit.lacking(every=100, some=30) == {}
    assert visit.lacking(every=100, some=31, never=1) == {
        "some": "3 of 10 examples, 31 of 100 wanted",
        "never": "0 of 10 examples, 1 of 100 wanted",
    }


def test_a_property_with_the_wrong_strategy_is_found_out():
    visit = Visits()

    @settings(max_examples=50, database=None)
    @given(st.integers(0, 10))
    def look(number):
        visit.begin()
        visit("large", when=number > 10)

    look()
    assert visit.lacking(large=1)
