"""The course of a value in few points."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.points import LARGEST, Points, rounded


@given(st.lists(st.floats(), max_size=300), st.sampled_from([2, 8, 32]))
def test_there_are_never_more_points_than_there_is_room_for_and_all_are_finite(
    values: list[float], capacity: int
) -> None:
    points = Points(capacity)
    for at, value in enumerate(values):
        points.append(at, value)
    assert len(points.values) < capacity
    assert all(math.isfinite(value) for _, value in points.values)
    assert [at for at, _ in points.values] == sorted(at for at, _ in points.values)


def test_many_values_become_means_of_equal_spans() -> None:
    points = Points(4)
    for at in range(16):
        points.append(at, float(at))
    assert points.values == [(7, 3.5), (15, 11.5)]


def test_the_history_of_another_one_stands_before_the_own_as_far_as_it_is_older() -> None:
    points = Points(8)
    points.append(10, 1.0)
    points.take_over([(3, 5.0), (7, 4.0), (10, 99.0), (12, 99.0), (8, math.inf)])
    assert points.values == [(3, 5.0), (7, 4.0), (10, 1.0)]


def test_so_much_history_that_there_is_no_room_for_it_is_thinned_out() -> None:
    points = Points(8)
    points.append(1000, 0.5)
    points.take_over([(at, 1.0) for at in range(100)])
    assert len(points.values) < 8
    assert points.values[-1][0] == 1000


def test_what_is_beyond_all_reason_is_clipped() -> None:
    assert rounded(1e300) == LARGEST
    assert rounded(0.123456) == 0.1235
