"""How far averages usually move a peer, and how far is too far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.config import GuardName
from gossiptrain.core.fragments import Fragments
from gossiptrain.core.movement import (
    LARGEST_LOSS,
    LARGEST_PACE,
    LEARNT_SHARE,
    MOST_PARTS,
    PART_ELEMENTS,
    PART_LIMIT,
    WHOLE_LIMIT,
    Distances,
    MovementHistory,
    Radii,
    Usual,
    Way,
    length,
    parts_by_fragment,
    parts_of,
)
from gossiptrain.core.partition import Slice

LENGTHS = (100, 300)
distances = st.lists(st.floats(0.01, 1e3), min_size=2, max_size=2).map(np.array)


def of(*values: float) -> Distances:
    return np.array(values)


def way(moved: Distances, *, back: Distances | None = None) -> Way:
    """Of a model whose two parts have a length of 10 each; back: none of it leads against the own values."""
    return Way(moved, of(0, 0) if back is None else back, of(100, 100))


def settled(moved: Distances, learnt: Distances, *, rounds: int = 5) -> MovementHistory:
    history = MovementHistory(LENGTHS)
    for _ in range(rounds):
        history.offer(learnt)
        history.note(moved)
    return history


def usual_of(history: MovementHistory, learnt: Distances, *, guard: GuardName = "result", pace: float = 1.0) -> Usual:
    usual = history.usual(learnt, guard, pace=pace)
    assert usual is not None
    return usual


def test_who_has_learnt_nothing_and_was_never_moved_knows_of_no_limit() -> None:
    assert MovementHistory(LENGTHS).usual(of(0, 0), "result") is None


def test_before_the_first_average_what_was_learnt_stands_for_it() -> None:
    usual = usual_of(MovementHistory(LENGTHS), of(3, 4))
    assert usual.whole == 5.0
    assert usual.allows(way(WHOLE_LIMIT * of(3, 4) * 0.999))
    assert not usual.allows(way(WHOLE_LIMIT * of(3, 4) * 1.001))


@given(moved=distances, learnt=distances)
def test_an_average_as_far_as_usual_is_always_taken_whole(moved: Distances, learnt: Distances) -> None:
    usual = usual_of(settled(moved, learnt), learnt)
    ordinary = np.minimum(moved, LEARNT_SHARE * learnt)
    assert usual.allows(way(ordinary))
    assert (usual.shares(way(ordinary)) == 1).all()


@given(moved=distances, learnt=distances, offered=distances)
def test_what_is_taken_of_an_average_is_within_the_limits(
    moved: Distances, learnt: Distances, offered: Distances
) -> None:
    usual = usual_of(settled(moved, learnt), learnt)
    taken = usual.shares(way(offered)) * offered
    assert length(taken) <= WHOLE_LIMIT * usual.wide * usual.whole * (1 + 1e-9)
    assert (taken <= PART_LIMIT * usual.wide * usual.each * (1 + 1e-9)).all()


def test_a_few_bad_averages_do_not_change_what_is_usual() -> None:
    history = settled(of(1, 1), of(1, 1), rounds=15)
    for _ in range(5):
        history.offer(of(1, 1))
        history.note(of(50, 50))
    assert usual_of(history, of(1, 1)).whole == pytest.approx(2**0.5)


def test_small_pushes_that_grow_from_round_to_round_lead_no_further_than_a_few_own_ways() -> None:
    history = settled(of(1, 1), of(1, 1), rounds=21)
    for _ in range(200):
        usual = usual_of(history, of(1, 1))
        history.offer(of(1, 1))
        history.note(0.99 * WHOLE_LIMIT * usual.whole / 2**0.5 * of(1, 1))
    assert usual_of(history, of(1, 1)).whole <= LEARNT_SHARE * 2**0.5 * (1 + 1e-9)


@pytest.mark.parametrize("guard", ["result", "clip"])
def test_a_peer_that_is_slow_expects_more_of_the_others_within_bounds(guard: GuardName) -> None:
    expected = {0.1: 1.0, 2.0: 2.0, 1e9: LARGEST_PACE[guard]}
    history = settled(of(1, 1), of(1, 1))
    assert {pace: usual_of(history, of(1, 1), guard=guard, pace=pace).wide for pace in expected} == expected


def test_a_part_that_lies_still_may_move_as_its_share_of_the_elements_has_it() -> None:
    usual = usual_of(settled(of(0, 4), of(0, 4)), of(0, 4))
    assert usual.each[0] == pytest.approx(4 * 0.5)


def test_a_spike_that_hides_in_one_part_is_seen() -> None:
    usual = usual_of(settled(of(0.01, 10), of(0.01, 10)), of(0.01, 10))
    assert usual.allows(way(of(0.01, 10)))
    assert not usual.allows(way(of(PART_LIMIT * 5.1, 1)))


def test_an_average_that_keeps_less_of_the_own_values_than_what_was_learnt_explains_is_not_taken() -> None:
    usual = usual_of(settled(of(3, 3), of(3, 3)), of(3, 3))
    explained = LARGEST_LOSS * 200 + 18
    assert usual.allows(way(of(3, 3), back=of(0.99 * explained, 0)))
    assert not usual.allows(way(of(3, 3), back=of(1.01 * explained, 0)))


def test_only_the_part_that_keeps_too_little_is_left_out() -> None:
    usual = usual_of(settled(of(1, 1), of(1, 1)), of(1, 1))
    assert usual.shares(way(of(1, 1), back=of(30, 20))).tolist() == [0, 1]


def test_who_learns_more_than_its_values_are_long_is_asked_to_keep_nothing() -> None:
    usual = usual_of(settled(of(11, 11), of(11, 11)), of(11, 11))
    assert usual.allows(way(of(11, 11), back=of(100, 100)))


def test_averages_that_move_nothing_teach_nothing() -> None:
    history = settled(of(1, 1), of(1, 1))
    for _ in range(30):
        history.offer(of(0, 0))
        history.note(of(0, 0))
    assert usual_of(history, of(0, 0)).whole == pytest.approx(2**0.5)


def test_the_radii_of_all_pieces_make_up_that_of_the_whole() -> None:
    radii = Radii(LENGTHS, of(3, 4))
    assert radii.of(Slice(0, 400)) == pytest.approx(5.0)
    assert radii.of(Slice(0, 100)) == pytest.approx(3.0)
    squares = [radii.of(piece) ** 2 for piece in Slice(0, 400).chunks(37)]
    assert sum(squares) == pytest.approx(25.0)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_parts_are_the_tensors_cut_where_they_are_long(tensors: list[int]) -> None:
    found = parts_of(tensors)
    assert sum(found) == sum(tensors)
    assert max(found) <= PART_ELEMENTS
    ends = set(np.cumsum(found).tolist())
    assert set(np.cumsum(tensors).tolist()) <= ends


def test_of_large_models_there_are_no_more_parts_than_are_worth_it() -> None:
    assert len(parts_of([10**8, 1])) <= MOST_PARTS + 1


def test_each_fragment_has_the_parts_of_its_own_tensors() -> None:
    fragments = Fragments.of([10, 10, 20], 2)
    found = parts_by_fragment([10, 10, 20], fragments)
    assert tuple(map(sum, found)) == fragments.lengths
