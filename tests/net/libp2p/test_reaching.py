"""A peer that was gone is reached as soon as it is there again, however often it was tried meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import UnreachableError
from tests.processes import free_port
from tests.transports import Kind, MakeTransport, on_both_transports, run_on


@on_both_transports
def test_one_address_that_answers_is_enough(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob, carol = await make("alice"), await make("bob"), await make("carol")
        dead = carol.addresses[0].replace(carol.peer_id, bob.peer_id)
        await carol.close()
        await alice.reach(bob.peer_id, [dead, *bob.addresses])
        assert await alice.connect(bob.addresses[0]) == bob.peer_id

    run_on(kind, scenario)


@on_both_transports
def test_that_nobody_answers_is_said(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        addresses = bob.addresses
        await bob.close()
        for given in ((), addresses):
            with pytest.raises(UnreachableError):
                await alice.reach(bob.peer_id, given)

    run_on(kind, scenario)


def test_failures_in_a_row_do_not_delay_the_success() -> None:
    async def scenario(make: MakeTransport) -> None:
        alice = await make("alice")
        identity, port = Identity.generate(), free_port()
        network = NetworkSettings(host_maddrs=(f"/ip4/127.0.0.1/tcp/{port}",))
        address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity.peer_id}"
        for _ in range(10):
            with pytest.raises(UnreachableError):
                await alice.reach(identity.peer_id, [address])
        bob = await Libp2pTransport.start(network, identity)
        try:
            async with asyncio.timeout(4.0):
                await alice.reach(identity.peer_id, [address])
        finally:
            await bob.close()

    run_on("libp2p", scenario)


@pytest.mark.parametrize(
    "address", ["/dns4/my_host/tcp/4011/p2p/ID", "/ip4/192.0.2.1/tcp/4011", "no address", "/ip4/127.0.0.1/tcp/9/p2p/x"]
)
def test_what_is_no_address_of_the_peer_is_passed_over(address: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        await alice.reach(bob.peer_id, [address.replace("ID", bob.peer_id), *bob.addresses])

    run_on("libp2p", scenario)
