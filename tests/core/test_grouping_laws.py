"""How fast groups make peers agree: the laws, measured on the groups that are formed."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.config import GroupingName
from gossiptrain.core.averaging import contraction_with_alpha, expected_contraction
from gossiptrain.core.grouping import GroupLimits, form_groups
from gossiptrain.core.schedules import exponential_turns, grid_sides

Matrix = npt.NDArray[np.float64]


def mixing(
    peers: int,
    grouping: GroupingName,
    *,
    size: int,
    round_number: int,
    absent: Collection[int] = (),
    urgent: Sequence[str] = (),
) -> Matrix:
    """The matrix by which one round multiplies the values of `peers`, those that stay away included."""
    groups = form_groups(
        [str(peer) for peer in range(peers) if peer not in absent],
        limits=GroupLimits(2, size),
        run="law",
        round_number=round_number,
        seed=0,
        urgent=urgent,
        grouping=grouping,
    ).groups
    matrix = np.eye(peers)
    for group in groups:
        members = [int(name) for name in group]
        matrix[members] = 0
        matrix[np.ix_(members, members)] = 1 / len(members)
    return matrix


def variance_left(matrix: Matrix) -> float:
    """Expected share of the variance of independent values that is left after they are multiplied by `matrix`."""
    peers = len(matrix)
    return float(((matrix - matrix.mean(axis=0)) ** 2).sum() / (peers - 1))


def left_after(peers: int, grouping: GroupingName, rounds: range, *, size: int, absence: float = 0.0) -> float:
    """The same after several rounds, in each of which every peer is absent with a certain chance."""
    rng = np.random.default_rng(rounds.start)
    product = np.eye(peers)
    for round_number in rounds:
        absent = np.nonzero(rng.random(peers) < absence)[0].tolist()
        product = mixing(peers, grouping, size=size, round_number=round_number, absent=absent) @ product
    return variance_left(product)


def mean_left(peers: int, grouping: GroupingName, rounds: int, *, size: int, absence: float = 0.0) -> float:
    """The same over many runs, each of which begins with a cycle of the schedule."""
    runs = [range(rounds * run, rounds * (run + 1)) for run in range(150)]
    return float(np.mean([left_after(peers, grouping, own, size=size, absence=absence) for own in runs]))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 40), st.integers(2, 16), st.integers(0, 99), st.sets(st.integers(0, 39), max_size=12))
def test_one_round_of_r_groups_leaves_r_minus_1_of_n_minus_1_parts(
    peers: int, size: int, round_number: int, absent: set[int]
) -> None:
    """Whatever the sizes, with absent peers as groups of one; exact for values that nothing distinguishes."""
    for grouping in ("random", "grid", "exponential", "auto", "all"):
        matrix = mixing(peers, grouping, size=size, round_number=round_number, absent=absent)
        groups = round(np.trace(matrix))
        assert variance_left(matrix) == pytest.approx(expected_contraction(peers=peers, groups=groups), abs=1e-9)


@pytest.mark.parametrize(("peers", "size", "groups"), [(8, 2, 4), (16, 4, 4), (15, 6, 3), (7, 4, 2), (64, 8, 8)])
def test_random_groups_contract_by_the_law_round_after_round(peers: int, size: int, groups: int) -> None:
    """Unequal sizes too; each round anew, so the factors multiply."""
    factor = expected_contraction(peers=peers, groups=groups)
    assert mean_left(peers, "random", 2, size=size) == pytest.approx(factor**2, rel=0.05)


@pytest.mark.parametrize(("peers", "size", "absent"), [(16, 4, 4), (12, 4, 2), (9, 3, 4)])
def test_random_groups_contract_by_the_law_while_some_stay_away(peers: int, size: int, absent: int) -> None:
    factor = expected_contraction(peers=peers, groups=absent + math.ceil((peers - absent) / size))
    rng = np.random.default_rng(1)
    left = []
    for run in range(400):
        first, second = (
            mixing(
                peers, "random", size=size, round_number=2 * run + turn, absent=rng.permutation(peers)[:absent].tolist()
            )
            for turn in (0, 1)
        )
        left.append(variance_left(second @ first))
    assert np.mean(left) == pytest.approx(factor**2, rel=0.05)


@pytest.mark.parametrize("alpha", [1.0, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("grouping", ["random", "grid", "exponential"])
def test_alpha_slows_any_round_by_the_law(grouping: GroupingName, alpha: float) -> None:
    matrix = mixing(16, grouping, size=4, round_number=5)
    softened = np.eye(16) + alpha * (matrix - np.eye(16))
    assert variance_left(softened) == pytest.approx(contraction_with_alpha(variance_left(matrix), alpha))


@pytest.mark.parametrize(
    ("peers", "size"), [(4, 2), (8, 2), (16, 4), (6, 4), (8, 4), (12, 4), (64, 8), (64, 4), (32, 4), (512, 32)]
)
def test_a_full_grid_agrees_exactly_after_as_many_rounds_as_axes(peers: int, size: int) -> None:
    sides = grid_sides(peers, shortest=2, longest=size)
    assert sides is not None
    assert math.prod(sides) == peers
    first = 7 * len(sides)
    assert left_after(peers, "grid", range(first, first + len(sides)), size=size) < 1e-24


@pytest.mark.parametrize("peers", [2, 4, 8, 16, 32, 64, 256])
def test_exponential_pairs_of_a_power_of_two_agree_exactly_after_its_logarithm_of_rounds(peers: int) -> None:
    turns = exponential_turns(peers)
    assert turns == math.log2(peers)
    assert left_after(peers, "exponential", range(5 * turns, 6 * turns), size=16) < 1e-24
    assert left_after(peers, "exponential", range(5 * turns, 6 * turns - 1), size=16) > 1 / (2 * peers)


@pytest.mark.parametrize(
    ("peers", "left"),
    [
        (6, 0.025),
        (10, 0.0104),
        (12, 0.0114),
        (20, 0.0049),
        (24, 0.0054),
        (48, 0.0026),
        (5, 0.0031),
        (7, 0.0102),
        (31, 0.0026),
    ],
)
def test_what_a_cycle_of_exponential_pairs_leaves_of_other_numbers(peers: int, left: float) -> None:
    """Even numbers: as much as the directed one-peer exponential graph leaves. Groups of three for the odd one."""
    turns = exponential_turns(peers)
    assert left_after(peers, "exponential", range(turns), size=16) == pytest.approx(left, rel=0.05)


@pytest.mark.parametrize("peers", [6, 7, 10, 12, 15, 20, 31, 64])
@pytest.mark.parametrize(("absence", "share"), [(0.0, 0.95), (0.1, 1.0), (0.3, 1.03)])
def test_exponential_pairs_leave_less_than_random_pairs(peers: int, absence: float, share: float) -> None:
    """Clearly less while all are there; where a third is away each round, no schedule holds for long."""
    turns = exponential_turns(peers)
    by_schedule = mean_left(peers, "exponential", turns, size=2, absence=absence)
    assert by_schedule < share * mean_left(peers, "random", turns, size=2, absence=absence)


def steady_disagreement(peers: int, grouping: GroupingName, *, size: int, absence: float = 0.0) -> float:
    """Mean disagreement after a round where every peer drifts by noise of variance 1 between two rounds."""
    rng = np.random.default_rng(0)
    covariance = np.zeros((peers, peers))
    found = []
    for round_number in range(120):
        absent = np.nonzero(rng.random(peers) < absence)[0].tolist()
        matrix = mixing(peers, grouping, size=size, round_number=round_number, absent=absent)
        covariance = matrix @ (covariance + np.eye(peers)) @ matrix.T
        found.append((np.trace(covariance) - covariance.sum() / peers) / (peers - 1))
    return float(np.mean(found[20:]))


@pytest.mark.parametrize("absence", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("peers", "size"), [(9, 8), (16, 8), (24, 16), (32, 8), (33, 16), (12, 4), (48, 8), (64, 8)])
def test_auto_is_never_much_worse_than_the_better_of_grid_and_random(peers: int, size: int, absence: float) -> None:
    by_kind = {
        grouping: steady_disagreement(peers, grouping, size=size, absence=absence)
        for grouping in ("auto", "grid", "random")
    }
    assert by_kind["auto"] <= 1.2 * min(by_kind["grid"], by_kind["random"])


def test_a_grid_of_small_groups_is_worse_than_random_groups() -> None:
    assert steady_disagreement(32, "grid", size=16) > 2 * steady_disagreement(32, "random", size=16)
