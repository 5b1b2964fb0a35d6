"""Disagreement under outer optimizers: the formulas against simulated swarms."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from benchmarks.papers.mixing import in_random_groups, variance_among_peers
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.averaging import expected_contraction
from gossiptrain.core.stability import StepMixMoments, noloco_radius, steady_disagreement_average
from gossiptrain.training.model.outer_step import OuterSettings
from gossiptrain.training.model.strategies import StepMix

Values = npt.NDArray[np.float64]
SWARMS = 4000
"""Independent swarms that are simulated side by side, one in each row."""


def contraction_of(peers: int, groups: int) -> float:
    return expected_contraction(peers=peers, groups=groups)


@pytest.mark.parametrize(
    ("peers", "groups", "momentum", "learning_rate"),
    [(16, 8, 0.5, 0.7), (16, 8, 0.9, 0.7), (16, 4, 0.9, 0.7), (8, 2, 0.3, 0.7), (16, 8, 0.5, 1.0)],
)
def test_noloco_multiplies_disagreement_by_its_radius(
    peers: int, groups: int, momentum: float, learning_rate: float
) -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(SWARMS, peers))
    velocity = np.zeros_like(weights)
    found = []
    for _ in range(48):
        mean = in_random_groups(weights, groups, rng)
        velocity = momentum * velocity + learning_rate * (mean - weights)
        weights = weights + velocity
        found.append(variance_among_peers(weights))
    predicted = noloco_radius(momentum, learning_rate, contraction_of(peers, groups))
    # Over many rounds, since where the momentum is large, disagreement swings on its way.
    assert (found[47] / found[11]) ** (1 / 36) == pytest.approx(predicted, rel=0.01)


def test_noloco_in_pairs_drifts_apart_with_the_momentum_of_diloco_and_not_with_its_own() -> None:
    pairs = contraction_of(16, 8)
    assert noloco_radius(0.9, 0.7, pairs) == pytest.approx(1.09, abs=0.01)
    assert noloco_radius(0.5, 0.7, pairs) == pytest.approx(0.685, abs=0.001)


@given(st.floats(0, 1), st.floats(0, 1))
def test_without_momentum_noloco_is_averaging_with_a_share(learning_rate: float, contraction: float) -> None:
    predicted = contraction + (1 - learning_rate) ** 2 * (1 - contraction)
    assert noloco_radius(0.0, learning_rate, contraction) == pytest.approx(predicted, abs=1e-9)


@given(st.floats(0, 0.999), st.floats(0.01, 2))
def test_momentum_dies_out_at_its_own_pace_where_everyone_meets(momentum: float, learning_rate: float) -> None:
    """With one group the disagreement is one linear recurrence of second order, with known roots."""
    roots = np.roots([1.0, -(1 + momentum - learning_rate), momentum])
    # Where the roots meet, the eigenvalues of either matrix are only known to a cube root of the rounding error.
    assert noloco_radius(momentum, learning_rate, 0.0) == pytest.approx(float(np.abs(roots).max() ** 2), abs=1e-4)


@pytest.mark.parametrize(("peers", "groups"), [(16, 8), (16, 4), (16, 2), (12, 4)])
def test_plain_averaging_settles_where_the_formula_says(peers: int, groups: int) -> None:
    rng = np.random.default_rng(4)
    values = np.zeros((SWARMS, peers))
    for _ in range(20):
        values = in_random_groups(values + rng.normal(size=values.shape), groups, rng)
    predicted = steady_disagreement_average(contraction_of(peers, groups))
    assert variance_among_peers(values) == pytest.approx(predicted, rel=0.05)


@pytest.mark.parametrize(
    ("peers", "groups", "rule"),
    [
        (16, 8, StepMixMoments(1.33, 0.567, 0.9, 0.0)),
        (16, 4, StepMixMoments(1.33, 0.567, 0.9, 0.17)),
        (16, 2, StepMixMoments(1.26, 0.448, 0.8, 0.43)),
        (8, 4, StepMixMoments(1.0, 0.25, 0.9, 1.0)),
        (8, 4, StepMixMoments(1.0, 0.5, 0.8, 0.4)),
        (8, 4, StepMixMoments(0.7, 0.0, 0.0, 0.0)),
    ],
)
def test_step_mix_settles_where_the_formula_says(peers: int, groups: int, rule: StepMixMoments) -> None:
    rng = np.random.default_rng(5)
    weights = np.zeros((SWARMS, peers))
    momentum = np.zeros_like(weights)
    for _ in range(60):
        learnt = rng.normal(size=weights.shape)
        stepped = weights + rule.immediate * learnt + rule.remembered * momentum
        momentum = rule.momentum * momentum + learnt
        weights = in_random_groups(stepped, groups, rng)
        momentum += rule.agreement * (weights - stepped)
    predicted = rule.steady(contraction_of(peers, groups))
    assert variance_among_peers(weights) == pytest.approx(predicted[0], rel=0.05)
    assert variance_among_peers(momentum) == pytest.approx(predicted[1], rel=0.05)


@given(st.floats(0, 0.999))
def test_step_mix_without_momentum_at_full_rate_is_plain_averaging(contraction: float) -> None:
    plain = steady_disagreement_average(contraction)
    assert StepMixMoments(1.0, 0.0, 0.0).steady(contraction)[0] == pytest.approx(plain)


OUTER = st.builds(OuterSettings, st.floats(0.1, 1.5), st.floats(0.01, 0.98), st.sampled_from([None, 0.5, 1.0, 1.5]))
CAUTION = st.sampled_from([0.0, 1.0])


@given(OUTER, st.floats(0.0, 0.999), CAUTION)
def test_the_agreement_of_step_mix_is_stable_however_seldom_peers_meet(
    outer: OuterSettings, contraction: float, caution: float
) -> None:
    rule = StepMix(outer)
    agreement = rule.agreement_of(caution=caution).lasting
    assert rule.moments(agreement, caution=caution).radius(contraction) < 1


@given(OUTER, st.floats(0.0, 0.75), CAUTION)
def test_what_others_agree_by_is_stable_for_pairs_that_meet_in_every_second_round_and_whoever_meets_more(
    outer: OuterSettings, contraction: float, caution: float
) -> None:
    rule = StepMix(outer)
    agreement = rule.agreement_of(caution=caution).lately
    assert rule.moments(agreement, caution=caution).radius(contraction) < 1


def test_a_peer_that_meets_often_takes_over_all_of_the_groups_step_where_that_is_stable() -> None:
    assert StepMix(OuterSettings(0.7, 0.8)).agreement.lately == pytest.approx(1 / 1.26)
    assert 0.7 < StepMix(OuterSettings(0.7, 0.8)).cautious_agreement.lately < 0.75
    assert StepMix(OuterSettings(0.35, 0.9, immediate=1.0)).agreement.lately == 1.0
    assert 0.15 < StepMix(OuterSettings(0.7, 0.9, immediate=1.0)).agreement.lately < 0.6


@pytest.mark.parametrize("outer", [OuterSettings(0.7, 0.8), OuterSettings(0.35, 0.9, immediate=1.0)])
@pytest.mark.parametrize("contraction", [1 / 7, 7 / 63])
def test_agreement_brings_momenta_and_with_them_the_weights_together(outer: OuterSettings, contraction: float) -> None:
    rule = StepMix(outer)
    apart = rule.moments(0.0).steady(contraction)
    together = rule.moments(rule.agreement.lately).steady(contraction)
    assert together[0] < 0.8 * apart[0]
    assert together[1] < 0.2 * apart[1]


def test_peers_that_seldom_meet_overshoot_with_as_much_agreement_as_the_others() -> None:
    rule = StepMix(OuterSettings(0.7, 0.8))
    assert rule.moments(rule.agreement.lately).radius(0.9) > 1
    assert rule.moments(rule.agreement.lasting).radius(0.9) < 1


def test_peers_that_all_meet_agree_and_those_that_never_meet_drift_without_end() -> None:
    assert steady_disagreement_average(0.0) == 0.0
    assert StepMixMoments(1.33, 0.567, 0.9).steady(0.0)[0] == 0.0
    assert steady_disagreement_average(1.0) == math.inf
    assert StepMixMoments(1.33, 0.567, 0.9).steady(1.0) == (math.inf, math.inf)


@pytest.mark.parametrize("contraction", [-0.01, 1.01, math.nan])
def test_a_contraction_that_cannot_be_is_refused(contraction: float) -> None:
    for formula in (
        steady_disagreement_average,
        lambda own: noloco_radius(0.5, 0.7, own),
        StepMixMoments(1, 0, 0).radius,
    ):
        with pytest.raises(ValueError, match="between 0 and 1"):
            formula(contraction)


def test_a_momentum_that_never_forgets_is_refused() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        StepMixMoments(1.33, 0.567, 1.0)
