"""Who comes first: all compute the same, and nobody can put itself there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.ranks import Ranks
from tests.swarm.swarms import StoppedClock

GROUP = [PeerId(f"peer{number}") for number in range(5)]
peers = st.sampled_from(GROUP)


def ranks(*holding_up: PeerId, seed: int = 0) -> Ranks:
    """As computed by a peer that remembers these to have held rounds up."""
    promises = Promises(StoppedClock(), held_up_for_s=60.0)
    promises.held_up_by(holding_up)
    return Ranks("key", seed, promises)


@given(group=st.permutations(GROUP), round_number=st.integers(0, 1000))
def test_in_whatever_order_a_group_was_found_all_rank_it_alike(group: list[PeerId], round_number: int) -> None:
    outsider = PeerId("outsider")
    order = ranks().in_order(group, round_number, coordinator=outsider)
    assert order == ranks().in_order(GROUP, round_number, coordinator=outsider)
    assert sorted(order) == sorted(GROUP)


def test_over_the_rounds_everybody_leads_and_coordinates() -> None:
    rounds = range(200)
    assert {ranks().in_order(GROUP, number, coordinator=GROUP[0])[0] for number in rounds} == set(GROUP)
    assert {ranks().coordinators(GROUP, number)[0] for number in rounds} == set(GROUP)


def test_a_coordinator_that_stalls_is_the_last_to_be_asked() -> None:
    promises = Promises(StoppedClock(), held_up_for_s=60.0)
    first, *others = ranks().coordinators(GROUP, 7)
    promises.stalled_by(first)
    assert Ranks("key", 0, promises).coordinators(GROUP, 7) == [*others, first]


@given(some=st.sets(peers, min_size=1), stalling=st.sets(peers), round_number=st.integers(0, 1000))
def test_the_first_coordinator_is_the_first_of_all(some: set[PeerId], stalling: set[PeerId], round_number: int) -> None:
    promises = Promises(StoppedClock(), held_up_for_s=60.0)
    for peer in stalling:
        promises.stalled_by(peer)
    found = Ranks("key", 0, promises)
    assert found.first_coordinator(some, round_number) == found.coordinators(some, round_number)[0]


@given(holding_up=st.sets(peers), coordinator=peers, round_number=st.integers(0, 1000))
def test_what_an_honest_coordinator_gives_out_is_fair_whomever_it_puts_last(
    holding_up: set[PeerId], coordinator: PeerId, round_number: int
) -> None:
    order = ranks(*holding_up).in_order(GROUP, round_number, coordinator=coordinator)
    assert sorted(order) == sorted(GROUP)
    assert ranks().are_fair(order, round_number, coordinator=coordinator)


@given(order=st.permutations(GROUP), coordinator=peers, round_number=st.integers(0, 1000))
def test_a_coordinator_that_puts_itself_before_its_rank_is_found_out(
    order: list[PeerId], coordinator: PeerId, round_number: int
) -> None:
    rank = ranks().in_order(GROUP, round_number, coordinator=PeerId("outsider")).index(coordinator)
    assert ranks().are_fair(order, round_number, coordinator=coordinator) is (order.index(coordinator) >= rank)


@given(others=st.sets(peers, max_size=3), coordinator=peers, round_number=st.integers(0, 1000))
def test_who_has_held_a_round_up_does_not_lead_where_others_can(
    others: set[PeerId], coordinator: PeerId, round_number: int
) -> None:
    holding_up = others - {coordinator}
    order = ranks(*holding_up).in_order(GROUP, round_number, coordinator=coordinator)
    assert order[0] not in holding_up
