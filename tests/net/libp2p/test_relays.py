"""A peer that nobody can dial is reached through one of its initial peers.

On loopback libp2p makes no relayed address known, since nobody elsewhere could use it, so the tests put it together;
what peers behind routers make of relays is in `tests/benchmarks/test_nat.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gossiptrain.net.libp2p.stream import host_of
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import Stream, UnreachableError
from tests.net.libp2p.test_transport import start
from tests.net.test_conformance import PROTOCOL

HERE = "/ip4/127.0.0.1/tcp/0"
WORDS = b"through the relay"
WITHIN_S = 60.0
MUCH_BYTES = 4 << 20


async def echo(stream: Stream) -> None:
    await stream.write(await stream.read_exactly(len(WORDS)))


async def write_and_wait(stream: Stream) -> None:
    await stream.write(bytes(MUCH_BYTES))
    await stream.read_exactly(1)


@asynccontextmanager
async def peer(*, relay: bool | None = False, initial_peers: tuple[str, ...] = ()) -> AsyncIterator[Libp2pTransport]:
    transport = await start(HERE, relay=relay, initial_peers=initial_peers)
    try:
        yield transport
    finally:
        await transport.close()


def through(relay: Libp2pTransport, other: Libp2pTransport) -> str:
    """The address of another peer behind a relay."""
    return f"{relay.addresses[0]}/p2p-circuit/p2p/{other.peer_id}"


async def reached(caller: Libp2pTransport, other: Libp2pTransport, address: str) -> None:
    """Waits until the relay has taken the peer that is called."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await caller.reach(other.peer_id, [address])
            except UnreachableError:
                await asyncio.sleep(0.1)


def test_a_relay_carries_a_stream_to_a_peer_that_has_called_it() -> None:
    async def main() -> None:
        async with (
            peer(relay=True) as relay,
            peer(relay=True, initial_peers=relay.addresses[:1]) as alice,
            peer() as bob,
        ):
            await alice.serve(PROTOCOL, echo)
            await reached(bob, alice, through(relay, alice))
            assert await bob.connect(through(relay, alice)) == alice.peer_id
            stream = await bob.open_stream(alice.peer_id, PROTOCOL)
            assert host_of(stream) is None, "nobody dials the relay in the belief that the peer lives there"
            await stream.write(WORDS)
            assert await stream.read_exactly(len(WORDS)) == WORDS
            await stream.close()

    asyncio.run(main())


def test_nobody_is_carried_who_has_not_asked_for_it() -> None:
    async def main() -> None:
        async with peer(relay=True) as relay, peer() as alice, peer() as bob:
            await alice.connect(relay.addresses[0])
            with pytest.raises(UnreachableError):
                await bob.connect(through(relay, alice))

    asyncio.run(main())


async def carries_much(between: Libp2pTransport) -> bool:
    """Whether 4 MiB pass a relay, from one newcomer to another."""
    async with peer(relay=True, initial_peers=between.addresses[:1]) as alice, peer() as bob:
        read = asyncio.Event()

        async def read_much(stream: Stream) -> None:
            await stream.read_exactly(MUCH_BYTES)
            read.set()

        await alice.serve(PROTOCOL, read_much)
        await reached(bob, alice, through(between, alice))
        stream = await bob.open_stream(alice.peer_id, PROTOCOL)
        try:
            await stream.write(bytes(MUCH_BYTES))
            await stream.wait_for_end()
        except ConnectionError:
            return False
        return read.is_set()


def test_who_was_not_told_to_carries_only_the_first_words() -> None:
    """Whatever it is told, libp2p's daemon carries 128 KiB on each connection."""

    async def main() -> None:
        async with peer() as plain:
            assert not await carries_much(plain)

    asyncio.run(main())
