"""Of two peers' heartbeats, exactly the newer ones travel, and nobody waits for ever."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.versions import KEY_LENGTH, Version, key_of, lacking

KEYS = st.sampled_from([f"peer{number}" for number in range(12)])
VERSIONS: st.SearchStrategy[dict[str, Version]] = st.dictionaries(
    KEYS, st.tuples(st.integers(0, 3), st.integers(0, 50))
)


@given(VERSIONS, VERSIONS, st.integers())
def test_what_is_lacking_is_what_is_newer_or_unknown_and_nothing_else(
    has: dict[str, Version], gives: dict[str, Version], seed: int
) -> None:
    found = lacking(has, gives, random.Random(seed), most_unknown=12)
    assert len(found) == len(set(found))
    assert set(found) == {key for key, version in gives.items() if key not in has or version > has[key]}


@given(VERSIONS, VERSIONS)
def test_after_both_sides_have_got_what_they_lack_neither_lacks_anything(
    one: dict[str, Version], other: dict[str, Version]
) -> None:
    rng = random.Random(0)
    of_one = {key: other[key] for key in lacking(one, other, rng, most_unknown=12)}
    of_other = {key: one[key] for key in lacking(other, one, rng, most_unknown=12)}
    assert {**one, **of_one} == {**other, **of_other}


def test_who_is_furthest_behind_comes_first_and_an_earlier_start_is_further_than_any_count() -> None:
    has = {"near": (1, 9), "far": (1, 1), "earlier": (0, 99)}
    gives = {"near": (1, 10), "far": (1, 10), "earlier": (1, 1)}
    assert lacking(has, gives, random.Random(0), most_unknown=100) == ["earlier", "far", "near"]


def test_peers_that_were_never_heard_of_leave_half_the_room_to_those_that_must_not_be_lost() -> None:
    has = {f"known{number}": (1, 0) for number in range(10)}
    gives = dict.fromkeys((*has, *(f"unknown{number}" for number in range(100))), (1, 1))
    first = lacking(has, gives, random.Random(0), most_unknown=100)[:20]
    assert sum(key in has for key in first) == 10


@given(VERSIONS, VERSIONS, st.integers(0, 12))
def test_who_has_enough_to_try_hears_of_no_more_but_of_all_that_it_knows(
    has: dict[str, Version], gives: dict[str, Version], most_unknown: int
) -> None:
    found = lacking(has, gives, random.Random(0), most_unknown=most_unknown)
    unknown = [key for key in found if key not in has]
    assert len(unknown) == min(most_unknown, len(gives.keys() - has.keys()))
    assert {key for key in found if key in has} == {key for key in gives if key in has and gives[key] > has[key]}


def test_those_that_were_never_heard_of_come_in_another_order_each_time() -> None:
    gives = {f"peer{number}": (1, 1) for number in range(100)}
    rng = random.Random(0)
    first = {key for _ in range(20) for key in lacking({}, gives, rng, most_unknown=100)[:10]}
    assert len(first) > 60


def test_peers_are_named_by_the_end_of_their_ids() -> None:
    one = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")
    other = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTM")
    assert len(key_of(one)) == KEY_LENGTH
    assert key_of(one) != key_of(other)
