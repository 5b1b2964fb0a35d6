"""Models that travel in fragments, between real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from gossiptrain import events
from gossiptrain.config import GossipSettings, checked
from gossiptrain.errors import RunMismatchError, UsageError
from gossiptrain.training.gossip import gossip
from tests.members import LOCAL, Member, standing_still, wait_for_rounds


class Layers(nn.Module):
    """Three layers of different lengths, all of one value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.layers = nn.ParameterList(nn.Parameter(torch.full((length,), value)) for length in (500, 400, 300))


class MemberInFragments(Member):
    """Adds one to each parameter with every step."""

    def __init__(self, value: float, **options: Any) -> None:
        super().__init__(value, model=Layers(value), **options)
        self.optimizer.register_step_pre_hook(self._learn)

    def _learn(self, *_: object) -> None:
        with torch.no_grad():
            for layer in self.model.layers:
                layer.add_(1.0)


def fragmented(count: int = 3, **settings: Any) -> GossipSettings:
    return GossipSettings.model_validate({"fragments": count, "every_steps": 30, **settings})


@contextmanager
def swarm_of(count: int, settings: GossipSettings, **options: Any) -> Iterator[list[MemberInFragments]]:
    with ExitStack() as stack:
        found: list[MemberInFragments] = []
        for _ in range(count):
            initial = [found[0].address] if found else []
            member = MemberInFragments(0.0, settings=settings, initial_peers=initial, **options)
            found.append(stack.enter_context(member))
        yield found
        for member in found:
            member.stop()


@pytest.mark.parametrize("strategy", ["average", "step-mix", "diloco", "noloco"])
def test_members_end_with_one_model_whatever_the_strategy(strategy: str) -> None:
    with swarm_of(2, fragmented(strategy=strategy), take_state=False, every_steps=30) as (one, other):
        wait_for_rounds([one, other], 4, where=lambda event: not event.final)
    assert one.rounds()[-1].final
    assert torch.equal(one.values, other.values)
    assert one.values[0] > 0


def test_a_round_takes_a_part_of_the_bytes_and_the_last_one_all_of_them() -> None:
    with swarm_of(2, fragmented(), take_state=False, every_steps=30) as members:
        wait_for_rounds(members, 4, where=lambda event: not event.final)
    rounds = members[0].rounds()
    parts = {event.bytes_sent for event in rounds if not event.final}
    headers = {sent - values for sent, values in zip(sorted(parts), (1200, 1600, 2000), strict=True)}
    assert len(headers) == 1
    assert rounds[-1].bytes_sent == pytest.approx(sum(parts), abs=50)


def test_a_joiner_takes_over_all_fragments() -> None:
    settings = fragmented(strategy="step-mix")
    with swarm_of(2, settings, take_state=False, every_steps=30) as members:
        wait_for_rounds(members, 3, where=lambda event: True)
        hasty = settings.model_copy(update={"ending_time": 0.5})
        with MemberInFragments(-1e6, settings=hasty, initial_peers=[members[0].address], every_steps=30) as joiner:
            (joined,) = [event for event in joiner.told if isinstance(event, events.Joined)]
            assert joined.bytes == 2 * 4 * 1200, "slow weights and momentum"
            assert (joiner.values > 0).all()
            assert set(joiner.swarm.state_dict()["outer"]) >= {"0.layers.0", "1.layers.2"}


def test_a_merge_in_the_middle_is_of_all_fragments() -> None:
    settings = fragmented(every_steps=10**9)
    model = Layers(7.0)
    with (
        Member(1.0, model=Layers(1.0), settings=settings, run="merging", every_steps=None) as other,
        gossip(
            model,
            standing_still(model),
            settings=settings,
            run="merging",
            network=LOCAL,
            initial_peers=[other.address],
            take_state=False,
        ) as swarm,
    ):
        assert swarm.wait_for_peers(2)
        for times in (1, 2):
            assert swarm.merge()
            assert swarm.rounds == 3 * times
        merged = torch.cat([layer.detach() for layer in model.layers])
        assert ((merged > 1.0) & (merged < 7.0)).all()


def test_how_many_fragments_there_are_is_agreed_upon() -> None:
    with Member(0.0, model=Layers(0.0), settings=fragmented()) as one:
        other = Member(0.0, model=Layers(0.0), settings=fragmented(2), initial_peers=[one.address])
        with pytest.raises(RunMismatchError, match="the setting fragments differs: 2 here, 3 there"):
            other.swarm.__enter__()


def test_small_models_travel_whole_and_no_tensor_is_cut() -> None:
    model = Layers(0.0)
    assert gossip(model, standing_still(model)).fingerprint.common.fragments == 1
    assert gossip(model, standing_still(model), settings=fragmented(200)).fingerprint.common.fragments == 3


def test_synchronous_training_knows_no_fragments() -> None:
    with pytest.raises(UsageError, match="the strategy sync averages all parameters in every round"):
        checked(GossipSettings, fragments=3, strategy="sync")
