"""Faults of networks, planted for real on hosts that are namespaces: the doctor names each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from benchmarks.links.packet_switch import PacketSwitchedHosts
from benchmarks.links.router import RouterKind
from benchmarks.namespaces import DEVICE, Hosts, Link, address_of, built, run, switched_hosts

from tests.doctor.stage import ID, Diagnosis, Fault, Stage

HOME = Link(up_mbit=100.0, down_mbit=100.0)
ELSEWHERE = "/ip4/203.0.113.9/tcp/4011/p2p/" + ID


def network(stage: Stage, *routers: RouterKind) -> Hosts:
    """As many hosts, each behind its router; the doctor runs on the first. Skips where there can be none."""
    try:
        hosts: Hosts = stage.undo.enter_context(built(PacketSwitchedHosts([HOME] * len(routers), routers=routers)))
    except OSError as error:
        pytest.skip(f"no hosts behind routers here: {error}")
    stage.on(hosts)
    return hosts


def ip(hosts: Hosts, *words: str) -> None:
    """Changes the network of the doctor's host."""
    run(["ip", "-n", hosts.namespaces[0], *words])


def helper_on(stage: Stage, hosts: Hosts, host: int, *flags: str) -> str:
    """The address of a helper that is up on a host without a router."""
    return stage.helper(*flags, prefix=hosts.on(host), place=address_of(host))[1]


def dropped(stage: Stage) -> Sequence[str]:
    hosts = network(stage, "none", "none")
    address = helper_on(stage, hosts, 1)
    hosts.cut(1)
    return [address]


def behind_a_firewall(stage: Stage) -> Sequence[str]:
    return [helper_on(stage, network(stage, "none", "firewall"), 1)]


def ended(stage: Stage) -> Sequence[str]:
    network(stage, "none", "none")
    return [f"/ip4/{address_of(1)}/tcp/4011/p2p/{ID}"]


def private_address(stage: Stage) -> Sequence[str]:
    network(stage, "none", "none")
    return [f"/ip4/192.168.77.5/tcp/4011/p2p/{ID}"]


def neighbour_that_is_off(stage: Stage) -> Sequence[str]:
    try:
        hosts = stage.undo.enter_context(switched_hosts(2))
    except OSError as error:
        pytest.skip(f"no hosts that are switched here: {error}")
    stage.on(hosts)
    ip(hosts, "address", "add", "192.168.7.1/24", "dev", DEVICE)
    return [f"/ip4/192.168.7.9/tcp/4011/p2p/{ID}"]


def no_route(stage: Stage) -> Sequence[str]:
    ip(network(stage, "none"), "route", "delete", "default")
    return [ELSEWHERE]


def ipv6_alone(stage: Stage) -> Sequence[str]:
    hosts = network(stage, "none")
    ip(hosts, "address", "flush", "dev", DEVICE)
    ip(hosts, "address", "add", "2a01:77::1/64", "dev", DEVICE, "nodad")
    ip(hosts, "-6", "route", "replace", "default", "dev", DEVICE)
    return [ELSEWHERE]


def peer_with_ipv6_alone(stage: Stage) -> Sequence[str]:
    network(stage, "none")
    return [f"/ip6/2a01:77::9/tcp/4011/p2p/{ID}"]


def no_network(stage: Stage) -> Sequence[str]:
    ip(network(stage, "none"), "link", "set", DEVICE, "down")
    return []


def silent_name_server(stage: Stage) -> Sequence[str]:
    network(stage, "none")
    (stage.folder / "resolv.conf").write_text("nameserver 203.0.113.53\n")
    stage.with_mounts(f"mount --bind {stage.folder / 'resolv.conf'} /etc/resolv.conf")
    return [f"/dns4/peer.example.org/tcp/4011/p2p/{ID}"]


