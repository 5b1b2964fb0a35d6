"""Who was invited to watch a private swarm sees it, and is refused all else, whatever it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.errors import UsageError
from gossiptrain.net.framing import encode_message, receive_message, write_frame
from gossiptrain.net.identity import Identity
from gossiptrain.swarm.dissemination import HEARTBEATS
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.recipe import ask_recipe
from gossiptrain.swarm.status import STATUS, STATUS_LIMIT_BYTES
from gossiptrain.swarm.status_messages import MemberStatus, StatusRequest
from tests.swarm.founders import Founder, changed
from tests.swarm.swarms import TIMING, Swarm, fingerprint
from tests.swarm.test_private_swarms import OPENINGS
from tests.transports import MakeTransport, run_on

MEMBERS_ONLY = sorted(OPENINGS.keys() - {HEARTBEATS, STATUS})


@asynccontextmanager
async def watched(make: MakeTransport, *, role: str = "watcher") -> AsyncIterator[tuple[Swarm, SwarmPeer]]:
    """Two that train, and a third with such a link, which says of itself that it trains as well."""
    founder = Founder()
    swarm = Swarm(
        make,
        GossipSettings(matchmaking_time=2.0),
        timing=TIMING,
        run=fingerprint(),
        access_of=lambda name, me: founder.own(me),
    )
    for name in ("a", "b"):
        await swarm.add(name)
    await swarm.know_each_other()
    transport = await make("third")
    third = SwarmPeer(
        Environment(transport, random.Random(3), 1, founder.invited(transport.peer_id, founder.link(role=role))),
        fingerprint(),
        settings=GossipSettings(),
        timing=TIMING,
        donate=lambda held, fragment: pytest.fail("nobody asks it for parameters"),
    )
    third.membership.describe(OwnState(joined=True, ready_in_s=0.0))
    await third.open()
    await third.join(swarm.peers["a"].swarm.transport.addresses[:1])
    running = asyncio.create_task(third.run())
    try:
        yield swarm, third
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for peer in swarm.peers.values():
            await peer.stop()


def test_it_hears_who_is_there_and_how_each_fares() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with watched(make) as (swarm, third):
            a = swarm.peers["a"]
            a.swarm.status.note_loss(5, 2.0)
            stream = await third.admission.stream(a.id, STATUS)
            await write_frame(stream, encode_message(StatusRequest()), limit_bytes=STATUS_LIMIT_BYTES)
            assert (await receive_message(stream, MemberStatus, limit_bytes=STATUS_LIMIT_BYTES)).loss == 2.0
            while len(third.membership.live()) < 2:
                await third.transport.clock.sleep(0.1)

    run_on("virtual", scenario)


@pytest.mark.parametrize("protocol", MEMBERS_ONLY)
def test_all_else_is_refused_unread(protocol: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with watched(make) as (swarm, third):
            stream = await third.admission.stream(swarm.peers["a"].id, protocol)
            with contextlib.suppress(ConnectionError):
                await write_frame(stream, OPENINGS[protocol], limit_bytes=1 << 20)
            with pytest.raises(ConnectionError):
                await stream.read_exactly(1)

    run_on("virtual", scenario)


@pytest.mark.parametrize(("role", "members"), [("watcher", 2), ("trainer", 3)])
def test_one_that_says_it_trains_is_in_no_round(role: str, members: int) -> None:
    async def scenario(make: MakeTransport) -> int:
        async with watched(make, role=role) as (swarm, third):
            clock = third.transport.clock
            # For long enough that it would have been heard of by all.
            until_s = clock.now() + 5 * TIMING.heartbeat_s
            while clock.now() < until_s:
                await clock.sleep(0.05)
            trainers = swarm.peers["a"].swarm.membership.trainers()
            assert (third.transport.peer_id in trainers) == (role == "trainer")
            if role == "watcher":
                averaged = await swarm.average()
                assert all(each is not None and len(each.result.members) == 2 for each in averaged.values())
                with pytest.raises(ConnectionError):
                    await ask_recipe(third.admission, swarm.peers["a"].id)
            return len(trainers)

    assert run_on("virtual", scenario) == members


def test_a_link_to_watch_cannot_be_made_one_to_train() -> None:
    founder = Founder()
    link = founder.link(role="watcher")
    forged = dataclasses.replace(link, invite=dataclasses.replace(link.invite, role="trainer"))
    with pytest.raises(UsageError, match="signature is wrong"):
        type(link).parse(forged.encode())
    peer = Identity.generate().peer_id
    assert not changed(link.credential(peer), role="trainer").is_of(peer, founder.swarm)
