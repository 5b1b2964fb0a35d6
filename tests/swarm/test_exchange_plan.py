"""Who owns which chunks, and who sends how much: the same for all members of an attempt."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.attempt import Attempt
from gossiptrain.swarm.exchange_plan import ExchangePlan

speeds_of_members = st.lists(st.integers(1, 255), min_size=2, max_size=8)


def plans(speeds: list[int], *, elements: int = 1000, chunk_elements: int = 64) -> list[ExchangePlan]:
    """The plan of each member."""
    members = tuple(PeerId(f"peer{number}") for number in range(len(speeds)))
    attempt = Attempt("ab", 0, members, samples=(1,) * len(speeds), speeds=tuple(speeds))
    return [ExchangePlan.of(attempt, me, elements=elements, chunk_elements=chunk_elements) for me in members]


@given(speeds_of_members, st.integers(1, 5000), st.integers(1, 512))
def test_all_members_cut_alike_and_leave_nothing_out(speeds: list[int], elements: int, chunk_elements: int) -> None:
    first, *others = plans(speeds, elements=elements, chunk_elements=chunk_elements)
    assert all(plan.chunks == first.chunks for plan in others)
    chunks = [chunk for member in first.attempt.members for chunk in first.chunks[member]]
    assert chunks[0].start == 0
    assert chunks[-1].stop == elements
    assert all(one.stop == following.start for one, following in itertools.pairwise(chunks))
    assert max(map(len, chunks)) <= first.longest <= chunk_elements


@given(speeds_of_members)
def test_what_members_think_of_each_others_loads_agrees(speeds: list[int]) -> None:
    one, *others = plans(speeds)
    for plan in others:
        both = one.loads().keys() & plan.loads().keys()
        assert {peer: one.loads()[peer] for peer in both} == {peer: plan.loads()[peer] for peer in both}


def test_nothing_is_sent_to_a_member_that_reduces_nothing() -> None:
    fast, _, slow = plans([255, 255, 20])
    assert slow.own_chunks == []
    assert fast.owners == ["peer1"]
    assert slow.owners == ["peer0", "peer1"]
    assert (fast.streams, slow.streams) == (1 + 2, 2), "fast ones reduce for two others"


@given(speeds_of_members, st.integers(0, 20))
def test_everybody_is_read_once_for_each_chunk_and_another_one_first_each_time(speeds: list[int], index: int) -> None:
    plan = plans(speeds)[0]
    assert sorted(plan.reading_order(index)) == plan.others
    firsts = [plan.reading_order(number)[0] for number in range(len(plan.others))]
    assert sorted(firsts) == plan.others
