"""A model, its strategy and the flat vectors of a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gossiptrain.config import GossipSettings, StrategyName
from gossiptrain.core.averaging import Vector
from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training.model.binding import FlatModel
from gossiptrain.training.model.replica import Replica, kept_vectors
from gossiptrain.training.model.strategies import Average, DiLoCo, Effort, OuterSettings, StepMix, Strategy
from gossiptrain.training.model.strategy_choice import strategy_for

OUTER = OuterSettings(learning_rate=0.7, momentum=0.9)
NAMES: list[StrategyName] = ["average", "step-mix", "diloco", "noloco"]


def model_with_statistics(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.no_grad():
        for tensor in (*model.parameters(), model[1].running_mean, model[1].running_var):
            assert isinstance(tensor, torch.Tensor)
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return model


@dataclass
class Peer:
    model: nn.Module
    flat: FlatModel
    memory: Buffers
    replica: Replica

    def values(self) -> Vector:
        vector = np.empty(self.flat.elements, np.float32)
        self.flat.copy_to(vector)
        return vector

    def learn(self, change: Vector) -> None:
        self.flat.copy_from(self.values() + change)

    def state(self) -> Vector:
        vector = np.zeros(self.replica.kept_vectors * self.flat.elements, np.float32)
        self.replica.write_state(vector)
        return vector


def peer_with(strategy: Strategy, model: nn.Module | None = None) -> Peer:
    model = model or model_with_statistics()
    flat = FlatModel(model)
    memory = Buffers(*(np.zeros(flat.elements, np.float32) for _ in range(2)))
    return Peer(model, flat, memory, Replica(flat, strategy, memory))


def change(seed: int, *, elements: int = 32) -> Vector:
    return np.random.default_rng(seed).normal(size=elements, scale=0.1).astype(np.float32)


def strategies() -> list[Strategy]:
    return [strategy_for(GossipSettings(strategy=name)) for name in NAMES]


every_strategy = pytest.mark.parametrize(
    "make", [lambda name=name: strategy_for(GossipSettings(strategy=name)) for name in NAMES], ids=NAMES
)


def round_alone(peer: Peer, *, average: Vector | None = None, alpha: float = 1.0) -> None:
    peer.replica.contribute(Effort())
    assert peer.replica.snapshot_is_there
    peer.memory.average[:] = peer.memory.snapshot if average is None else average
    peer.replica.take(alpha=alpha)


def test_a_peer_that_stood_still_takes_exactly_the_average() -> None:
    peer = peer_with(Average())
    average = change(1)
    round_alone(peer, average=average)
    assert peer.values().tobytes() == average.tobytes()


@given(alpha=st.floats(0.1, 1.0), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_the_delta_rule_keeps_what_was_learnt_meanwhile(alpha: float, seed: int) -> None:
    peer = peer_with(Average())
    peer.replica.contribute(Effort())
    snapshot, learnt, average = peer.values(), change(seed), change(seed + 1)
    peer.learn(learnt)
    peer.memory.average[:] = average
    peer.replica.take(alpha=alpha)
    expected = snapshot + learnt + np.float32(alpha) * (average - snapshot)
    np.testing.assert_allclose(peer.values(), expected, rtol=1e-5, atol=1e-5)


@every_strategy
def test_running_statistics_are_averaged_and_nothing_else(make: Callable[[], Strategy]) -> None:
    """An outer step with momentum could take a variance below zero."""
    peer = peer_with(make())
    for number in range(5):
        peer.learn(change(number))
        before = peer.values()
        round_alone(peer)
        np.testing.assert_array_equal(peer.values()[24:], before[24:])


def test_step_mix_takes_its_outer_step_at_once() -> None:
    peer = peer_with(StepMix(OUTER))
    begin = peer.values()
    peer.learn(change(1))
    peer.replica.contribute(Effort())
    expected = begin + 0.7 * 1.9 * change(1)
    np.testing.assert_allclose(peer.values()[:24], expected[:24], rtol=1e-5)
    np.testing.assert_array_equal(peer.memory.snapshot, peer.values())


def test_the_slow_weights_follow_the_average() -> None:
    """What counts as learnt in the next round begins at the average, not at the own snapshot."""
    peer = peer_with(StepMix(OuterSettings(learning_rate=1.0, momentum=0.0)))
    average = change(7)
    round_alone(peer, average=average)
    peer.learn(change(2))
    peer.replica.contribute(Effort(weight=2.0))
    np.testing.assert_allclose(peer.memory.snapshot[:24], (average + 2 * change(2))[:24], rtol=1e-4, atol=1e-6)


@every_strategy
def test_a_joiner_goes_on_as_its_donor_does(make: Callable[[], Strategy]) -> None:
    donor, joiner = peer_with(make()), peer_with(make(), model_with_statistics(seed=5))
    for number in range(3):
        donor.learn(change(number))
        round_alone(donor)
    joiner.replica.read_state(donor.state())
    for peer in (donor, joiner):
        peer.learn(change(9))
        round_alone(peer)
    np.testing.assert_allclose(joiner.values(), donor.values(), rtol=1e-5, atol=1e-6)


@every_strategy
def test_a_restored_peer_goes_on_exactly(make: Callable[[], Strategy]) -> None:
    first = peer_with(make())
    for number in range(3):
        first.learn(change(number))
        round_alone(first)
    first.learn(change(8))
    again = peer_with(make(), model_with_statistics(seed=5))
    again.model.load_state_dict(first.model.state_dict())
    again.replica.restore(first.replica.state())
    for peer in (first, again):
        peer.learn(change(9))
        round_alone(peer)
    np.testing.assert_array_equal(again.values(), first.values())


def test_the_state_of_another_strategy_is_refused() -> None:
    with pytest.raises(CheckpointMismatchError, match="outer state"):
        peer_with(Average()).replica.restore(peer_with(DiLoCo(OUTER)).replica.state())


@pytest.mark.parametrize(("strategy", "vectors"), [(Average(), 1), (StepMix(OUTER), 2), (DiLoCo(OUTER), 2)])
def test_a_joiner_is_given_no_more_than_it_needs(strategy: Strategy, vectors: int) -> None:
    assert kept_vectors(strategy) == vectors


@every_strategy
def test_models_in_half_precision_take_part(make: Callable[[], Strategy]) -> None:
    peer = peer_with(make(), nn.Linear(3, 3).to(torch.bfloat16))
    average = change(3, elements=12)
    round_alone(peer, average=average)
    assert np.isfinite(peer.values()).all()
    assert peer.values() == pytest.approx(average, abs=2.0)
    assert all(parameter.dtype == torch.bfloat16 for parameter in peer.model.parameters())
