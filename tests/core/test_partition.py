"""Slices and chunks cover the vector exactly once."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.partition import Slice, equal_slices


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_slices_follow_each_other_and_differ_by_at_most_one(elements: int, owners: int) -> None:
    slices = equal_slices(elements, owners)
    assert len(slices) == owners
    assert [slices[0].start, slices[-1].stop] == [0, elements]
    assert all(left.stop == right.start for left, right in itertools.pairwise(slices))
    assert max(map(len, slices)) - min(map(len, slices)) <= 1


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 64))
def test_chunks_cover_their_slice(start: int, length: int, chunk: int) -> None:
    chunks = Slice(start, start + length).chunks(chunk)
    assert [position for piece in chunks for position in range(piece.start, piece.stop)] == list(
        range(start, start + length)
    )
    assert all(0 < len(piece) <= chunk for piece in chunks)
