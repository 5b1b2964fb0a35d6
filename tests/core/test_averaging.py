"""The arithmetic of a round, and the laws it obeys."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.core.averaging import (
    clipped_weights,
    contraction_with_alpha,
    expected_contraction,
    relative_disagreement,
    squared_distances,
    squared_norm,
    weighted_mean,
)
from gossiptrain.core.grouping import GroupLimits, form_groups


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=64))
def test_weights_sum_to_one_and_stay_within_the_clip(samples: list[int]) -> None:
    weights = clipped_weights(samples)
    assert math.isclose(sum(weights), 1.0, rel_tol=1e-9)
    assert max(weights) <= 16 * min(weights) * (1 + 1e-9)


def test_a_peer_that_saw_twice_the_samples_weighs_twice() -> None:
    light, heavy, _ = clipped_weights([100, 200, 100])
    assert heavy == pytest.approx(2 * light)


def test_a_peer_that_claims_a_million_times_more_weighs_four_times_the_median() -> None:
    weights = clipped_weights([100, 100, 100, 10**8])
    assert weights[3] == pytest.approx(4 * weights[0])


def test_peers_that_saw_nothing_weigh_the_same() -> None:
    assert clipped_weights([0, 0]) == [0.5, 0.5]


@given(st.integers(1, 8), st.integers(1, 200), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_mean_conserves_the_weighted_sum(members: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=size).astype(np.float32) for _ in range(members)]
    weights = clipped_weights([int(count) for count in rng.integers(1, 1000, size=members)])
    out = np.empty(size, np.float32)
    weighted_mean(parts, weights, out)
    exact = sum(weight * part.astype(np.float64) for weight, part in zip(weights, parts, strict=True))
    assert np.allclose(out, exact, rtol=1e-6, atol=1e-6)


def test_the_mean_is_bitwise_repeatable() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=1000).astype(np.float32) for _ in range(5)]
    first, second = np.empty(1000, np.float32), np.empty(1000, np.float32)
    weighted_mean(parts, clipped_weights([1, 2, 3, 4, 5]), first)
    weighted_mean(parts, clipped_weights([1, 2, 3, 4, 5]), second)
    assert first.tobytes() == second.tobytes()


@given(st.integers(1, 8), st.integers(1, 200), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_mean_of_equal_parts_is_that_part_bit_by_bit(members: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    part = rng.normal(size=size).astype(np.float32)
    weights = clipped_weights([int(count) for count in rng.integers(1, 1000, size=members)])
    out = np.empty(size, np.float32)
    weighted_mean([part.copy() for _ in range(members)], weights, out)
    assert out.tobytes() == part.tobytes()


def test_parts_that_differ_only_at_their_end_are_not_taken_for_equal() -> None:
    one, other = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    other[-1] = 1.0
    out = np.empty(1000, np.float32)
    weighted_mean([one, other], [0.5, 0.5], out)
    assert out[-1] == 0.5


def test_disagreement_is_relative_to_the_size_of_the_mean() -> None:
    parts = [np.array([9.0, 0.0], np.float32), np.array([11.0, 0.0], np.float32)]
    mean = np.array([10.0, 0.0], np.float32)
    found = relative_disagreement(
        squared_distance=squared_distances(parts, mean), squared_mean=squared_norm(mean), members=2
    )
    assert found == pytest.approx(0.1)
    assert relative_disagreement(squared_distance=0.0, squared_mean=0.0, members=2) == 0.0
    assert relative_disagreement(squared_distance=1.0, squared_mean=0.0, members=2) == math.inf


@pytest.mark.parametrize(("peers", "size"), [(5, 2), (7, 4), (15, 4), (13, 8)])
def test_random_groups_contract_disagreement_by_the_law(peers: int, size: int) -> None:
    """E[variance after] = (r - 1) / (N - 1) * variance before, measured over many rounds with random groups."""
    names = [f"p{index}" for index in range(peers)]
    rng = np.random.default_rng(1)
    factors = []
    groups = 0
    for round_number in range(6000):
        values = dict(zip(names, rng.normal(size=peers), strict=True))
        before = np.var(list(values.values()))
        formed = form_groups(names, limits=GroupLimits(2, size), run="r", round_number=round_number, seed=3)
        groups = len(formed.groups) + len(formed.left_out)
        for group in formed.groups:
            values.update(dict.fromkeys(group, float(np.mean([values[peer] for peer in group]))))
        factors.append(np.var(list(values.values())) / before)
    assert np.mean(factors) == pytest.approx(expected_contraction(peers=peers, groups=groups), rel=0.05)


@pytest.mark.parametrize("alpha", [1.0, 0.9, 0.5, 0.1])
def test_alpha_slows_the_contraction_by_the_law(alpha: float) -> None:
    rng = np.random.default_rng(2)
    factors = []
    for _ in range(4000):
        values = rng.normal(size=8)
        averaged = values.copy()
        order = rng.permutation(8)
        for group in (order[:4], order[4:]):
            averaged[group] = values[group].mean()
        factors.append(np.var(values + alpha * (averaged - values)) / np.var(values))
    predicted = contraction_with_alpha(expected_contraction(peers=8, groups=2), alpha)
    assert np.mean(factors) == pytest.approx(predicted, rel=0.05)
