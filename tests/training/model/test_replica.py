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
from gossiptrain.core.fragments import Fragments
from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.host_copies import HostCopies
from gossiptrain.training.model.local_work import LocalWork
from gossiptrain.training.model.outer_step import OuterSettings
from gossiptrain.training.model.replica import Replica, kept_vectors
from gossiptrain.training.model.strategies import Average, DiLoCo, NoLoCo, StepMix, Strategy
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
    binding: ModelBinding
    memory: Buffers
    replica: Replica

    def values(self) -> Vector:
        vector = np.empty(self.binding.elements, np.float32)
        self.binding.copy_to(vector)
        return vector

    def learn(self, change: Vector) -> None:
        self.binding.copy_from(self.values() + change)

    def state(self) -> Vector:
        """Of a model in one piece."""
        (state,) = self.state_by_fragments()
        return state

    def state_by_fragments(self) -> list[Vector]:
        found = []
        for number, length in enumerate(self.replica.fragments.lengths):
            vector = np.zeros(self.replica.kept_vectors * length, np.float32)
            self.replica.write_state(vector, fragment=number)
            found.append(vector)
        return found


def peer_with(
    strategy: Strategy,
    model: nn.Module | None = None,
    *,
    fragments: int = 1,
    copies: HostCopies | None = None,
) -> Peer:
    model = model or model_with_statistics()
    binding = ModelBinding(model)
    cut = Fragments.of([len(bound.place) for bound in binding.tensors], fragments)
    memory = Buffers(np.zeros(cut.longest, np.float32), np.zeros(cut.longest, np.float32))
    return Peer(model, binding, memory, Replica(binding, strategy, memory, fragments=cut, copies=copies))


def change(seed: int, *, elements: int = 32) -> Vector:
    return np.random.default_rng(seed).normal(size=elements, scale=0.1).astype(np.float32)


def strategies() -> list[Strategy]:
    return [strategy_for(GossipSettings(strategy=name)) for name in NAMES]


every_strategy = pytest.mark.parametrize(
    "make", [lambda name=name: strategy_for(GossipSettings(strategy=name)) for name in NAMES], ids=NAMES
)


def round_alone(peer: Peer, *, average: Vector | None = None, alpha: float = 1.0) -> None:
    peer.replica.contribute(LocalWork())
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
    peer.replica.contribute(LocalWork())
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
    peer.replica.contribute(LocalWork())
    expected = begin + 0.7 * 1.9 * change(1)
    np.testing.assert_allclose(peer.values()[:24], expected[:24], rtol=1e-5)
    np.testing.assert_array_equal(peer.memory.snapshot, peer.values())


def test_the_slow_weights_follow_the_average() -> None:
    """What counts as learnt in the next round begins at the average, not at the own snapshot."""
    peer = peer_with(StepMix(OuterSettings(learning_rate=1.0, momentum=0.0)))
    average = change(7)
    round_alone(peer, average=average)
    peer.learn(change(2))
    peer.replica.contribute(LocalWork(weight=2.0))
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


# Models in other precisions than float32.


def exact_values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@every_strategy
def test_a_round_that_fails_leaves_every_digit_of_float64(make: Callable[[], Strategy]) -> None:
    model = nn.Linear(3, 3).double()
    peer = peer_with(make(), model)
    torch.nn.init.constant_(model.weight, 0.1)
    peer.replica.begin()
    before = exact_values(model)
    peer.replica.contribute(LocalWork())
    assert_unchanged(model, before)


@pytest.mark.parametrize("make", [lambda: Average(), lambda: DiLoCo(OUTER)], ids=["average", "diloco"])
def test_a_snapshot_leaves_every_digit_of_what_float64_has_learnt(make: Callable[[], Strategy]) -> None:
    model = nn.Linear(3, 3).double()
    peer = peer_with(make(), model)
    torch.nn.init.constant_(model.weight, 0.1)
    before = exact_values(model)
    peer.replica.contribute(LocalWork())
    assert_unchanged(model, before)


def test_a_float64_model_that_takes_an_average_holds_exactly_that() -> None:
    peer = peer_with(Average(), nn.Linear(3, 3).double())
    average = change(3, elements=12)
    round_alone(peer, average=average)
    values = torch.cat([parameter.detach().flatten() for parameter in peer.model.parameters()])
    assert values.tolist() == average.tolist()


