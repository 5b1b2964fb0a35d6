"""A member whose guard trips: it goes on alone, says so, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gossiptrain import events
from gossiptrain.config import GossipSettings
from tests.members import Member, members
from tests.processes import wait_until

# Averaged plainly: an outer step would shorten what is far too long before it is shown to anybody.
SETTINGS = GossipSettings(every_steps=25, guard="result", strategy="average")


def learns(member: Member) -> None:
    """Each step moves all its parameters by a thousandth."""
    member.model.weight.grad = torch.ones_like(member.model.weight)
    member.optimizer.param_groups[0]["lr"] = 1e-3


@contextmanager
def two_that_learn() -> Iterator[tuple[Member, Member]]:
    with members([1.0, 1.0], SETTINGS) as (first, second):
        for member in (first, second):
            learns(member)
        wait_until(lambda: all(len(member.rounds()) >= 4 for member in (first, second)), "both have met")
        yield first, second


def refusals(member: Member) -> list[events.RoundRefused]:
    return [event for event in member.told if isinstance(event, events.RoundRefused)]


def test_a_member_that_brings_absurd_values_moves_nobody_and_is_met_again_when_it_is_well() -> None:
    with two_that_learn() as (honest, liar):
        liar.model.weight.data.fill_(1e6)
        wait_until(lambda: len(refusals(honest)) >= 2, "the average was refused again and again")
        assert honest.values.abs().max() < 100
        refused = refusals(honest)[0]
        assert not refused.partly
        assert refused.times > 1000
        steps = honest.swarm.step
        wait_until(lambda: honest.swarm.step > steps, "it goes on alone")
        met = len(honest.rounds())

        def is_well_and_meets() -> bool:
            # Again and again: what a round in flight has brought would be added to it.
            liar.model.weight.data.copy_(honest.model.weight.data)
            return len(honest.rounds()) > met + 1

        wait_until(is_well_and_meets, "both meet again")
        assert honest.values.abs().max() < 100
