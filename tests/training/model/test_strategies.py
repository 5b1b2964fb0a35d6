"""The rules by which peers learn from each other, on matrices with one peer in each row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossiptrain.training.model.local_work import LATE, LocalWork, late_share
from gossiptrain.training.model.outer_step import OuterSettings
from gossiptrain.training.model.strategies import Average, DiLoCo, NoLoCo, ParameterState, StepMix, Strategy

PEERS, ELEMENTS = 8, 5
OUTER = OuterSettings(learning_rate=0.7, momentum=0.9)
AT_ONCE = OuterSettings(learning_rate=0.35, momentum=0.9, immediate=1.0)
WITH_STEP: list[Strategy] = [StepMix(OUTER), StepMix(AT_ONCE), DiLoCo(OUTER), NoLoCo(replace(OUTER, momentum=0.5))]
ALL: list[Strategy] = [Average(), *WITH_STEP]


def begun(strategy: Strategy, local: Tensor) -> ParameterState:
    state = tuple(torch.full_like(local, 7.0) for _ in strategy.state_names)
    parameters = ParameterState(local.clone(), torch.empty_like(local), state)
    strategy.begin(parameters)
    return parameters


def same_start() -> Tensor:
    return torch.randn(ELEMENTS, generator=torch.Generator().manual_seed(1)).repeat(PEERS, 1)


def learnt(number: int) -> Tensor:
    return torch.randn(PEERS, ELEMENTS, generator=torch.Generator().manual_seed(100 + number))


def grouped_mean(values: Tensor, group_size: int) -> Tensor:
    groups = values.reshape(-1, group_size, ELEMENTS)
    return groups.mean(dim=1, keepdim=True).expand_as(groups).reshape_as(values)


def play(strategy: Strategy, *, rounds: int, group_size: int) -> Tensor:
    """What all peers hold after so many rounds in which they learn what `learnt` says; groups change in every round."""
    parameters = begun(strategy, same_start())
    for number in range(rounds):
        parameters.local.add_(learnt(number))
        strategy.contribute(parameters, LocalWork())
        order = torch.randperm(PEERS, generator=torch.Generator().manual_seed(number))
        average = torch.empty_like(parameters.shared)
        average[order] = grouped_mean(parameters.shared[order], group_size)
        strategy.take(parameters, average, alpha=1.0)
    return parameters.local


@pytest.mark.parametrize("strategy", ALL, ids=lambda strategy: strategy.name)
def test_peers_that_share_their_start_end_equal_after_a_round_of_all(strategy: Strategy) -> None:
    after = play(strategy, rounds=4, group_size=PEERS)
    torch.testing.assert_close(after, after[:1].expand_as(after))


@pytest.mark.parametrize("outer", [OUTER, AT_ONCE])
@pytest.mark.parametrize("group_size", [1, 2, 4, 8])
def test_the_mean_of_step_mix_follows_diloco_for_every_group_size(group_size: int, outer: OuterSettings) -> None:
    diloco = play(DiLoCo(outer), rounds=6, group_size=PEERS)
    step_mix = play(StepMix(outer), rounds=6, group_size=group_size)
    torch.testing.assert_close(step_mix.mean(dim=0), diloco.mean(dim=0), rtol=1e-4, atol=1e-4)


def test_momenta_come_together_by_what_the_group_shows_of_its_steps() -> None:
    """Where all began alike, one meeting of all tells each how far its own step was off, and so its momentum."""
    strategy = StepMix(OuterSettings(learning_rate=0.7, momentum=0.5))
    parameters = begun(strategy, same_start())
    parameters.local.add_(learnt(0))
    strategy.contribute(parameters, LocalWork())
    own = parameters.state[0].clone()
    strategy.take(parameters, grouped_mean(parameters.shared, PEERS), alpha=1.0)
    torch.testing.assert_close(parameters.state[0], own.mean(dim=0).expand_as(own))


def test_who_has_seldom_met_takes_less_of_it() -> None:
    strategy = StepMix(AT_ONCE)
    often, seldom = begun(strategy, same_start()), begun(strategy, same_start())
    lately = torch.tensor([[1.0]] * 4 + [[0.0]] * 4)
    together = begun(strategy, same_start())
    for parameters in (often, seldom, together):
        parameters.local.add_(learnt(0))
        strategy.contribute(parameters, LocalWork())
    average = grouped_mean(often.shared, PEERS)
    own = often.state[0].clone()
    strategy.take(often, average, alpha=1.0)
    strategy.take(seldom, average, alpha=1.0, work=LocalWork(met_lately=False))
    strategy.take(together, average, alpha=1.0, work=LocalWork(met_lately=lately))
    torch.testing.assert_close(seldom.state[0], own + 0.4 * (own.mean(dim=0) - own))
    assert torch.equal(together.state[0], torch.cat([often.state[0][:4], seldom.state[0][4:]]))


def test_only_the_share_of_a_step_that_counts_moves_the_model_and_is_remembered() -> None:
    strategy, start = StepMix(OUTER), same_start()
    whole, part = begun(strategy, start), begun(strategy, start)
    whole.local.add_(0.25 * learnt(0))
    strategy.contribute(whole, LocalWork())
    part.local.add_(learnt(0))
    strategy.contribute(part, LocalWork(learnt=0.25))
    torch.testing.assert_close(part.local, whole.local)
    torch.testing.assert_close(part.state[0], whole.state[0])


@pytest.mark.parametrize(
    ("outer", "cautious"),
    [(OUTER, 1.0), (AT_ONCE, 1.0), (OuterSettings(0.3, 0.5), 0.45), (OuterSettings(0.7, 0.8, immediate=1.26), 1.26)],
)
def test_whose_averages_are_late_takes_no_more_at_once_than_it_has_learnt_unless_told_to_and_as_much_in_all(
    outer: OuterSettings, cautious: float
) -> None:
    strategy, start = StepMix(outer), same_start()
    together = begun(strategy, start)
    late = LocalWork(late=torch.tensor([[1.0]] * 2 + [[LATE[1]]] * 2 + [[sum(LATE) / 2]] * 2 + [[LATE[0]], [0.0]]))
    together.local.add_(learnt(0))
    strategy.contribute(together, late)
    usual = float(outer.step().immediate)
    at_once = torch.tensor([[cautious]] * 4 + [[(cautious + usual) / 2]] * 2 + [[usual]] * 2)
    torch.testing.assert_close(together.local, start + at_once * learnt(0), rtol=1e-4, atol=1e-4)
    for _ in range(100):
        strategy.contribute(together, late)
    in_all = outer.learning_rate / (1 - outer.momentum)
    torch.testing.assert_close(together.local, start + in_all * learnt(0), rtol=1e-4, atol=1e-4)


def test_without_momentum_and_with_all_that_was_learnt_at_once_step_mix_is_averaging() -> None:
    step_mix = play(StepMix(OuterSettings(1.0, 0.0, immediate=1.0)), rounds=4, group_size=4)
    torch.testing.assert_close(step_mix, play(Average(), rounds=4, group_size=4))


def test_peers_of_another_outer_step_are_told_apart() -> None:
    summaries = {StepMix(outer).summary for outer in (OUTER, AT_ONCE, replace(AT_ONCE, immediate=0.9))}
    assert len(summaries) == 3


def test_diloco_is_nesterovs_method_on_the_mean_progress() -> None:
    reference = torch.nn.Parameter(same_start()[0])
    optimizer = torch.optim.SGD([reference], lr=0.7, momentum=0.9, nesterov=True)
    for number in range(5):
        reference.grad = -learnt(number).mean(dim=0)
        optimizer.step()
    torch.testing.assert_close(play(DiLoCo(OUTER), rounds=5, group_size=PEERS)[0], reference.detach())


def test_noloco_is_heavy_ball_where_all_meet() -> None:
    reference = torch.nn.Parameter(same_start()[0])
    optimizer = torch.optim.SGD([reference], lr=0.7, momentum=0.5)
    for number in range(5):
        reference.grad = -learnt(number).mean(dim=0)
        optimizer.step()
    rule = NoLoCo(OuterSettings(learning_rate=0.7, momentum=0.5))
    torch.testing.assert_close(play(rule, rounds=5, group_size=PEERS)[0], reference.detach())


def test_disagreement_dies_out_in_step_mix_whatever_the_momentum() -> None:
    """Once nothing new is learnt. What the momenta took for their own of it is a hundredth here, and dies out too."""
    strategy = StepMix(replace(OUTER, momentum=0.99))
    parameters = begun(strategy, torch.randn(PEERS, ELEMENTS, generator=torch.Generator().manual_seed(3)))
    spread = [float(parameters.local.var(dim=0, correction=0).mean())]
    for number in range(12):
        strategy.contribute(parameters, LocalWork())
        order = torch.randperm(PEERS, generator=torch.Generator().manual_seed(number))
        average = torch.empty_like(parameters.shared)
        average[order] = grouped_mean(parameters.shared[order], 4)
        strategy.take(parameters, average, alpha=1.0)
        spread.append(float(parameters.local.var(dim=0, correction=0).mean()))
    assert spread[-1] < 1e-3 * spread[0]


@pytest.mark.parametrize("strategy", ALL, ids=lambda strategy: strategy.name)
def test_what_is_learnt_while_a_round_is_under_way_stays(strategy: Strategy) -> None:
    waited, went_on = begun(strategy, same_start()), begun(strategy, same_start())
    for parameters in (waited, went_on):
        parameters.local.add_(learnt(0))
        strategy.contribute(parameters, LocalWork())
    average = waited.shared.mean(dim=0, keepdim=True).expand_as(waited.shared)
    went_on.local.add_(learnt(1))
    for parameters in (waited, went_on):
        strategy.take(parameters, average, alpha=1.0)
    torch.testing.assert_close(went_on.local, waited.local + learnt(1))
    for before, after in zip(waited.state, went_on.state, strict=True):
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize("strategy", [Average(), StepMix(OUTER)], ids=lambda strategy: strategy.name)
def test_a_peer_that_stood_still_holds_exactly_the_average(strategy: Strategy) -> None:
    parameters = begun(strategy, same_start())
    parameters.local.add_(learnt(0))
    strategy.contribute(parameters, LocalWork())
    average = learnt(5)
    strategy.take(parameters, average, alpha=1.0)
    assert torch.equal(parameters.local, average)


@pytest.mark.parametrize("strategy", ALL, ids=lambda strategy: strategy.name)
def test_alpha_may_differ_from_row_to_row(strategy: Strategy) -> None:
    column = torch.linspace(0.1, 1.0, PEERS)[:, None]
    together = begun(strategy, same_start())
    together.local.add_(learnt(0))
    strategy.contribute(together, LocalWork())
    average = together.shared.mean(dim=0, keepdim=True).expand_as(together.shared).clone()
    strategy.take(together, average, alpha=column)
    for row in range(PEERS):
        alone = begun(strategy, same_start()[row])
        alone.local.add_(learnt(0)[row])
        strategy.contribute(alone, LocalWork())
        strategy.take(alone, average[row], alpha=float(column[row]))
        torch.testing.assert_close(together.local[row], alone.local)


def test_a_failed_round_leaves_step_mix_with_its_own_outer_step() -> None:
    strategy = StepMix(OUTER)
    parameters = begun(strategy, same_start())
    parameters.local.add_(learnt(0))
    strategy.contribute(parameters, LocalWork())
    torch.testing.assert_close(parameters.local, same_start() + 0.7 * 1.9 * learnt(0))
    assert torch.equal(parameters.local, parameters.shared)


def test_a_peer_that_saw_more_samples_moves_the_swarm_more() -> None:
    strategy = StepMix(OuterSettings(learning_rate=1.0, momentum=0.0))
    parameters = begun(strategy, same_start())
    parameters.local.add_(learnt(0))
    weight = torch.ones(PEERS, 1)
    weight[0] = 3.0
    strategy.contribute(parameters, LocalWork(weight=weight))
    torch.testing.assert_close(parameters.shared, same_start() + weight * learnt(0))


def test_a_round_after_a_missed_one_takes_no_larger_a_step_of_what_was_learnt() -> None:
    assert OUTER.rescaled(3.0) == OUTER.rescaled(1.0)
    column = torch.tensor([[0.5], [1.0], [2.0]])
    rates, momenta = OUTER.rescaled(column)
    for row, horizon in enumerate((0.5, 1.0, 1.0)):
        rate, momentum = OUTER.rescaled(horizon)
        assert isinstance(rates, Tensor)
        assert isinstance(momenta, Tensor)
        assert (rates[row].item(), momenta[row].item()) == pytest.approx((rate, momentum))


@given(momentum=st.floats(0.0, 0.99), horizon=st.floats(0.1, 1.0), immediate=st.sampled_from([None, 0.5, 1.0, 2.0]))
def test_rescaling_keeps_how_far_a_steady_drift_is_followed(
    momentum: float, horizon: float, immediate: float | None
) -> None:
    step = OuterSettings(learning_rate=0.7, momentum=momentum, immediate=immediate).step(horizon)
    assert isinstance(step.momentum, float)
    assert step.immediate + step.remembered / (1 - step.momentum) == pytest.approx(0.7 / (1 - momentum))
    assert step.remembered > -1e-9


def test_without_a_step_nothing_moves_and_nothing_is_forgotten() -> None:
    for outer in (OUTER, AT_ONCE):
        step = outer.step(0.0)
        assert (step.remembered, step.momentum) == (0.0, 1.0)


def test_two_short_rounds_forget_as_much_as_one_long_one() -> None:
    _, half = OUTER.rescaled(0.5)
    assert half**2 == pytest.approx(OUTER.momentum)


@pytest.mark.parametrize(("late", "share"), [(0, 1.0), (49, 1.0), (50, 0.5), (149, 1 / 3)])
def test_a_late_average_counts_less_the_older_it_is(late: int, share: float) -> None:
    assert late_share(late, interval_steps=50, usual_steps=1) == pytest.approx(share)
