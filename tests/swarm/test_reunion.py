"""A swarm that was cut in two is one again soon after the cut is healed, however long it was."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest

from gossiptrain.config import PRESETS, Preset, TimingSettings
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.admission import Admission
from tests.swarm.swarms import TIMING, Swarm, TestPeer, swarm_of
from tests.transports import MakeTransport, run_on, until

HEALED_WITHIN_S = 30.0
HOURS = TimingSettings(heartbeat_s=60.0, lifetime_s=300.0, directory_s=300.0, stall_timeout_s=3.0)
"""So patient that four hours are few heartbeats. A lost peer is tried as often as with every preset."""


def cut_apart(network: VirtualNetwork, one: str, other: str) -> None:
    """Lets nothing through between two groups of peers."""
    for pair in itertools.product(one, other):
        network.cut(*pair)


def heal(network: VirtualNetwork, one: str, other: str) -> None:
    for pair in itertools.product(one, other):
        network.heal(*pair)


def sees(peer: TestPeer) -> set[str]:
    return {str(other) for other in peer.swarm.membership.live()}


async def have_parted(swarm: Swarm, *halves: str) -> None:
    """Waits until the peers of each half see those of their half alone."""
    for half in halves:
        others = {name: set(half) - {name} for name in half}
        await until(functools.partial(_see, swarm, others), limit_s=1e6)


def _see(swarm: Swarm, others: dict[str, set[str]]) -> bool:
    return all(sees(swarm.peers[name]) == expected for name, expected in others.items())


async def round_of_all(swarm: Swarm) -> None:
    """A round in which all take part, and which commits."""
    for peer in swarm.peers.values():
        peer.is_ready()
    rounds = await swarm.average()
    members = [set(found.result.members) for found in rounds.values() if found is not None and found.result.committed]
    assert members == [set(swarm.peers)] * len(swarm.peers)


@pytest.mark.parametrize(("preset", "cut_s"), [("local", 60.0), ("lan", 60.0), ("wan", 60.0), ("wan", 600.0)])
def test_halves_that_were_cut_apart_are_one_swarm_soon_after(preset: Preset, cut_s: float) -> None:
    reunite(PRESETS[preset], cut_s=cut_s)


def test_four_hours_are_no_longer_than_a_minute() -> None:
    reunite(HOURS, cut_s=4 * 3600.0)


def reunite(timing: TimingSettings, *, cut_s: float) -> None:
    network = VirtualNetwork(latency_s=0.02)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 6, timing=timing) as swarm:
            await swarm.average()
            cut_apart(network, "abc", "def")
            began_s = asyncio.get_running_loop().time()
            await have_parted(swarm, "abc", "def")
            for name in "abc":
                swarm.peers[name].is_ready()
            await swarm.average("a", "b", "c")  # so that the halves count different rounds
            await asyncio.sleep(began_s + cut_s - asyncio.get_running_loop().time())
            heal(network, "abc", "def")
            async with asyncio.timeout(HEALED_WITHIN_S):
                await swarm.know_each_other()
                await round_of_all(swarm)
                await round_of_all(swarm)

    run_on("virtual", scenario, network=network)


def test_pairs_that_lost_each_other_meet_again_without_any_third() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            cut_apart(network, "a", "b")
            await have_parted(swarm, "a", "b")
            await asyncio.sleep(300.0)
            heal(network, "a", "b")
            async with asyncio.timeout(HEALED_WITHIN_S):
                await swarm.know_each_other()

    run_on("virtual", scenario, network=network)


def test_a_cut_splits_the_directory_and_the_reunion_joins_it_again() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            cut_apart(network, "ab", "cd")
            await have_parted(swarm, "ab", "cd")
            a = swarm.peers["a"].swarm
            key = a.fingerprint.key
            assert set(await a.transport.directory.get(key)) == {"a", "b"}
            heal(network, "ab", "cd")
            assert set(await a.transport.directory.get(key)) == {"a", "b"}
            await swarm.know_each_other()
            async with asyncio.timeout(HEALED_WITHIN_S):
                while set(await a.transport.directory.get(key)) != {"a", "b", "c", "d"}:
                    await a.transport.clock.sleep(0.1)

    run_on("virtual", scenario, network=network)


def test_newcomers_of_both_halves_find_each_other_through_those_that_knew_each_other() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            cut_apart(network, "ax", "by")
            await have_parted(swarm, "a", "b")
            await swarm.add("x", initial="a")
            await swarm.add("y", initial="b")
            await asyncio.sleep(60.0)
            heal(network, "ax", "by")
            async with asyncio.timeout(HEALED_WITHIN_S):
                await swarm.know_each_other()
                await round_of_all(swarm)

    run_on("virtual", scenario, network=network)


def test_dialling_the_lost_delays_no_round_of_those_that_are_there() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 6) as swarm:
            cut_apart(network, "ab", "cdef")
            await have_parted(swarm, "ab", "cdef")
            for _ in range(20):
                for name in "ab":
                    swarm.peers[name].is_ready()
                started_s = asyncio.get_running_loop().time()
                rounds = await swarm.average("a", "b")
                assert all(found is not None and found.result.committed for found in rounds.values())
                assert asyncio.get_running_loop().time() - started_s < TIMING.probe_timeout_s
                await asyncio.sleep(1.0)

    run_on("virtual", scenario, network=network)


def test_who_said_goodbye_is_not_dialled_any_more() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            gone = swarm.peers.pop("c")
            await gone.swarm.leave()
            await gone.stop()
            await gone.swarm.transport.close()
            books = [peer.swarm.reunion.book for peer in swarm.peers.values()]
            await until(lambda: not any("c" in book for book in books))

    run_on("virtual", scenario)


def test_the_book_follows_a_peer_that_has_other_addresses_now() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers.values()
            a.swarm.transport.addresses = (
                "/memory/bridge/p2p/a",
                "/memory/elsewhere/p2p/a",
                *a.swarm.transport.addresses,
            )
            await until(lambda: b.swarm.reunion.book.addresses(a.id) == a.swarm.transport.addresses)
            assert ("moved", a.id) in b.changes

    run_on("virtual", scenario)


def test_an_initial_peer_that_was_away_is_met_when_it_is_there() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            for name in "ab":
                network.entries.part(name, "c")
            a = swarm.peers["a"].swarm
            await a.join([swarm.peers["b"].swarm.transport.addresses[0], "/memory/c/p2p/c"])
            await asyncio.sleep(900.0)
            await swarm.add("c", initial=None)
            async with asyncio.timeout(HEALED_WITHIN_S):
                await swarm.know_each_other()

    run_on("virtual", scenario, network=network)


def test_a_peer_that_starts_with_nothing_but_an_old_book_finds_the_swarm() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            known = [peer.swarm.transport.addresses[0] for peer in swarm.peers.values()]
            c = await swarm.add("c", initial=None)
            await c.swarm.join([], ["/memory/nobody/p2p/nobody", *known])
            assert sees(c) == {"a", "b"}
            await swarm.know_each_other()

    run_on("virtual", scenario)


def test_a_helper_of_an_old_book_that_answers_first_does_not_keep_it_from_the_members() -> None:
    network = VirtualNetwork()
    network.set_link("b", "a", settings=LinkSettings(latency_s=0.1))
    network.entries.part("a", "b")
    network.entries.part("a", "helper")

    async def scenario(make: MakeTransport) -> None:
        helper = await make("helper")
        await Admission(helper, None, timing=TIMING).open()
        async with swarm_of(make, 1) as swarm:
            a = swarm.peers["a"].swarm.transport
            b = await swarm.add("b", initial=None)
            await b.swarm.join([], [helper.addresses[0], a.addresses[0]])
            assert sees(b) == {"a"}

    run_on("virtual", scenario, network=network)


def test_that_nobody_of_an_old_book_answers_is_no_error_and_they_are_tried_again() -> None:
    network = VirtualNetwork()
    network.entries.part("a", "b")

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            a = swarm.peers["a"]
            await a.swarm.join([], ["/memory/b/p2p/b"])
            assert sees(a) == set()
            await swarm.add("b", initial=None)
            async with asyncio.timeout(10.0):
                await swarm.know_each_other()

    run_on("virtual", scenario, network=network)
