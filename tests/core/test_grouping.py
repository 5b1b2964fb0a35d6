"""Who meets whom: sizes, randomness, grids, fairness, and who survives a failed attempt."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.core.grouping import (
    GroupLimits,
    form_groups,
    grid_sides,
    group_sizes,
    organisers,
    ranking,
    survivors,
)


def peers_named(count: int) -> list[str]:
    return [f"peer-{index}" for index in range(count)]


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
@given(st.integers(0, 80), limits(), st.integers(0, 50), st.integers(0, 5))
def test_every_ready_peer_is_in_one_group_or_left_out(
    count: int, bounds: GroupLimits, round_number: int, seed: int
) -> None:
    ready = peers_named(count)
    grouping = form_groups(ready, limits=bounds, run="run", round_number=round_number, seed=seed)
    placed = list(itertools.chain(*grouping.groups, grouping.left_out))
    assert sorted(placed) == sorted(ready)
    assert all(bounds.minimum <= len(group) <= bounds.maximum for group in grouping.groups)
    assert len(grouping.left_out) == count - sum(group_sizes(count, bounds))


def test_one_group_takes_everyone_where_it_can() -> None:
    grouping = form_groups(peers_named(7), limits=GroupLimits(2, 16), run="r", round_number=3, seed=0)
    assert len(grouping.groups) == 1
    assert len(grouping.groups[0]) == 7


def test_groups_do_not_depend_on_the_order_of_arrival() -> None:
    ready = peers_named(13)
    one = form_groups(ready, limits=GroupLimits(2, 4), run="r", round_number=5, seed=1)
    other = form_groups(ready[::-1], limits=GroupLimits(2, 4), run="r", round_number=5, seed=1)
    assert one == other


def test_groups_change_from_round_to_round_and_with_the_seed() -> None:
    def groups(round_number: int, seed: int) -> tuple[tuple[str, ...], ...]:
        ready = peers_named(13)
        return form_groups(ready, limits=GroupLimits(2, 4), run="r", round_number=round_number, seed=seed).groups

    assert groups(1, 0) != groups(2, 0)
    assert groups(1, 0) != groups(1, 1)


def test_nobody_is_left_out_twice_in_a_row() -> None:
    ready = peers_named(7)
    urgent: tuple[str, ...] = ("peer-0",)
    for round_number in range(50):
        grouping = form_groups(
            ready, limits=GroupLimits(2, 2), run="r", round_number=round_number, seed=0, urgent=urgent
        )
        assert len(grouping.left_out) == 1
        assert not set(urgent) & set(grouping.left_out)
        urgent = grouping.left_out


@pytest.mark.parametrize(
    ("peers", "size"), [(4, 2), (8, 2), (16, 4), (6, 4), (8, 4), (12, 4), (64, 8), (64, 4), (32, 4)]
)
def test_a_full_grid_agrees_exactly_after_as_many_rounds_as_axes(peers: int, size: int) -> None:
    bounds = GroupLimits(2, size)
    sides = grid_sides(peers, bounds)
    assert sides is not None
    assert math.prod(sides) == peers
    values = dict(zip(peers_named(peers), np.random.default_rng(0).normal(size=peers), strict=True))
    mean = np.mean(list(values.values()))
    first = 7 * len(sides)
    for round_number in range(first, first + len(sides)):
        for group in form_groups(values, limits=bounds, run="r", round_number=round_number, seed=0).groups:
            average = np.mean([values[peer] for peer in group])
            values.update(dict.fromkeys(group, average))
    assert np.allclose(list(values.values()), mean, rtol=0, atol=1e-12)


@given(st.integers(3, 3000), limits())
@settings(deadline=None, max_examples=50)
def test_a_grid_holds_all_peers_and_keeps_the_limits(peers: int, bounds: GroupLimits) -> None:
    if peers <= bounds.maximum:
        return
    sides = grid_sides(peers, bounds)
    if sides is not None:
        assert math.prod(sides) >= peers
        assert max(sides) <= bounds.maximum


def test_organisers_are_ranked_alike_by_all_and_anew_each_round() -> None:
    peers = peers_named(16)
    orders = [organisers(peers[::step], run="r", round_number=1, seed=0) for step in (1, -1)]
    assert orders[0] == orders[1]
    firsts = {organisers(peers, run="r", round_number=number, seed=0)[0] for number in range(200)}
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
