"""Widgets in rows of 24 columns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dashboards.product.grid import DashboardGrid

sizes = st.lists(st.tuples(st.integers(1, 24), st.integers(1, 9)), min_size=1, max_size=20)


def places(grid):
    return [(each["x"], each["y"], each["width"], each["height"]) for each in grid.widgets]


def test_a_row_that_is_ended_is_filled_and_the_next_begins_below_it():
    grid = DashboardGrid()
    grid.put("text", {"a": 1}, 8, 6)
    grid.put("metric", {}, 8, 6)
    assert grid.widgets[0] == {"type": "text", "x": 0, "y": 0, "width": 8, "height": 6, "properties": {"a": 1}}
    grid.end_row()
    grid.put("metric", {}, 24, 3)
    assert places(grid) == [(0, 0, 12, 6), (12, 0, 12, 6), (0, 6, 24, 3)]


def test_three_widgets_of_the_usual_size_fill_a_row():
    grid = DashboardGrid()
    for _ in range(4):
        grid.put("metric", {})
    assert places(grid) == [(0, 0, 8, 6), (8, 0, 8, 6), (16, 0, 8, 6), (0, 6, 8, 6)]


def test_a_row_may_keep_its_widths():
    grid = DashboardGrid()
    grid.put("metric", {}, 8, 6)
    grid.end_row(widen=False)
    grid.end_row()
    grid.put("metric", {}, 8, 6)
    assert places(grid) == [(0, 0, 8, 6), (0, 6, 8, 6)]


def test_what_does_not_fit_or_has_another_height_begins_a_row():
    grid = DashboardGrid()
    for width, height in ((12, 6), (12, 6), (1, 6), (8, 3)):
        grid.put("metric", {}, width, height)
    assert places(grid) == [(0, 0, 12, 6), (12, 0, 12, 6), (0, 6, 24, 6), (0, 12, 8, 3)]


@given(sizes)
def test_no_two_widgets_overlap_and_all_stand_within_24_columns(asked):
    grid = DashboardGrid()
    for width, height in asked:
        grid.put("metric", {}, width, height)
    grid.end_row()
    cells = [
        (x + right, y + down)
        for x, y, width, height in places(grid)
        for right in range(width)
        for down in range(height)
    ]
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)
