"""Grids and exponential pairs by position: who meets whom, and that nobody is forgotten."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.core.schedules import (
    exponential_pairs,
    exponential_turns,
    grid_lines,
    grid_occupancy,
    grid_sides,
)


@given(st.integers(3, 3000), st.integers(2, 64), st.integers(2, 16))
@settings(deadline=None, max_examples=50)
def test_a_grid_holds_all_peers_on_lines_within_the_limits(peers: int, longest: int, shortest: int) -> None:
    if peers <= longest:
        return
    sides = grid_sides(peers, shortest=min(shortest, longest), longest=longest)
    if sides is None:
        return
    assert math.prod(sides) >= peers
    for axis in range(len(sides)):
        lines = grid_lines(peers, sides, axis)
        assert sorted(itertools.chain(*lines)) == list(range(peers))
        assert all(min(shortest, longest) <= len(line) <= longest for line in lines)


def test_the_lines_of_a_grid_are_its_rows_and_then_its_columns() -> None:
    assert grid_lines(6, (2, 3), 0) == [[0, 1], [2, 3], [4, 5]]
    assert grid_lines(6, (2, 3), 1) == [[0, 2, 4], [1, 3, 5]]
    assert grid_lines(5, (2, 3), 0) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("peers", "longest", "sides"), [(16, 4, (4, 4)), (12, 4, (3, 4)), (64, 4, (4, 4, 4)), (512, 32, (16, 32))]
)
def test_the_tightest_grid_is_found(peers: int, longest: int, sides: tuple[int, ...]) -> None:
    assert grid_sides(peers, shortest=2, longest=longest) == sides


def test_no_grid_is_better_than_one_on_which_a_peer_stands_alone() -> None:
    assert grid_sides(7, shortest=2, longest=2) is None
    assert grid_sides(13, shortest=2, longest=4) is None


def test_occupancy_is_that_of_the_grid_with_the_largest_groups() -> None:
    assert grid_occupancy(48, axes=2, longest=8) == 0.75
    assert grid_occupancy(64, axes=3, longest=4) == 1.0


@given(st.integers(2, 400), st.data())
def test_everyone_is_in_one_pair_or_three(peers: int, data: st.DataObject) -> None:
    turn = data.draw(st.integers(0, exponential_turns(peers) - 1))
    pairs = exponential_pairs(peers, turn)
    assert sorted(itertools.chain(*pairs)) == list(range(peers))
    assert sorted(map(len, pairs)) == [2] * (peers // 2 - peers % 2) + [3] * (peers % 2)


@pytest.mark.parametrize("peers", [2, 4, 8, 16, 64, 256])
def test_among_a_power_of_two_nobody_meets_the_same_peer_twice_in_a_cycle(peers: int) -> None:
    pairs = [tuple(pair) for turn in range(exponential_turns(peers)) for pair in exponential_pairs(peers, turn)]
    assert len(set(pairs)) == len(pairs)


def test_a_cycle_is_as_long_as_doubling_takes_to_reach_everyone() -> None:
    assert [exponential_turns(peers) for peers in (2, 3, 4, 5, 8, 9, 64, 65)] == [1, 2, 2, 3, 3, 4, 6, 7]


def test_one_peer_alone_meets_nobody() -> None:
    assert exponential_pairs(1, 0) == []
