"""Slices and chunks cover the vector exactly once."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.modular import BLOCK
from gossiptrain.core.partition import (
    CHUNKS_A_SLICE,
    LEAST_CHUNK,
    LEAST_OWNERS,
    LEAST_SLICE,
    SMALL_GROUP,
    Slice,
    chunk_length,
    slices_by_speed,
)

SPEEDS = st.lists(st.integers(1, 255), min_size=1, max_size=64)


@given(st.integers(0, 10_000), SPEEDS)
def test_slices_follow_each_other_and_cover_everything(elements: int, speeds: list[int]) -> None:
    slices = slices_by_speed(elements, speeds)
    assert len(slices) == len(speeds)
    assert [slices[0].start, slices[-1].stop] == [0, elements]
    assert all(left.stop == right.start for left, right in itertools.pairwise(slices))


@given(st.integers(0, 10_000), st.integers(1, SMALL_GROUP), st.integers(1, 255))
def test_slices_of_equal_owners_differ_by_at_most_one(elements: int, owners: int, speed: int) -> None:
    lengths = [len(piece) for piece in slices_by_speed(elements, [speed] * owners)]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 80 * LEAST_SLICE), st.integers(SMALL_GROUP + 1, 64))
def test_in_a_large_group_only_as_many_own_a_slice_as_it_is_worth_the_streams(elements: int, members: int) -> None:
    lengths = [len(piece) for piece in slices_by_speed(elements, [1] * members)]
    owners = min(members, max(LEAST_OWNERS, elements // LEAST_SLICE))
    assert lengths[owners:] == [0] * (members - owners), "of equals the first"
    assert max(lengths[:owners]) - min(lengths[:owners]) <= 1


@given(st.lists(st.integers(1, 255), min_size=SMALL_GROUP + 1, max_size=64))
def test_of_a_short_vector_the_fastest_own_the_slices(speeds: list[int]) -> None:
    slices = slices_by_speed(1000, speeds)
    idle = [speed for speed, piece in zip(speeds, slices, strict=True) if not len(piece)]
    owning = [speed for speed, piece in zip(speeds, slices, strict=True) if len(piece)]
    assert len(owning) <= LEAST_OWNERS
    assert max(idle) <= min(owning)


def time_needed(elements: int, lengths: list[int], speeds: list[int]) -> float:
    """Until the last owner has sent its contributions and the means of its slice."""
    others = len(speeds) - 2
    return max((elements + others * length) / speed for length, speed in zip(lengths, speeds, strict=True))


@given(st.lists(st.integers(1, 255), min_size=3, max_size=16), st.data())
def test_no_other_slices_end_sooner(speeds: list[int], data: st.DataObject) -> None:
    elements = 1_000_000
    lengths = [len(piece) for piece in slices_by_speed(elements, speeds)]
    giver = data.draw(st.integers(0, len(speeds) - 1))
    taker = data.draw(st.integers(0, len(speeds) - 1))
    moved = list(lengths)
    amount = min(1000, moved[giver])
    moved[giver] -= amount
    moved[taker] += amount
    rounding = 1 + 1e-4
    assert time_needed(elements, lengths, speeds) <= time_needed(elements, moved, speeds) * rounding


def test_one_owner_that_is_twice_as_slow_reduces_nothing() -> None:
    assert [len(piece) for piece in slices_by_speed(300, [200, 200, 200, 100])] == [100, 100, 100, 0]


def test_with_two_owners_slices_do_not_depend_on_speed() -> None:
    assert [len(piece) for piece in slices_by_speed(300, [200, 10])] == [150, 150]


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 64))
def test_chunks_cover_their_slice(start: int, length: int, chunk: int) -> None:
    chunks = Slice(start, start + length).chunks(chunk)
    assert [position for piece in chunks for position in range(piece.start, piece.stop)] == list(
        range(start, start + length)
    )
    assert all(0 < len(piece) <= chunk for piece in chunks)


@given(st.integers(1, 2_000_000_000), st.integers(1, 64), st.integers(64, 1 << 20))
def test_chunks_are_short_enough_for_means_to_travel_early_and_no_shorter(
    elements: int, owners: int, most: int
) -> None:
    length = chunk_length(elements, owners=owners, most=most)
    assert 0 < length <= most
    if most >= length > LEAST_CHUNK:
        assert length == most or length % BLOCK == 0
        assert length * CHUNKS_A_SLICE * owners <= elements
    if length < most:
        assert length >= LEAST_CHUNK
