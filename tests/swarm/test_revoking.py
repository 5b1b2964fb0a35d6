"""Whoever was thrown out is out everywhere soon, whomever they know."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.config import PRESETS, GossipSettings
from gossiptrain.errors import NotAdmittedError
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.access.tokens import digest_of
from gossiptrain.swarm.dissemination import HEARTBEATS
from tests.swarm.founders import Founder
from tests.swarm.swarms import TIMING, Swarm, TestPeer, fingerprint
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

PROMISED_S = 60.0


def knows(peer: TestPeer, out: PeerId) -> bool:
    return out in peer.swarm.membership.live() or peer.swarm.admission.has_admitted(out)


@pytest.mark.parametrize("by", ["peer", "invite"])
def test_of_sixteen_peers_none_knows_a_revoked_one_within_a_minute(by: str) -> None:
    founder = Founder()
    link = founder.link()

    def access_of(name: str, me: PeerId) -> PrivateAccess:
        if name == "a":
            return founder.own(me)
        return founder.invited(me, link if name in ("o", "p") else None)

    async def scenario(make: MakeTransport) -> float:
        swarm = Swarm(
            make, GossipSettings(matchmaking_time=2.0), timing=PRESETS["wan"], run=fingerprint(), access_of=access_of
        )
        try:
            for index in range(16):
                await swarm.add(chr(ord("a") + index))
            await swarm.know_each_other()
            outs = [swarm.peers["p"].id] if by == "peer" else [swarm.peers[name].id for name in ("o", "p")]
            rest = [peer for peer in swarm.peers.values() if peer.id not in outs]
            entry = digest_of(outs[0]) if by == "peer" else link.invite.key
            clock = rest[0].swarm.transport.clock
            began_s = clock.now()
            swarm.peers["a"].swarm.membership.learn_revocations(founder.revoking(entry).encode())
            while any(knows(peer, out) for peer in rest for out in outs):
                await clock.sleep(0.1)
                assert clock.now() - began_s < PROMISED_S
            took_s = clock.now() - began_s
            # They stay out, and the rest train on.
            await clock.sleep(PROMISED_S)
            assert not any(knows(peer, out) for peer in rest for out in outs)
            averaged = await swarm.average(*(peer.name for peer in rest))
            assert all(each is not None and each.result.committed for each in averaged.values())
            with pytest.raises(NotAdmittedError, match="does not take the invite any more"):
                await swarm.peers["p"].swarm.admission.handshake(rest[3].id)
            return took_s
        finally:
            await swarm.close()

    assert run_on("virtual", scenario) < PROMISED_S


@on_both_transports
def test_streams_of_somebody_who_is_thrown_out_are_cut(kind: Kind) -> None:
    founder = Founder()

    def access_of(name: str, me: PeerId) -> PrivateAccess:
        return founder.own(me) if name == "a" else founder.invited(me)

    async def scenario(make: MakeTransport) -> None:
        swarm = Swarm(make, GossipSettings(), timing=TIMING, run=fingerprint(), access_of=access_of)
        try:
            a, b = await swarm.add("a"), await swarm.add("b")
            await swarm.know_each_other()
            reading = asyncio.Event()

            async def give_slowly(stream: Stream) -> None:
                reading.set()
                await stream.read_exactly(1)

            await a.swarm.admission.serve("/test/slow", give_slowly)
            stream = await b.swarm.admission.stream(a.id, "/test/slow")
            await stream.write(b"")
            await reading.wait()
            a.swarm.membership.learn_revocations(founder.revoking(digest_of(b.id)).encode())
            with pytest.raises(StreamClosedError):
                await stream.read_exactly(1)
            again = await b.swarm.transport.open_stream(a.id, HEARTBEATS)
            with pytest.raises(StreamClosedError):
                await again.read_exactly(1)
        finally:
            await swarm.close()

    run_on(kind, scenario)
