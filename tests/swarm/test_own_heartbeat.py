"""What a peer says of itself: newer each time, signed, and at the round of the others."""

from __future__ import annotations

from gossiptrain.net.framing import decode_message
from gossiptrain.swarm.messages import Heartbeat
from gossiptrain.swarm.own_heartbeat import OwnHeartbeat, OwnState
from tests.swarm.swarms import Swarm, swarm_of
from tests.transports import MakeTransport, run_on


def own_of(swarm: Swarm, name: str) -> OwnHeartbeat:
    return swarm.peers[name].swarm.membership._own


def said_by(own: OwnHeartbeat) -> Heartbeat:
    return decode_message(own.record.body.encode(), Heartbeat)


def test_each_heartbeat_is_newer_than_the_one_before_and_signed() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            own, transport = own_of(swarm, "a"), swarm.peers["a"].swarm.transport
            before = said_by(own)
            own.describe(OwnState(step=7))
            after = said_by(own)
            assert after.newer_than(before)
            assert after.step == 7
            assert transport.verify(own.peer, own.record.body.encode(), bytes.fromhex(own.record.signature))

    run_on("virtual", scenario)


def test_it_goes_along_with_the_others_and_never_back() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = own_of(swarm, "a"), own_of(swarm, "b")
            a.reach_round(5)
            a.reach_round(3)
            assert a.round == 5
            await swarm.peers["a"].swarm.membership.announce()
            b.beat()
            assert said_by(b).round == 5

    run_on("virtual", scenario)


def test_who_leaves_says_so_in_its_last_heartbeats() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            own = own_of(swarm, "a")
            own.leave()
            own.beat()
            assert said_by(own).leaving

    run_on("virtual", scenario)
