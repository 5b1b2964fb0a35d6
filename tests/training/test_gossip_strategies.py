"""Strategies between real nodes: what a joiner takes over, what synchronous training waits for, who fits together."""

from __future__ import annotations

import pytest
import torch

from gossiptrain.config import GossipSettings
from gossiptrain.errors import RunMismatchError, UsageError
from tests.members import Member, members, wait_for_rounds

STEP_MIX = GossipSettings(strategy="step-mix", every_steps=25)


def learning(member: Member) -> Member:
    """Adds one to each parameter with every step."""

    def learn(optimizer: object, arguments: object, keywords: object) -> None:
        with torch.no_grad():
            member.model.weight.add_(1.0)

    member.optimizer.register_step_pre_hook(learn)
    return member


def outer_state(member: Member) -> dict[str, float]:
    return {name: tensor[0].item() for name, tensor in member.swarm.state_dict()["outer"].items()}


@pytest.mark.parametrize("strategy", ["gradual", "step-mix", "diloco", "noloco"])
def test_members_with_an_outer_step_end_with_one_model(strategy: str) -> None:
    settings = GossipSettings.model_validate({"strategy": strategy, "every_steps": 25})
    with members([0.0, 0.0], settings, take_state=False) as (one, other):
        learning(one)
        wait_for_rounds([one, other], 3, where=lambda event: not event.final)
    assert one.rounds()[-1].final
    assert torch.equal(one.values, other.values)
    assert one.values[0] > 0


def test_a_joiner_takes_over_the_momentum() -> None:
    with members([0.0, 0.0], STEP_MIX, take_state=False) as swarm:
        for member in swarm:
            learning(member)
        wait_for_rounds(swarm, 2, where=lambda event: True)
        hasty = STEP_MIX.model_copy(update={"ending_time": 0.5})
        with Member(-500.0, settings=hasty, initial_peers=[swarm[0].address]) as joiner:
            taken = outer_state(joiner)
        assert taken["1.weight"] > 0
        assert taken["0.weight"] > 0


def test_the_mean_over_its_rounds_is_for_a_member_to_look_at() -> None:
    with members([0.0, 0.0], STEP_MIX, take_state=False) as (one, other):
        smooth = one.swarm.smooth(rounds=1000)
        learning(one)
        wait_for_rounds([one, other], 3, where=lambda event: not event.final)
        behind = smooth.model().get_parameter("weight")
        assert smooth.noted == one.swarm.rounds
        assert 0 < behind.flatten()[0].item() < one.values[0].item(), "it has been rising"
        with pytest.raises(UsageError, match="at least one round"):
            one.swarm.smooth(rounds=0)


def test_synchronous_members_stand_at_one_point_after_every_step() -> None:
    with members([0.0, 0.0], GossipSettings(strategy="sync"), take_state=False, every_steps=1) as (one, other):
        learning(one)
        wait_for_rounds([one, other], 5, where=lambda event: not event.final)
    common = sorted(one.after_round.keys() & other.after_round.keys())
    assert len(common) >= 5
    for number in common:
        assert torch.equal(one.after_round[number], other.after_round[number])
    assert all(event.round is not None for event in one.rounds())


def test_another_strategy_is_another_run() -> None:
    with Member(0.0, settings=STEP_MIX) as one:
        other = Member(0.0, settings=GossipSettings(every_steps=25), initial_peers=[one.address])
        with pytest.raises(
            RunMismatchError, match=r"the strategy differs: 'gradual lr 0\.7 [^']*' here, 'step-mix lr 0\.7"
        ):
            other.swarm.__enter__()