def no_name_server(stage: Stage) -> Sequence[str]:
    network(stage, "none")
    (stage.folder / "resolv.conf").touch()
    stage.with_mounts(f"mount --bind {stage.folder / 'resolv.conf'} /etc/resolv.conf")
    return []


def closed_to_calls(stage: Stage) -> Sequence[str]:
    return [helper_on(stage, network(stage, "firewall", "none"), 1)]


def behind_a_router(stage: Stage) -> Sequence[str]:
    network(stage, "port-dependent", "none")
    return []


def provider_that_shares_addresses(stage: Stage) -> Sequence[str]:
    hosts = network(stage, "none")
    ip(hosts, "address", "add", "100.64.7.7/32", "dev", DEVICE)
    ip(hosts, "route", "replace", "default", "dev", DEVICE, "src", "100.64.7.7")
    return []


def symmetric_router(stage: Stage) -> Sequence[str]:
    hosts = network(stage, "symmetric", "none", "none")
    return [helper_on(stage, hosts, host) for host in (1, 2)]


FAULTS = [
    Fault("dropped packets", dropped, "TCP", ("packets to it vanish", "firewall drops them", "let TCP in at port")),
    Fault("their firewall", behind_a_firewall, "TCP", ("packets to it vanish", "firewall drops them")),
    Fault("ended peer", ended, "TCP", ("answers, and nothing listens at its port 4011", "fixed port")),
    Fault("private address", private_address, "TCP", ("which is a private address", "only within the network")),
    Fault("neighbour that is off", neighbour_that_is_off, "TCP", ("No computer answers at 192.168.7.9", "It is off")),
    Fault("no route", no_route, "route", ("There is no way to 203.0.113.9", "ip route get")),
    Fault(
        "IPv6 alone",
        ipv6_alone,
        "route",
        ("has no IPv4, only IPv6", "begins with /ip6/"),
        besides=("routes", "warning", "listen with --host-maddr /ip6/::/tcp/0"),
    ),
    Fault("peer with IPv6 alone", peer_with_ipv6_alone, "route", ("has no IPv6, only IPv4", "begins with /ip4/")),
    Fault("no network", no_network, "routes", ("no way to the internet", "no gateway"), verdict="warning"),
    Fault(
        "silent name server",
        silent_name_server,
        "name",
        ("peer.example.org", "No name server answers", "203.0.113.53 (from /etc/"),
        besides=("DNS", "warning", "Data cannot be fetched"),
    ),
    Fault("no name server", no_name_server, "DNS", ("names no server",), verdict="warning"),
    Fault(
        "own firewall",
        closed_to_calls,
        "calling back",
        ("cannot call", "gossip bootstrap"),
        verdict="warning",
    ),
    Fault("router", behind_a_router, "NAT", ("a router translates", "forward a port"), verdict="warning"),
    Fault("shared address", provider_that_shares_addresses, "NAT", ("shares with other", "IPv6"), verdict="warning"),
    Fault("symmetric NAT", symmetric_router, "NAT seen", ("symmetric NAT", "Forward a port"), verdict="warning"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_the_doctor_names_it(fault: Fault, stage: Stage) -> None:
    fault.check(stage)


def test_where_nothing_stands_between_the_peer_calls_back(stage: Stage) -> None:
    hosts = network(stage, "none", "none")
    found = stage.ask(helper_on(stage, hosts, 1))
    assert verdict_of(found, "calling back") == "ok"
    assert "its own address" in found.of("NAT seen")[0].what


def test_a_router_that_shows_everybody_one_port_is_known_by_it(stage: Stage) -> None:
    hosts = network(stage, "endpoint-independent", "none", "none")
    found = stage.ask(*(helper_on(stage, hosts, host) for host in (1, 2)))
    assert "shows all others the same port" in found.of("NAT seen")[0].what
    assert verdict_of(found, "calling back") == "warning", "the router knows the port of the daemon alone"


def verdict_of(found: Diagnosis, name: str) -> str:
    return found.of(name)[0].verdict
