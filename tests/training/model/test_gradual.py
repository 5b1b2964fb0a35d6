"""The outer step that begins as averaging: how it grows, and what holds it back."""

from __future__ import annotations

import pytest
import torch

from gossiptrain.training.model.gradual import MOST_OF_LEARNT, RAMP_ROUNDS, Gradual
from gossiptrain.training.model.local_work import LocalWork
from gossiptrain.training.model.outer_step import OuterSettings
from gossiptrain.training.model.own_steps import MOST, Alignment, StepHistory
from gossiptrain.training.model.strategies import Average, ParameterState

RULE = Gradual(OuterSettings(learning_rate=0.7, momentum=0.8, immediate=1.0))
ALONG = Alignment(product=1.0, learnt_squared=1.0, momentum_squared=0.01)
AGAINST = Alignment(product=-1.0, learnt_squared=1.0, momentum_squared=0.01)


def shares(history: StepHistory, *alignments: Alignment, horizon: float = 1.0) -> list[tuple[float, float]]:
    found = [RULE.next_shares(history, alignment, horizon=horizon) for alignment in alignments]
    return [(own.grown, own.kept) for own in found]


def test_it_grows_from_nothing_to_the_whole_momentum_in_so_many_usual_rounds() -> None:
    grown = [share for share, _ in shares(StepHistory(), *[ALONG] * (RAMP_ROUNDS + 3))]
    assert grown[:3] == pytest.approx([0.0, 0.1, 0.2])
    assert grown[RAMP_ROUNDS:] == [1.0, 1.0, 1.0]


def test_rounds_that_are_tried_again_soon_count_by_the_steps_in_them() -> None:
    history = StepHistory()
    shares(history, *[ALONG] * 10, horizon=0.1)
    assert history.grown_rounds == pytest.approx(1.0)


def test_the_momentum_is_forgotten_where_learning_goes_against_it_twice_running() -> None:
    kept = [share for _, share in shares(StepHistory(), AGAINST, ALONG, AGAINST, AGAINST, AGAINST)]
    assert kept == [1.0, 1.0, 1.0, 0.0, 1.0]


def test_the_momentum_never_moves_the_model_further_than_a_part_of_what_is_learnt() -> None:
    history = StepHistory(grown_rounds=RAMP_ROUNDS)
    large = Alignment(product=1.0, learnt_squared=4.0, momentum_squared=100.0)
    ((grown, kept),) = shares(history, large)
    assert grown * kept * 0.5 * 10 == pytest.approx(MOST_OF_LEARNT * 2)
    assert shares(history, Alignment(0.0, 0.0, 1.0)) == [(1.0, 0.0)], "nothing was learnt"
    assert shares(history, Alignment(0.0, 0.0, 0.0)) == [(1.0, 1.0)], "nothing was ever learnt"


def test_the_first_round_is_plain_averaging() -> None:
    learnt = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    after = []
    for rule, work in ((Average(), LocalWork()), (RULE, LocalWork(grown=0.0))):
        state = tuple(torch.zeros(4, 6) for _ in rule.state_names)
        parameters = ParameterState(torch.ones(4, 6), torch.empty(4, 6), state)
        rule.begin(parameters)
        parameters.local.add_(learnt)
        rule.contribute(parameters, work)
        rule.take(parameters, parameters.shared.mean(dim=0).expand(4, -1).clone(), alpha=1.0)
        after.append(parameters.local)
    torch.testing.assert_close(after[0], after[1])


def test_the_momentum_is_measured_by_what_counts_of_a_step_that_is_far_too_long() -> None:
    history = StepHistory(grown_rounds=RAMP_ROUNDS)
    shares(history, *[ALONG] * 4)
    far = RULE.next_shares(history, Alignment(product=1.0, learnt_squared=1e4, momentum_squared=1e4), horizon=1.0)
    assert far.learnt == MOST / 100
    assert far.kept * 0.5 * 100 == pytest.approx(MOST_OF_LEARNT * MOST)
