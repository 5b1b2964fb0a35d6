"""The steps after the last step of training, as one object sees them."""

from __future__ import annotations

import pytest

from gossiptrain.swarm.ending import Grace
from gossiptrain.swarm.membership import Membership
from tests.swarm.swarms import swarm_of
from tests.transports import MakeTransport, run_on


def test_who_has_said_that_it_has_ended_does_not_say_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float | None] = []
    announce_widely = Membership.announce_widely

    async def count(self: Membership) -> None:
        told.append(self.own.ends_in_s)
        await announce_widely(self)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers.values()
            monkeypatch.setattr(Membership, "announce_widely", count)
            await a.swarm.participation.say_ended()
            assert a.id in b.swarm.membership.ended()
            await a.swarm.participation.say_ended()
            assert told == [0.0]
            # Once more only to say that it wants a round with everyone.
            await a.end(Grace(longest_s=0.0, unknown_s=0.0, least_s=0.0))
            assert told == [0.0, 0.0]

    run_on("virtual", scenario)
