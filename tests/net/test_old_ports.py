"""A peer listens where it listened before if it can, and elsewhere if not."""

from __future__ import annotations

import asyncio
import functools
import socket

import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.net import old_ports
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.old_ports import ports_of, start_at_old_ports

ANYWHERE = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",))
PEER = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"


async def ports_when_started(network: NetworkSettings, ports: dict[str, int]) -> dict[str, int]:
    start = functools.partial(Libp2pTransport.start, identity=Identity.generate())
    transport = await start_at_old_ports(network, ports, start=start)
    try:
        return ports_of(transport.addresses)
    finally:
        await transport.close()


def test_the_old_port_is_taken_again() -> None:
    async def scenario() -> None:
        ports = await ports_when_started(ANYWHERE, {})
        assert await ports_when_started(ANYWHERE, ports) == ports

    asyncio.run(scenario())


def test_another_port_is_taken_where_somebody_else_has_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_ports, "PAUSE_S", 0.01)

    async def scenario() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = {"ip4/tcp": other.getsockname()[1]}
            assert (await ports_when_started(ANYWHERE, taken)).keys() == taken.keys()
            assert await ports_when_started(ANYWHERE, taken) != taken

    asyncio.run(scenario())


def test_a_port_that_was_asked_for_is_not_replaced() -> None:
    async def scenario() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            asked = free.getsockname()[1]
        network = NetworkSettings(host_maddrs=(f"/ip4/127.0.0.1/tcp/{asked}",))
        assert await ports_when_started(network, {"ip4/tcp": 9}) == {"ip4/tcp": asked}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("addresses", "ports"),
    [
        ([f"/ip4/127.0.0.1/tcp/4011/p2p/{PEER}", f"/ip4/192.0.2.1/tcp/4012/p2p/{PEER}"], {"ip4/tcp": 4011}),
        (["/ip6/::1/tcp/1", "/ip4/127.0.0.1/udp/2/quic-v1"], {"ip6/tcp": 1, "ip4/udp": 2}),
        (["/dns4/example.org/tcp/4011", "no address", f"/ip4/192.0.2.1/tcp/4/p2p/{PEER}/p2p-circuit/p2p/{PEER}"], {}),
    ],
)
def test_ports_are_read_from_the_own_addresses(addresses: list[str], ports: dict[str, int]) -> None:
    assert ports_of(addresses) == ports
