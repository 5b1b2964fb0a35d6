"""What a new Adam is given of another peer's: how it is laid out, what is taken, and what a step is then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from gossiptrain.core.averaging import Vector
from gossiptrain.core.fragments import Fragments
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.moments import SecondMoments

Make = Callable[[nn.Module], Optimizer]
BETAS = (0.9, 0.99)


class Learner:
    """A small network with a buffer that is averaged as well, and its moments."""

    def __init__(self, make: Make, *, fragments: int = 1) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.optimizer = make(self.model)
        self.binding = ModelBinding(self.model, [self.optimizer])
        self.fragments = Fragments.of([len(bound.place) for bound in self.binding.tensors], fragments)
        self.moments = SecondMoments(self.binding, [self.optimizer], self.fragments)

    def learn(self, steps: int) -> None:
        for step in range(steps):
            generator = torch.Generator().manual_seed(step)
            self.optimizer.zero_grad()
            self.model(torch.randn(8, 3, generator=generator)).square().sum().backward()
            self.optimizer.step()

    def written(self) -> list[Vector]:
        vectors = [np.full(length, np.nan, np.float32) for length in self.fragments.lengths]
        for number, vector in enumerate(vectors):
            assert self.moments.write(vector, fragment=number)
        return vectors

    def reads(self, vectors: list[Vector], *, step: int) -> list[bool]:
        return [self.moments.read(vector, fragment=number, step=step) for number, vector in enumerate(vectors)]


def adam(model: nn.Module) -> Optimizer:
    return Adam(model.parameters(), lr=0.01, betas=BETAS)


def adamw_fused_with_amsgrad(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), lr=0.01, betas=BETAS, fused=True, amsgrad=True)


def test_a_joiner_at_the_donors_step_holds_its_second_moments_and_no_first_ones() -> None:
    donor, joiner = Learner(adam), Learner(adam)
    donor.learn(30)
    assert joiner.reads(donor.written(), step=30) == [True]
    for own, theirs in zip(joiner.model.parameters(), donor.model.parameters(), strict=True):
        state, given = joiner.optimizer.state[own], donor.optimizer.state[theirs]
        assert torch.allclose(state["exp_avg_sq"], given["exp_avg_sq"], rtol=1e-5)
        assert float(state["step"]) == 30
        assert not state["exp_avg"].any()


@pytest.mark.parametrize("make", [adam, adamw_fused_with_amsgrad])
def test_its_first_step_is_a_small_one_where_that_of_a_new_one_is_the_largest(make: Make) -> None:
    donor, joiner, newcomer = Learner(make), Learner(make), Learner(make)
    donor.learn(200)
    joiner.reads(donor.written(), step=200)

    def longest_step(learner: Learner) -> float:
        learner.model.load_state_dict(donor.model.state_dict())
        before = [parameter.detach().clone() for parameter in learner.model.parameters()]
        learner.learn(1)
        pairs = zip(learner.model.parameters(), before, strict=True)
        return max(float((now.detach() - then).abs().max()) for now, then in pairs)

    assert longest_step(newcomer) == pytest.approx(0.01, rel=0.1)
    assert longest_step(joiner) < 0.01 * 0.5


def test_it_goes_on_step_by_step_like_an_adam_that_torch_has_given_the_same_state() -> None:
    donor, joiner, other = (Learner(adamw_fused_with_amsgrad) for _ in range(3))
    donor.learn(25)
    joiner.reads(donor.written(), step=25)
    state = donor.optimizer.state_dict()
    for kept in state["state"].values():
        kept["exp_avg"].zero_()
        kept["max_exp_avg_sq"] = kept["exp_avg_sq"].clone()
    other.optimizer.load_state_dict(state)
    joiner.learn(5)
    other.learn(5)
    for own, theirs in zip(joiner.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(own, theirs, rtol=1e-5, atol=1e-7)


def test_one_with_another_beta_at_another_step_sees_the_same_size_of_gradients() -> None:
    donor, joiner = Learner(adam), Learner(lambda model: AdamW(model.parameters(), betas=(0.9, 0.999)))
    donor.learn(30)
    joiner.reads(donor.written(), step=1000)
    vectors = joiner.written()
    for own, theirs in zip(vectors, donor.written(), strict=True):
        assert np.allclose(own, theirs, rtol=1e-4)


def test_each_fragment_carries_its_own_and_buffers_have_none() -> None:
    donor, joiner = Learner(adam, fragments=3), Learner(adam, fragments=3)
    donor.learn(10)
    assert donor.fragments.count > 1
    assert any(joiner.reads(donor.written(), step=10))
    assert not joiner.moments.are_missing
    for bound in donor.binding.tensors:
        if not bound.trained:
            fragment = donor.fragments.of_element(bound.place.start)
            begins_at = donor.fragments.place(fragment).start
            assert not bound.view(torch.from_numpy(donor.written()[fragment]), begins_at=begins_at).any()


def test_only_a_new_adam_is_without_and_others_keep_none() -> None:
    learner = Learner(adam)
    assert learner.moments.are_missing
    vector = np.ones(learner.fragments.longest, np.float32)
    assert not learner.moments.write(vector, fragment=0)
    assert not vector.any()
    learner.learn(1)
    assert not learner.moments.are_missing
    other = Learner(lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9))
    assert not other.moments.are_missing
    assert not other.moments.write(vector, fragment=0)
    assert other.reads(learner.written(), step=1) == [False]


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, -np.inf])
def test_of_a_vector_with_a_value_that_cannot_be_nothing_is_taken(bad: float) -> None:
    donor, joiner = Learner(adam), Learner(adam)
    donor.learn(5)
    (vector,) = donor.written()
    vector[7] = bad
    assert joiner.reads([vector], step=5) == [False]
    assert not joiner.optimizer.state


def test_a_tensor_of_which_the_donor_has_learnt_nothing_begins_as_ever() -> None:
    donor, joiner = Learner(adam), Learner(adam)
    donor.learn(5)
    (vector,) = donor.written()
    first = donor.binding.tensors[0]
    first.view(torch.from_numpy(vector)).zero_()
    assert joiner.reads([vector], step=5) == [True]
    assert not joiner.optimizer.state.get(next(joiner.model.parameters()))


def test_what_an_optimizer_has_learnt_itself_stays() -> None:
    donor, joiner = Learner(adam), Learner(adam)
    donor.learn(5)
    joiner.learn(2)
    assert joiner.reads(donor.written(), step=5) == [False]
    assert float(joiner.optimizer.state[next(joiner.model.parameters())]["step"]) == 2