@pytest.mark.parametrize("make", [lambda: StepMix(OUTER), lambda: DiLoCo(OUTER), lambda: NoLoCo(OUTER)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_to_half_precision_does_not_count_as_learning(
    make: Callable[[], Strategy], dtype: torch.dtype
) -> None:
    """All peers hold one value that half precision does not have; nobody learns, so it stays where it is."""
    peer = peer_with(make(), nn.Linear(3, 3).to(dtype))
    value, no_momentum = np.full(12, 1.0015, np.float32), np.zeros(12, np.float32)
    peer.replica.read_state(np.concatenate([value, no_momentum]))
    parameters = exact_values(peer.model)
    for _ in range(10):
        round_alone(peer)
        assert peer.memory.snapshot.tolist() == value.tolist()
    assert_unchanged(peer.model, parameters)


def test_steps_that_are_too_small_for_half_precision_add_up() -> None:
    """The next number after 1 is 1.0078 in bfloat16. A group that moves by 0.001 in each round gets there."""
    peer = peer_with(StepMix(OuterSettings(learning_rate=1.0, momentum=0.0)), nn.Linear(3, 3).to(torch.bfloat16))
    peer.binding.copy_from(np.ones(12, np.float32))
    peer.replica.begin()
    for _ in range(8):
        peer.replica.contribute(LocalWork())
        peer.memory.average[:] = peer.memory.snapshot + np.float32(0.001)
        peer.replica.take(alpha=1.0)
    assert set(peer.values().tolist()) == {1.0078125}


@every_strategy
def test_a_restored_peer_in_half_precision_goes_on_exactly(make: Callable[[], Strategy]) -> None:
    first, again = (peer_with(make(), nn.Linear(3, 3).to(torch.bfloat16)) for _ in range(2))
    for number in range(3):
        round_alone(first, average=1 + change(number, elements=12))
    again.model.load_state_dict(first.model.state_dict())
    again.replica.restore(first.replica.state())
    for peer in (first, again):
        round_alone(peer)
    np.testing.assert_array_equal(again.memory.snapshot, first.memory.snapshot)
    np.testing.assert_array_equal(again.values(), first.values())


# The model moves on between two uses.


@every_strategy
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_that_changes_its_precision_during_a_round_gets_the_average(
    make: Callable[[], Strategy], dtype: torch.dtype
) -> None:
    usual, changed = peer_with(make(), nn.Linear(3, 3)), peer_with(make(), nn.Linear(3, 3))
    changed.model.load_state_dict(usual.model.state_dict())
    average = change(3, elements=12)
    for peer in (usual, changed):
        peer.replica.begin()
        peer.replica.contribute(LocalWork())
        if peer is changed:
            peer.model.to(dtype)
        peer.memory.average[:] = average
        peer.replica.take(alpha=1.0)
    found = torch.cat([parameter.detach().flatten() for parameter in changed.model.parameters()])
    assert found.dtype == dtype
    np.testing.assert_allclose(found.float().numpy(), usual.values(), rtol=0.01, atol=0.01)


def test_an_rnn_whose_weights_are_put_into_one_memory_during_a_round_gets_the_average() -> None:
    model = nn.LSTM(2, 3)
    peer = peer_with(Average(), model)
    peer.replica.contribute(LocalWork())
    memory = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    for bound in peer.binding.tensors:
        model.get_parameter(bound.spec.name).data = bound.view(memory)
    average = change(3, elements=peer.binding.elements)
    peer.memory.average[:] = average
    peer.replica.take(alpha=1.0)
    np.testing.assert_allclose(memory.numpy(), average, rtol=1e-5, atol=1e-6)


@every_strategy
def test_parameters_that_share_memory_without_being_one_object_take_the_average_once(
    make: Callable[[], Strategy],
) -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model.get_parameter("1.weight").data = model.get_parameter("0.weight").data
    peer = peer_with(make(), model)
    plain = peer_with(make(), nn.Linear(2, 2, bias=False))
    for each in (peer, plain):
        each.binding.copy_from(np.ones(4, np.float32))
        each.replica.begin()
        round_alone(each, average=np.full(4, 2.0, np.float32))
    np.testing.assert_array_equal(model.get_parameter("1.weight").detach().flatten(), plain.values())


class Moving(HostCopies):
    """As if the model moved between the CPU and a device that cannot write into the shared memory."""

    away = False

    def lies_in_memory(self, device: torch.device) -> bool:
        return not self.away


@every_strategy
@pytest.mark.parametrize("away", [[True] * 6, [False, True, True, False, False, True], [True, False] * 3])
def test_what_is_held_follows_the_model_to_another_device(make: Callable[[], Strategy], away: list[bool]) -> None:
    memory = torch.zeros(32)
    copies = Moving((memory,))
    usual, moving = peer_with(make()), peer_with(make(), copies=copies)
    for number, is_away in enumerate(away):
        for peer in (usual, moving):
            peer.learn(change(number))
            peer.replica.contribute(LocalWork())
        np.testing.assert_array_equal(moving.memory.snapshot, usual.memory.snapshot)
        copies.away = is_away
        for peer in (usual, moving):
            peer.memory.average[:] = change(number + 100)
            peer.replica.take(alpha=0.5)
        np.testing.assert_array_equal(moving.values(), usual.values())
        np.testing.assert_array_equal(moving.state(), usual.state())


def test_a_model_is_given_its_own_state_also_while_it_is_evaluated() -> None:
    """Newcomers are served between the batches of an evaluation, and what is held may have to follow then."""
    peer = peer_with(StepMix(OUTER), nn.Linear(3, 3))
    peer.model.to(torch.bfloat16)
    with torch.inference_mode():
        peer.state()
    round_alone(peer, average=change(1, elements=12))
    assert np.isfinite(peer.values()).all()


# In fragments.


def round_by_fragments(peer: Peer, average: Vector, *, alpha: float = 1.0) -> Vector:
    """One round with each fragment; returns what was shared in them."""
    fragments = peer.replica.fragments
    shared = np.zeros(peer.binding.elements, np.float32)
    for number in range(fragments.count):
        place = fragments.place(number)
        peer.replica.contribute(LocalWork(), fragment=number)
        shared[place.start : place.stop] = peer.memory.snapshot[: len(place)]
        peer.memory.average[: len(place)] = average[place.start : place.stop]
        peer.replica.take(alpha=alpha, fragment=number)
    return shared


@every_strategy
@pytest.mark.parametrize("count", [2, 6])
def test_rounds_with_each_fragment_come_to_a_round_with_the_whole_model(
    make: Callable[[], Strategy], count: int
) -> None:
    whole, cut = peer_with(make()), peer_with(make(), fragments=count)
    assert cut.replica.fragments.count > 1
    for number in range(3):
        for peer in (whole, cut):
            peer.learn(change(number))
        average = change(number + 100)
        whole.replica.contribute(LocalWork())
        whole.memory.average[:] = average
        snapshot = whole.memory.snapshot.copy()
        whole.replica.take(alpha=0.5)
        np.testing.assert_array_equal(round_by_fragments(cut, average, alpha=0.5), snapshot)
        np.testing.assert_array_equal(cut.values(), whole.values())
    kept = cut.replica.kept_vectors
    rows = np.concatenate([state.reshape(kept, -1) for state in cut.state_by_fragments()], axis=1)
    np.testing.assert_array_equal(rows, whole.state().reshape(kept, -1))


@every_strategy
def test_a_round_touches_its_own_fragment_and_no_other(make: Callable[[], Strategy]) -> None:
    peer = peer_with(make(), fragments=3)
    round_by_fragments(peer, change(1))
    peer.learn(change(2))
    before, place = peer.values(), peer.replica.fragments.place(1)
    peer.replica.contribute(LocalWork(), fragment=1)
    peer.memory.average[:] = 7.0
    peer.replica.take(alpha=1.0, fragment=1)
    changed = np.flatnonzero(peer.values() != before)
    assert {int(changed.min()), int(changed.max())} <= set(range(place.start, place.stop))


@every_strategy
def test_what_a_peer_in_fragments_keeps_goes_to_joiners_and_checkpoints(make: Callable[[], Strategy]) -> None:
    peer, joiner, resumed = (peer_with(make(), model_with_statistics(seed), fragments=3) for seed in range(3))
    peer.learn(change(1))
    round_by_fragments(peer, change(2))
    for number, state in enumerate(peer.state_by_fragments()):
        joiner.replica.read_state(state, fragment=number)
    resumed.binding.copy_from(peer.values())
    resumed.replica.restore(peer.replica.state())
    for each in (peer, joiner, resumed):
        each.binding.copy_from(peer.values())
        each.learn(change(3))
        round_by_fragments(each, change(4))
    assert joiner.values().tobytes() == peer.values().tobytes()
    assert resumed.values().tobytes() == peer.values().tobytes()


def test_the_memory_is_as_long_as_the_longest_fragment() -> None:
    peer = peer_with(Average(), fragments=3)
    assert len(peer.memory.snapshot) < peer.binding.elements
