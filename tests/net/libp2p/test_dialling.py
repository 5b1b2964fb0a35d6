"""How others are dialled: on what word, at which of their addresses, and how often."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.dialling import DIALS_AT_ONCE, MAX_PEERS
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId, UnreachableError
from tests.net.test_conformance import PROTOCOL, idle
from tests.transports import MakeTransport, run_on

UNREADABLE = ("/dns4/my_host/tcp/4011", "/dns4/a--b-/tcp/4011", "/ip4/127.0.0.1/tcp/99999", "/memory/x", "nonsense")


@contextmanager
def silent_place() -> Iterator[str]:
    """An address at which connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"/ip4/127.0.0.1/tcp/{listening.getsockname()[1]}"


def test_addresses_that_say_nothing_do_not_hold_up_the_one_that_answers() -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        await bob.serve(PROTOCOL, idle)
        with silent_place() as first, silent_place() as second:
            alice.remember(bob.peer_id, [f"{place}/p2p/{bob.peer_id}" for place in (first, second)] + [*bob.addresses])
            async with asyncio.timeout(3.0):
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
            stream.abort()

    run_on("libp2p", scenario)


@pytest.mark.parametrize("place", UNREADABLE)
def test_an_address_that_cannot_be_read_is_one_that_does_not_lead_there(place: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice = await make("alice")
        nobody = Identity.generate().peer_id
        address = f"{place}/p2p/{nobody}"
        alice.remember(nobody, [address])
        for attempt in (alice.open_stream(nobody, PROTOCOL), alice.connect(address)):
            with pytest.raises(UnreachableError):
                await attempt

    run_on("libp2p", scenario)


def test_where_a_peer_says_that_it_lives_nobody_else_is_dialled() -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        liar = Identity.generate().peer_id
        alice.remember(liar, bob.addresses)
        with pytest.raises(UnreachableError, match="no address"):
            await alice.open_stream(liar, PROTOCOL)

    run_on("libp2p", scenario)


def test_on_one_peers_word_a_third_party_is_knocked_at_only_so_often() -> None:
    knocks = 0

    def knocked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.transport.abort()

    async def scenario(make: MakeTransport) -> None:
        alice = await make("alice")
        liar = Identity.generate().peer_id
        servers = [await asyncio.start_server(knocked, "127.0.0.1", 0) for _ in range(3 * DIALS_AT_ONCE)]
        async with asyncio.timeout(30.0):
            for server in servers:
                port = server.sockets[0].getsockname()[1]  # a new one each time: libp2p itself spares those that failed
                alice.remember(liar, [f"/ip4/127.0.0.1/tcp/{port}/p2p/{liar}"])
                with pytest.raises(UnreachableError):
                    await alice.open_stream(liar, PROTOCOL)
        for server in servers:
            server.close()
        assert 1 <= knocks <= 2 * DIALS_AT_ONCE

    run_on("libp2p", scenario)


def test_of_made_up_peers_only_so_many_are_remembered() -> None:
    async def scenario(make: MakeTransport) -> None:
        alice = await make("alice")
        assert isinstance(alice, Libp2pTransport)
        for number in range(MAX_PEERS + 100):
            alice.remember(PeerId(str(number)), ["/ip4/192.0.2.1/tcp/4011"])
        assert len(alice._dialler._known) == len(alice._dialler._undialled) == MAX_PEERS

    run_on("libp2p", scenario)
