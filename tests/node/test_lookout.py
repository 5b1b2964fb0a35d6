"""What a peer that watches sees, once a second."""

from __future__ import annotations

import asyncio

from gossiptrain.events import PeerSeen
from gossiptrain.node.lookout import Lookout
from gossiptrain.swarm.own_heartbeat import OwnState
from tests.swarm.swarms import swarm_of
from tests.swarm.test_status import a_round
from tests.transports import MakeTransport, run_on


def test_it_tells_who_lives_where_each_stands_and_what_each_shows_once() -> None:
    async def scenario(make: MakeTransport) -> tuple[str, str, list[tuple[PeerSeen, ...]]]:
        async with swarm_of(make, 3) as swarm:
            a, b, c = (swarm.peers[name].swarm for name in "abc")
            a.status.note_loss(5, 2.5)
            b.status.note_round(7, a_round())
            b.membership.describe(OwnState(step=40, ends_in_s=0.0))
            c.membership.describe(OwnState(joined=False))
            told: list[tuple[PeerSeen, ...]] = []
            watching = asyncio.create_task(Lookout(a, told.append).run())
            await a.transport.clock.sleep(10.5)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            return a.transport.peer_id, b.transport.peer_id, told

    a, b, told = run_on("virtual", scenario)
    assert len(told) == 10
    last = {seen.peer_id: seen for seen in told[-1]}
    assert last[a].shown[0].loss == 2.5
    assert (last[b].state, last[b].step) == ("ending", 40)
    assert sorted(seen.state for seen in told[-1]) == ["ending", "joining", "training"]
    shown = [each for seen in told for peer in seen if peer.peer_id == b for each in peer.shown]
    assert shown[0].disagreements == ((7, 0.25),)
    assert [len(each.met) for each in shown] == [1, *[0] * (len(shown) - 1)]


def test_who_only_watches_is_none_of_those_that_are_seen() -> None:
    async def scenario(make: MakeTransport) -> tuple[PeerSeen, ...]:
        async with swarm_of(make, 2) as swarm:
            return Lookout(swarm.peers["a"].swarm, lambda seen: None, trains=False).seen()

    assert len(run_on("virtual", scenario)) == 1
