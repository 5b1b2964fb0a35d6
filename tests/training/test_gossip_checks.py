"""What is checked and settled when a membership is made, before any process is started."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gossiptrain.config import GossipSettings, StrategyName
from gossiptrain.errors import AddressError, UsageError
from gossiptrain.training.gossip import gossip
from gossiptrain.training.membership import Gossip

PEER = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"


def swarm_for(
    model: nn.Module, *, run: str = "run", strategy: StrategyName = "step-mix", initial_peers: tuple[str, ...] = ()
) -> Gossip:
    settings = GossipSettings(strategy=strategy, every_steps=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return gossip(model, optimizer, run=run, settings=settings, initial_peers=initial_peers)


def test_the_fingerprint_tells_models_runs_and_rules_apart() -> None:
    usual = swarm_for(nn.Linear(3, 2)).fingerprint
    assert swarm_for(nn.Linear(3, 2)).fingerprint == usual
    others = (
        swarm_for(nn.Linear(2, 3)),
        swarm_for(nn.Linear(3, 2), run="other"),
        swarm_for(nn.Linear(3, 2), strategy="average"),
    )
    assert all(other.fingerprint != usual for other in others)


def test_only_who_has_somebody_to_ask_takes_over_parameters() -> None:
    assert not swarm_for(nn.Linear(3, 2))._session.launch.take_state
    assert swarm_for(nn.Linear(3, 2), initial_peers=(PEER,))._session.launch.take_state


def test_names_that_are_too_long_and_malformed_addresses_are_refused() -> None:
    with pytest.raises(UsageError, match="1 to 200 characters"):
        swarm_for(nn.Linear(3, 2), run="x" * 201)
    with pytest.raises(AddressError):
        swarm_for(nn.Linear(3, 2), initial_peers=("nowhere",))


def test_an_optimizer_of_another_model_is_refused() -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    own, foreign = (torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other))
    for optimizers in (foreign, [own, foreign], [foreign, own]):
        with pytest.raises(UsageError, match="SGD trains no parameter of this model"):
            gossip(model, optimizers)


@pytest.mark.parametrize("optimizers", [[], None, [nn.Linear(1, 1)]])
def test_what_is_no_optimizer_is_refused(optimizers: Any) -> None:
    with pytest.raises(UsageError, match="was given no optimizer"):
        gossip(nn.Linear(3, 2), optimizers)


def test_an_argument_that_belongs_elsewhere_is_said_where_to_give_it() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    make: Any = gossip
    with pytest.raises(UsageError) as caught:
        make(model, optimizer, run="run", gossip_group_size=8)
    assert caught.value.remedy == "It is one of the settings: settings=GossipSettings(gossip_group_size=8)."
    with pytest.raises(UsageError) as caught:
        make(model, optimizer, run="run", host_maddrs=("/ip4/0.0.0.0/tcp/0",))
    assert "network=NetworkSettings(host_maddrs=(" in caught.value.remedy
    with pytest.raises(UsageError, match="no argument 'every_step'") as caught:
        make(model, optimizer, run="run", every_step=8)
    assert caught.value.remedy == "Did you mean 'every_steps'?"


def test_what_is_no_model_is_refused() -> None:
    model = nn.Linear(3, 2)
    make: Any = gossip
    with pytest.raises(UsageError, match="was given generator in the place of the model"):
        make(model.parameters(), torch.optim.SGD(model.parameters(), lr=0.1), run="run")


def test_a_membership_says_what_it_is() -> None:
    assert repr(swarm_for(nn.Linear(3, 2))) == "<Gossip of the run 'run', outside of its `with` block>"
