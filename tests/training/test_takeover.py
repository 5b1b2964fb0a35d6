"""What a joiner takes of another trainer's parameters and second moments, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from gossiptrain import events
from gossiptrain.config import GossipSettings
from gossiptrain.core.fragments import Fragments
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.node.memory import SharedVectors
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.training.bus import EventBus
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.moments import SecondMoments
from gossiptrain.training.model.replica import Replica
from gossiptrain.training.model.strategy_choice import strategy_for
from gossiptrain.training.rounds import LocalProgress, Rounds
from gossiptrain.training.takeover import Takeover

DONOR = PeerId("donor")


class Side:
    """A trainer with a small network and Adam, as far as somebody joins it or it joins others."""

    def __init__(self, memory: SharedVectors, *, seed: int, steps: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        optimizer = Adam(self.model.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            self.model(torch.randn(8, 3)).square().sum().backward()
            optimizer.step()
        self.optimizer = optimizer
        binding = ModelBinding(self.model, [optimizer])
        fragments = Fragments.of([len(bound.place) for bound in binding.tensors], 2)
        settings = GossipSettings()
        strategy = strategy_for(settings)
        buffers = Buffers(np.zeros(binding.elements, np.float32), np.zeros(binding.elements, np.float32))
        replica = Replica(binding, strategy, buffers, fragments=fragments)
        self.progress = LocalProgress(step=steps)
        rounds = Rounds(settings, strategy, replica=replica, progress=self.progress)
        moments = SecondMoments(binding, [optimizer], fragments)
        self.fragments = fragments
        self.takeover = Takeover(rounds, moments, self.progress, memory=memory)
        self.told: list[events.Event] = []
        self.bus = EventBus()
        self.bus.subscribe(self.told.append)

    def parameters(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]

    def second_moments(self) -> list[torch.Tensor]:
        return [state["exp_avg_sq"] for state in self.optimizer.state.values()]

    def finish(self, *, step: int, has_moments: bool | None) -> None:
        received = ReceivedState(donor=DONOR, step=step, seconds=0.1, size_bytes=1)
        self.takeover.finish(control.Joined(received=received, has_moments=has_moments, peers=2, trainers=1), self.bus)


@pytest.fixture
def memory() -> Iterator[SharedVectors]:
    with closing(SharedVectors.create(64, state=64)) as shared:
        yield shared


def pass_on(donor: Side, joiner: Side, *, moments: bool) -> list[control.StateTaken]:
    """Everything of one kind, fragment by fragment through the same memory, as nodes do between two computers."""
    given = []
    for fragment in range(donor.fragments.count):
        taken = donor.takeover.give(control.StateWanted(fragment=fragment, moments=moments))
        given.append(taken)
        if taken.found:
            joiner.takeover.take(control.StateArrived(fragment=fragment, step=taken.step, moments=moments))
    return given


def test_a_joiner_goes_on_from_the_donors_parameters_moments_and_step(memory: SharedVectors) -> None:
    donor, joiner = Side(memory, seed=1, steps=30), Side(memory, seed=2)
    assert [taken.step for taken in pass_on(donor, joiner, moments=False)] == [30, 30]
    assert all(taken.found for taken in pass_on(donor, joiner, moments=True))
    joiner.finish(step=30, has_moments=True)
    assert all(map(torch.equal, joiner.parameters(), donor.parameters()))
    assert all(map(torch.allclose, joiner.second_moments(), donor.second_moments()))
    assert joiner.progress.step == 30
    assert [type(event) for event in joiner.told] == [events.Joined]


def test_a_peer_that_is_ahead_of_the_swarm_keeps_what_it_has(memory: SharedVectors) -> None:
    donor, resumed = Side(memory, seed=1, steps=5), Side(memory, seed=2, steps=9)
    before, moments = resumed.parameters(), [each.clone() for each in resumed.second_moments()]
    pass_on(donor, resumed, moments=False)
    pass_on(donor, resumed, moments=True)
    resumed.finish(step=5, has_moments=True)
    assert all(map(torch.equal, resumed.parameters(), before))
    assert all(map(torch.equal, resumed.second_moments(), moments))
    assert resumed.progress.step == 9
    assert not resumed.told


def test_where_a_donor_has_no_moments_the_joiner_says_that_its_own_begin_at_zero(memory: SharedVectors) -> None:
    donor, joiner = Side(memory, seed=1), Side(memory, seed=2)
    pass_on(donor, joiner, moments=False)
    assert not any(taken.found for taken in pass_on(donor, joiner, moments=True))
    joiner.finish(step=0, has_moments=False)
    assert all(map(torch.equal, joiner.parameters(), donor.parameters()))
    assert [type(event) for event in joiner.told] == [events.Joined, events.Notice]


def test_the_memory_is_given_back_when_all_has_arrived() -> None:
    with closing(SharedVectors.create(64, state=1 << 16)) as large:
        donor, joiner = Side(large, seed=1, steps=3), Side(large, seed=2)
        pass_on(donor, joiner, moments=False)
        assert large.state.any()
        joiner.finish(step=3, has_moments=None)
        assert not large.state[1 << 10 :].any()


def test_a_peer_that_was_given_nothing_goes_on_with_its_own(memory: SharedVectors) -> None:
    alone = Side(memory, seed=1, steps=4)
    before = alone.parameters()
    alone.takeover.finish(control.Joined(received=None, peers=1, trainers=1), alone.bus)
    assert all(map(torch.equal, alone.parameters(), before))
    assert alone.progress.step == 4
    assert not alone.told
