"""A link on which everything arrives at one end and nothing at the other."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from benchmarks.namespaces import SwitchedHosts, address_of, switched_hosts

from gossiptrain import events
from tests.benchmarks.test_partition import reaches
from tests.chaos.test_killed_and_frozen import LONG, steps_go_on
from tests.processes import GOSSIP, Family, Peer


@pytest.fixture
def hosts() -> Iterator[SwitchedHosts]:
    try:
        with switched_hosts(2) as made:
            yield made
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")


def test_nothing_arrives_on_one_way_until_it_is_healed(hosts: SwitchedHosts) -> None:
    hosts.cut_one_way()
    assert not reaches(hosts)
    hosts.heal_one_way()
    assert reaches(hosts)


@pytest.mark.timeout(400)
def test_peers_on_a_half_open_link_train_on_lose_each_other_and_meet_again(
    hosts: SwitchedHosts, family: Family
) -> None:
    def start(host: int, *flags: str) -> Peer:
        place = ("--host-maddr", f"/ip4/{address_of(host)}/tcp/0", "--every-seconds", "0.5")
        local = ("--threads", "1", "--device", "cpu", "--log-format", "json", "--preset", "local")
        return family.start("train", "digits", *local, *place, *LONG, *flags, program=[*hosts.on(host), str(GOSSIP)])

    first = start(0)
    second = start(1, "--initial-peer", first.address())
    both = (first, second)
    for peer in both:
        peer.wait_for(events.RoundCommitted)
    told = [peer.told() for peer in both]
    hosts.cut_one_way()
    for peer, since in zip(both, told, strict=True):
        peer.wait_for(events.PeerChanged, lambda event: event.change == "lost", since=since)
        steps_go_on(peer)
    told = [peer.told() for peer in both]
    hosts.heal_one_way()
    for peer, since in zip(both, told, strict=True):
        peer.wait_for(events.RoundCommitted, since=since)
    for peer in both:
        peer.signal(signal.SIGTERM)
    assert [peer.wait(within_s=10.0) for peer in both] == [0, 0]
    family.assert_gone(within_s=2.0)
