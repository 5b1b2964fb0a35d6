"""Who meets whom: sizes, choice of groups, fairness, and who survives a failed attempt."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.config import GroupingName
from gossiptrain.core.grouping import (
    LARGEST_GROUP,
    Grouping,
    GroupLimits,
    coordinators,
    form_groups,
    group_sizes,
    leaders,
    limits_for,
    ranking,
    survivors,
)
from gossiptrain.swarm.messages import MAX_MEMBERS

ALL_GROUPINGS: tuple[GroupingName, ...] = get_args(GroupingName)
groupings = st.sampled_from(ALL_GROUPINGS)


def peers_named(count: int) -> list[str]:
    return [f"peer-{index}" for index in range(count)]


def formed_by(grouping: GroupingName, peers: int, *, size: int, round_number: int = 0) -> Grouping:
    bounds = GroupLimits(2, size)
    return form_groups(peers_named(peers), limits=bounds, run="r", round_number=round_number, seed=0, grouping=grouping)


@st.composite
def limits(draw: st.DrawFn) -> GroupLimits:
    maximum = draw(st.integers(2, 64))
    return GroupLimits(draw(st.integers(2, min(maximum, 16))), maximum)


@given(st.integers(0, 300), limits())
def test_sizes_stay_within_the_limits_and_leave_out_as_few_as_possible(ready: int, bounds: GroupLimits) -> None:
    sizes = group_sizes(ready, bounds)
    assert all(bounds.minimum <= size <= bounds.maximum for size in sizes)
    reachable = max(
        (
            taken
            for taken in range(ready + 1)
            for groups in [math.ceil(taken / bounds.maximum)]
            if groups * bounds.minimum <= taken
        ),
        default=0,
    )
    assert sum(sizes) == reachable


def test_seven_peers_in_groups_of_up_to_four_are_all_placed() -> None:
    assert group_sizes(7, GroupLimits(2, 4)) == [4, 3]


@settings(deadline=None)
@given(st.integers(0, 80), limits(), st.integers(0, 50), st.integers(0, 5), groupings)
def test_every_ready_peer_is_in_one_group_or_left_out(
    count: int, bounds: GroupLimits, round_number: int, seed: int, grouping: GroupingName
) -> None:
    ready = peers_named(count)
    formed = form_groups(ready, limits=bounds, run="run", round_number=round_number, seed=seed, grouping=grouping)
    placed = list(itertools.chain(*formed.groups, formed.left_out))
    assert sorted(placed) == sorted(ready)
    allowed = limits_for(grouping, bounds)
    assert all(allowed.minimum <= len(group) <= allowed.maximum for group in formed.groups)


@settings(deadline=None)
@given(st.integers(0, 80), limits(), st.integers(0, 50), st.sampled_from(["random", "crossed", "grid", "auto"]))
def test_as_few_peers_as_the_limits_allow_are_left_out(
    count: int, bounds: GroupLimits, round_number: int, grouping: GroupingName
) -> None:
    formed = form_groups(
        peers_named(count), limits=bounds, run="r", round_number=round_number, seed=0, grouping=grouping
    )
    assert len(formed.left_out) == count - sum(group_sizes(count, bounds))


@given(st.integers(2, 80), st.integers(0, 50))
def test_exponential_makes_pairs_of_all_and_at_most_one_group_of_three(count: int, round_number: int) -> None:
    formed = formed_by("exponential", count, size=16, round_number=round_number)
    sizes = sorted(map(len, formed.groups))
    assert sizes == [2] * (count // 2 - count % 2) + [3] * (count % 2)


def test_an_odd_peer_is_left_out_where_no_group_may_have_three_members() -> None:
    formed = formed_by("exponential", 7, size=2)
    assert [len(group) for group in formed.groups] == [2, 2, 2]
    assert len(formed.left_out) == 1


def test_where_pairs_are_forbidden_exponential_groups_are_random_ones() -> None:
    bounds = GroupLimits(3, 4)
    rounds = [
        [form_groups(peers_named(12), limits=bounds, run="r", round_number=1, seed=0, grouping=grouping).groups]
        for grouping in ALL_GROUPINGS
        if grouping in ("random", "exponential")
    ]
    assert rounds[0] == rounds[1]


def test_all_is_one_group_whatever_the_group_size_is() -> None:
    assert [len(group) for group in formed_by("all", 40, size=4).groups] == [40]
    assert [len(group) for group in formed_by("all", 64, size=4).groups] == [64]
    assert [len(group) for group in formed_by("all", 65, size=4).groups] == [33, 32]


def test_no_group_is_larger_than_a_message_can_name() -> None:
    assert LARGEST_GROUP == MAX_MEMBERS


def in_turn(peers: int, *, size: int, rounds: int) -> list[Grouping]:
    """Crossed groups, round by round."""
    found: list[Grouping] = []
    last_groups: dict[str, str] = {}
    for number in range(rounds):
        bounds = GroupLimits(2, size)
        found.append(
            form_groups(
                peers_named(peers), limits=bounds, run="r", round_number=number, seed=0, last_groups=last_groups
            )
        )
        for position, group in enumerate(found[-1].groups):
            last_groups |= dict.fromkeys(group, f"{number}/{position}")
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 80), st.integers(2, 16))
def test_a_crossed_group_takes_as_few_as_possible_from_each_group_of_before(peers: int, size: int) -> None:
    before, after = in_turn(peers, size=size, rounds=2)
    for group in after.groups:
        for last in before.groups:
            assert len(set(group) & set(last)) <= math.ceil(len(last) / len(after.groups))


@pytest.mark.parametrize(("peers", "size"), [(4, 2), (8, 4), (16, 4), (9, 3), (18, 6), (64, 8), (32, 16)])
def test_crossed_groups_agree_exactly_after_two_rounds_where_their_size_is_a_multiple_of_their_number(
    peers: int, size: int
) -> None:
    values = {name: float(number) for number, name in enumerate(peers_named(peers))}
    mean = sum(values.values()) / peers
    for formed in in_turn(peers, size=size, rounds=2):
        for group in formed.groups:
            values |= dict.fromkeys(group, sum(values[name] for name in group) / len(group))
    assert list(values.values()) == pytest.approx([mean] * peers)


@pytest.mark.parametrize(("peers", "size"), [(3, 2), (8, 2), (9, 8), (16, 4), (48, 16)])
def test_auto_is_crossed_groups(peers: int, size: int) -> None:
    assert formed_by("auto", peers, size=size) == formed_by("crossed", peers, size=size)


@pytest.mark.parametrize("grouping", ["auto", "crossed", "random", "grid", "all"])
def test_all_meet_where_one_group_is_enough(grouping: GroupingName) -> None:
    assert [len(group) for group in formed_by(grouping, 7, size=16, round_number=3).groups] == [7]


@pytest.mark.parametrize("grouping", ALL_GROUPINGS)
def test_groups_do_not_depend_on_the_order_of_arrival(grouping: GroupingName) -> None:
    ready = peers_named(13)
    bounds = GroupLimits(2, 4)
    one = form_groups(ready, limits=bounds, run="r", round_number=5, seed=1, grouping=grouping)
    other = form_groups(ready[::-1], limits=bounds, run="r", round_number=5, seed=1, grouping=grouping)
    assert one == other


def test_groups_change_from_round_to_round_and_with_the_seed() -> None:
    def groups(round_number: int, seed: int) -> tuple[tuple[str, ...], ...]:
        ready = peers_named(13)
        return form_groups(ready, limits=GroupLimits(2, 4), run="r", round_number=round_number, seed=seed).groups

    assert groups(1, 0) != groups(2, 0)
    assert groups(1, 0) != groups(1, 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), limits(), groupings, st.integers(0, 100))
def test_nobody_is_left_out_twice_in_a_row(count: int, bounds: GroupLimits, grouping: GroupingName, start: int) -> None:
    """Where at least half of them find a place; if fewer do, the urgent ones cannot all be among them."""
    ready = peers_named(count)
    urgent: tuple[str, ...] = ()
    for round_number in range(start, start + 8):
        formed = form_groups(
            ready,
            limits=bounds,
            run="r",
            round_number=round_number,
            seed=0,
            urgent=urgent,
            grouping=grouping,
        )
        if 2 * len(formed.left_out) > count:
            return
        assert not set(urgent) & set(formed.left_out)
        urgent = formed.left_out


def test_leaders_are_ranked_alike_by_all_and_not_as_coordinators_are() -> None:
    peers = [f"peer{number}" for number in range(20)]
    orders = [leaders(peers[::step], run="r", round_number=1, seed=0) for step in (1, -1)]
    assert orders[0] == orders[1] != coordinators(peers, run="r", round_number=1, seed=0)
    assert {leaders(peers, run="r", round_number=number, seed=0)[0] for number in range(200)} == set(peers)


def test_coordinators_are_ranked_alike_by_all_and_anew_each_round() -> None:
    peers = peers_named(16)
    orders = [coordinators(peers[::step], run="r", round_number=1, seed=0) for step in (1, -1)]
    assert orders[0] == orders[1]
    firsts = {coordinators(peers, run="r", round_number=number, seed=0)[0] for number in range(200)}
    assert len(firsts) > 12


def test_a_ranking_keeps_its_order_when_a_peer_goes() -> None:
    peers = peers_named(10)
    whole = ranking(peers, key="k")
    without = ranking([peer for peer in peers if peer != whole[3]], key="k")
    assert without == [peer for peer in whole if peer != whole[3]]


def test_of_two_peers_of_whom_one_accuses_the_other_the_accused_goes() -> None:
    assert survivors("bac", answered=set("abc"), complaints={("a", "b")}) == ("a", "c")
    assert survivors("abc", answered=set("abc"), complaints={("a", "b")}) == ("a", "c")


def test_those_who_do_not_answer_are_not_among_the_survivors() -> None:
    assert survivors("abcd", answered={"a", "c", "d"}, complaints=set()) == ("a", "c", "d")


def test_of_two_peers_that_cannot_reach_each_other_only_one_goes() -> None:
    assert survivors("abcd", answered=set("abcd"), complaints={("b", "c"), ("c", "b")}) == ("a", "b", "d")


def test_a_peer_that_nobody_can_reach_goes_although_it_accuses_all() -> None:
    complaints = {("b", "a"), ("b", "c"), ("b", "d"), ("a", "b"), ("c", "b"), ("d", "b")}
    assert survivors("abcd", answered=set("abcd"), complaints=complaints) == ("a", "c", "d")


def test_complaints_about_the_dead_count_for_nothing() -> None:
    assert survivors("abc", answered={"a", "b"}, complaints={("a", "c"), ("b", "c"), ("c", "a")}) == ("a", "b")


@given(st.sets(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"))))
def test_no_complaint_is_left_among_survivors(complaints: set[tuple[str, str]]) -> None:
    left = survivors("abcdef", answered=set("abcdef"), complaints=complaints)
    assert left
    assert not any(a in left and b in left and a != b for a, b in complaints)
