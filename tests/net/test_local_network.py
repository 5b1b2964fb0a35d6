"""What is believed of what anybody announces on the local network; real multicast is in `tests/benchmarks`."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

import pytest
from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceInfo

from gossiptrain.net.identity import Identity
from gossiptrain.net.local_network import (
    MAX_NEIGHBOURS,
    MAX_OF_EACH_RUN,
    MAX_OTHERS,
    SERVICE,
    LocalNetwork,
    announced_digest,
    attached_networks,
)
from gossiptrain.net.transport import PeerId

ME, OTHER = Identity.generate().peer_id, Identity.generate().peer_id
RUN = "d1" * 16


def believed(peer: bytes, hosts: list[str], *, port: int = 4011) -> tuple[str, ...]:
    """What a peer that is attached to 192.168.1.0/24 makes of an announcement."""
    info = AsyncServiceInfo(SERVICE, f"x.{SERVICE}", port=port, parsed_addresses=hosts, properties={"id": peer})
    return on_a_network(lambda local: answered(local._believed(info)))


async def answered(value: tuple[str, ...]) -> tuple[str, ...]:
    return value


def on_a_network(ask: Callable[[LocalNetwork], Awaitable[tuple[str, ...]]]) -> tuple[str, ...]:
    async def main() -> tuple[str, ...]:
        local = LocalNetwork.open(RUN, PeerId(ME))
        local._networks = (ipaddress.ip_network("192.168.1.0/24"),)
        try:
            return await ask(local)
        finally:
            await local.close()

    return asyncio.run(main())


def test_an_address_counts_only_where_it_is_on_a_network_of_this_computer() -> None:
    expected = (f"/ip4/192.168.1.7/tcp/4011/p2p/{OTHER}",)
    assert believed(OTHER.encode(), ["192.168.1.7", "8.8.4.4", "192.168.2.7", "127.0.0.1"]) == expected


@pytest.mark.parametrize(
    "peer", [b"", b"nobody", b"\xff" * 40, ME.encode()], ids=["none", "a word", "bytes", "the own one"]
)
def test_who_is_no_other_peer_is_not_believed(peer: bytes) -> None:
    assert believed(peer, ["192.168.1.7"]) == ()


def test_a_port_that_nobody_can_dial_is_not_believed() -> None:
    assert believed(OTHER.encode(), ["192.168.1.7"], port=0) == ()


def test_of_one_peer_only_so_many_addresses_are_dialled() -> None:
    assert len(believed(OTHER.encode(), [f"192.168.1.{host}" for host in range(1, 100)])) == 4


def test_names_are_bounded_whoever_makes_them_up() -> None:
    async def flood(local: LocalNetwork) -> tuple[str, ...]:
        for number in range(2 * MAX_OTHERS):
            for digest in (announced_digest(RUN), "other"):
                name = f"{digest}-{number}.{SERVICE}"
                local._hear(local._zeroconf.zeroconf, SERVICE, name, ServiceStateChange.Added)
        assert len(local._tasks) == len(local._names) == MAX_NEIGHBOURS
        assert len(local.others) == MAX_OTHERS
        return ()

    on_a_network(flood)


def test_who_looks_for_any_run_hears_a_few_peers_of_each() -> None:
    async def main() -> set[str]:
        local = LocalNetwork.open(None, PeerId(ME))
        try:
            for number in range(50):
                for run in ("one", "two"):
                    name = f"{announced_digest(run)}-{number}.{SERVICE}"
                    local._hear(local._zeroconf.zeroconf, SERVICE, name, ServiceStateChange.Added)
            assert local.others == set()
            return local._names
        finally:
            await local.close()

    heard = asyncio.run(main())
    assert len(heard) == 2 * MAX_OF_EACH_RUN
    assert {name.partition("-")[0] for name in heard} == {announced_digest(run) for run in ("one", "two")}


def test_what_is_announced_tells_nothing_of_the_run() -> None:
    assert RUN not in announced_digest(RUN)
    assert announced_digest(RUN) != announced_digest(RUN[:-1] + "0")


def test_this_computer_is_attached_to_itself() -> None:
    assert ipaddress.ip_network("127.0.0.0/8") in list(attached_networks())
