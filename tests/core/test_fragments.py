"""How a model is cut into fragments, and which one a round carries."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.config import MOST_FRAGMENTS
from gossiptrain.core.fragments import LARGEST_ELEMENTS, Fragments
from gossiptrain.core.partition import Slice

TENSORS = st.lists(st.integers(1, 1000), min_size=1, max_size=20)


@given(tensors=TENSORS, count=st.integers(1, 10))
def test_fragments_lie_side_by_side_and_cut_no_tensor(tensors: list[int], count: int) -> None:
    fragments = Fragments.of(tensors, count)
    places = [fragments.place(number) for number in range(fragments.count)]
    assert [place.start for place in places] == [0, *(place.stop for place in places[:-1])]
    assert places[-1].stop == sum(tensors)
    assert {place.stop for place in places} <= set(itertools.accumulate(tensors))
    assert all(fragments.of_element(place.start) == fragments.of_element(place.stop - 1) for place in places)


@given(tensors=st.lists(st.integers(1, 50), min_size=1, max_size=9), count=st.integers(1, 4))
def test_no_other_cut_has_a_shorter_longest_fragment(tensors: list[int], count: int) -> None:
    fragments = Fragments.of(tensors, count)
    assert fragments.count <= count
    for cuts in itertools.combinations_with_replacement(range(len(tensors) + 1), count - 1):
        bounds = [0, *cuts, len(tensors)]
        longest = max(sum(tensors[start:stop]) for start, stop in itertools.pairwise(bounds))
        assert fragments.longest <= longest


def test_models_travel_whole_unless_they_are_large() -> None:
    assert Fragments.of([10, 20]) == Fragments((30,))
    assert Fragments.of([LARGEST_ELEMENTS]) == Fragments((LARGEST_ELEMENTS,))
    billion = Fragments.of([4 << 20] * 250)
    assert billion.count == 32
    assert billion.longest == LARGEST_ELEMENTS
    assert Fragments.of([LARGEST_ELEMENTS] * 1000).count <= MOST_FRAGMENTS


def test_a_tensor_that_is_longer_than_a_fragment_should_be_is_one() -> None:
    assert Fragments.of([7, 100, 7], 10).lengths == (7, 100, 7)


@pytest.mark.parametrize("run_key", ["", "ab", "cd"])
def test_each_fragment_has_its_turn_once_in_a_cycle_of_rounds(run_key: str) -> None:
    fragments = Fragments.of([1] * 5, 5)
    turns = [fragments.of_round(run_key, number) for number in range(10)]
    assert turns[:5] == turns[5:]
    assert sorted(turns[:5]) == [0, 1, 2, 3, 4]
    assert list(fragments.from_there_on(turns[0])) == turns[:5]


def test_runs_do_not_all_begin_with_the_same_fragment() -> None:
    fragments = Fragments.of([1] * 5, 5)
    assert len({fragments.of_round(f"{run}", 0) for run in range(50)}) == 5


def test_a_place_is_a_slice_of_the_flat_vector() -> None:
    assert Fragments((2, 5)).place(1) == Slice(2, 7)
