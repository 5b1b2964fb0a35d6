"""Real peers behind routers that let nobody in come to a round, each over the path that there is."""

from __future__ import annotations

import pytest
from benchmarks.links.packet_switch import PacketSwitchedHosts
from benchmarks.links.router import RouterKind
from benchmarks.namespaces import built

from benchmarks import nat
from tests.benchmarks.test_partition import reaches


@pytest.fixture(autouse=True)
def hosts_can_be_made() -> None:
    try:
        with built(PacketSwitchedHosts([nat.HOME])):
            return
    except OSError as error:
        pytest.skip(f"no hosts behind routers here: {error}")


def test_a_host_behind_a_router_reaches_others_and_is_not_reached() -> None:
    with built(PacketSwitchedHosts([nat.HOME] * 3, routers=["none", "firewall", "symmetric"])) as hosts:
        for host in (1, 2):
            assert reaches(hosts, caller=host, called=0)
            assert not reaches(hosts, caller=0, called=host)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kinds", "path"),
    [
        (("port-dependent", "port-dependent"), "direct"),
        pytest.param(("port-dependent", "symmetric"), "libp2p", marks=pytest.mark.long),
    ],
)
def test_two_peers_behind_routers_average_directly_where_there_is_a_way_and_through_the_relay_where_not(
    kinds: tuple[RouterKind, RouterKind], path: str
) -> None:
    found = nat.measure(kinds, repetitions=1)
    assert (found.met, found.paths) == (1, (path,))
