"""What a membership is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gossiptrain.config import GossipSettings, NetworkSettings, StrategyName
from gossiptrain.errors import AddressError, UsageError
from gossiptrain.training.plan import Names, Plan, planned

PEER = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"


def plan_for(
    model: nn.Module, *, run: str = "run", strategy: StrategyName = "step-mix", initial_peers: tuple[str, ...] = ()
) -> Plan:
    settings = GossipSettings(strategy=strategy, every_steps=10)
    network = NetworkSettings(initial_peers=initial_peers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return planned(model, optimizer, Names(run, "task"), settings=settings, network=network, take_state=True)


def test_the_fingerprint_tells_models_runs_and_rules_apart() -> None:
    usual = plan_for(nn.Linear(3, 2)).launch.fingerprint
    assert plan_for(nn.Linear(3, 2)).launch.fingerprint == usual
    others = (
        plan_for(nn.Linear(2, 3)),
        plan_for(nn.Linear(3, 2), run="other"),
        plan_for(nn.Linear(3, 2), strategy="average"),
    )
    assert all(other.launch.fingerprint != usual for other in others)


def test_only_who_has_somebody_to_ask_takes_over_parameters() -> None:
    assert not plan_for(nn.Linear(3, 2)).launch.take_state
    assert plan_for(nn.Linear(3, 2), initial_peers=(PEER,)).launch.take_state


def test_names_that_are_too_long_and_malformed_addresses_are_refused() -> None:
    with pytest.raises(UsageError, match="1 to 200 characters"):
        plan_for(nn.Linear(3, 2), run="x" * 201)
    with pytest.raises(AddressError):
        plan_for(nn.Linear(3, 2), initial_peers=("nowhere",))


def test_an_optimizer_of_another_model_is_refused() -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    own, foreign = (torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other))
    for optimizers in (foreign, [own, foreign], [foreign, own]):
        with pytest.raises(UsageError, match="SGD trains no parameter of this model"):
            planned(
                model,
                optimizers,
                Names("run", "task"),
                settings=GossipSettings(),
                network=NetworkSettings(),
                take_state=True,
            )


@pytest.mark.parametrize("optimizers", [[], [nn.Linear(1, 1)]])
def test_what_is_no_optimizer_is_refused(optimizers: Any) -> None:
    with pytest.raises(UsageError, match="was given no optimizer"):
        planned(
            nn.Linear(3, 2),
            optimizers,
            Names("run", "task"),
            settings=GossipSettings(),
            network=NetworkSettings(),
            take_state=True,
        )
