"""What a relay tells of the two ends of a stream that it carries, who believes it, and what follows."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from gossiptrain.net.direct.connections import DIRECT_WORTH_BYTES
from gossiptrain.net.direct.messages import SeenAt, WhereIs
from gossiptrain.net.framing import call
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.stream import host_of
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.libp2p.whereabouts import WHEREABOUTS
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from tests.net.libp2p.test_relays import WORDS, echo, peer, reached, through
from tests.net.test_conformance import PROTOCOL

HERE = ipaddress.ip_address("127.0.0.1")


def port_of(transport: Libp2pTransport) -> int:
    return int(transport.addresses[0].split("/")[4])


async def where_is(asker: Libp2pTransport, relay: Libp2pTransport, sought: PeerId) -> SeenAt:
    request = WhereIs(peer=sought)
    return await call(asker, relay.peer_id, protocol=WHEREABOUTS, request=request, reply_kind=SeenAt)


async def path_to(caller: Libp2pTransport, called: Libp2pTransport) -> str:
    """Over what a stream for many bytes goes."""
    stream = await caller.open_stream(called.peer_id, PROTOCOL, bulk_bytes=DIRECT_WORTH_BYTES)
    await stream.write(WORDS)
    assert await stream.read_exactly(len(WORDS)) == WORDS
    await stream.close()
    return stream.kind


def test_a_relay_tells_where_it_sees_those_that_are_connected_to_it() -> None:
    async def main() -> None:
        async with peer(relay=True) as relay, peer() as alice, peer() as bob:
            for other in (alice, bob):
                await other.connect(relay.addresses[0])
            for other in (alice, bob):
                seen = await where_is(alice, relay, other.peer_id)
                assert (seen.host, seen.port) == ("127.0.0.1", port_of(other)), "libp2p calls from where it listens"
            assert await where_is(alice, relay, Identity.generate().peer_id) == SeenAt(host="", port=0)
            assert await where_is(alice, relay, PeerId("nobody")) == SeenAt(host="", port=0)

    asyncio.run(main())


def test_who_does_not_carry_is_not_asked_either() -> None:
    async def main() -> None:
        async with peer() as plain, peer() as alice:
            await alice.connect(plain.addresses[0])
            with pytest.raises(UnreachableError):
                await where_is(alice, plain, alice.peer_id)

    asyncio.run(main())


def test_two_that_only_a_relay_joins_call_each_other_where_it_sees_them() -> None:
    async def main() -> None:
        async with peer(relay=True) as relay:
            named = relay.addresses[:1]
            async with (
                peer(relay=True, initial_peers=named) as alice,
                peer(relay=True, initial_peers=named) as bob,
            ):
                await alice.serve(PROTOCOL, echo)
                await reached(bob, alice, through(relay, alice))
                stream = await bob.open_stream(alice.peer_id, PROTOCOL)
                assert host_of(stream) is None
                places = await bob._whereabouts.of(stream)
                assert places is not None
                assert (places.host, places.port, places.keeps_ports) == (HERE, port_of(alice), True)
                stream.abort()
                assert await path_to(bob, alice) == "direct"

    asyncio.run(main())


def test_a_relay_that_nobody_has_named_sends_nobody_anywhere() -> None:
    async def main() -> None:
        asked: list[Stream] = []

        async def ask(stream: Stream) -> None:
            asked.append(stream)

        async with (
            peer(relay=True) as relay,
            peer(relay=True, initial_peers=relay.addresses[:1]) as alice,
            peer() as bob,
        ):
            await relay.serve(WHEREABOUTS, ask)
            await alice.serve(PROTOCOL, echo)
            await reached(bob, alice, through(relay, alice))
            assert await path_to(bob, alice) == "libp2p"
            assert not asked

    asyncio.run(main())
