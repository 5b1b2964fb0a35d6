"""How a peer finds the others."""

from __future__ import annotations

import json

import pytest

from gossiptrain.errors import PeerUnreachableError, RunMismatchError
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import DIRECTORY, VirtualNetwork
from gossiptrain.swarm import discovery
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.dialling import Introduction
from tests.swarm.swarms import TIMING, Swarm, fingerprint, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


@on_both_transports
def test_any_living_peer_serves_as_initial_peer(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            await swarm.add("c", initial="b")
            await swarm.know_each_other()
            first = swarm.peers.pop("a")
            await first.stop()
            await first.swarm.transport.close()
            await swarm.add("d", initial="c")
            await swarm.know_each_other()
            rounds = await swarm.average()
            assert all(found is not None and len(found.result.members) == 3 for found in rounds.values())

    run_on(kind, scenario)


@on_both_transports
def test_peers_that_know_only_a_helper_find_each_other_through_the_directory(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        helper = await make("helper")
        await Admission(helper, None, timing=TIMING).open()
        async with swarm_of(make, 0) as swarm:
            for name in "abc":
                peer = await swarm.add(name, initial=None)
                await peer.swarm.join([helper.addresses[0]])
            await swarm.know_each_other()

    run_on(kind, scenario)


@on_both_transports
def test_a_dead_initial_peer_is_named_and_a_living_one_beside_it_is_enough(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 0) as swarm:
            dead = await make("dead")
            address = dead.addresses[0]
            await dead.close()
            joiner = await swarm.add("b", initial=None)
            with pytest.raises(PeerUnreachableError, match=dead.peer_id):
                await joiner.swarm.join([address])
            await swarm.add("a", initial=None)
            await joiner.swarm.join([address, swarm.peers["a"].swarm.transport.addresses[0]])
            await swarm.know_each_other()

    run_on(kind, scenario)


@on_both_transports
def test_an_initial_peer_of_another_run_is_an_error_that_says_so(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            with pytest.raises(RunMismatchError, match="the task differs"):
                await swarm.add("b", run=fingerprint(task="other"))
            await swarm.peers["a"].swarm.transport.clock.sleep(3 * TIMING.heartbeat_s)
            assert swarm.peers["a"].swarm.membership.live() == {}

    run_on(kind, scenario)


@pytest.mark.parametrize("hint", [b"", b"no json", b"{}", b'["/memory/nobody/p2p/nobody"]', b"[" * 1000, b"[1, 2]"])
def test_nonsense_in_the_directory_is_passed_over(hint: bytes) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a = swarm.peers["a"].swarm
            await a.transport.directory.put(a.fingerprint.key, "nobody", hint, lifetime_s=1e3)
            await a._discovery.consult_directory()
            assert len(a.membership.trainers()) == 2

    run_on("virtual", scenario)


def test_the_own_directory_entry_holds_the_addresses() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            a = swarm.peers["a"].swarm
            entries = await a.transport.directory.get(a.fingerprint.key)
            assert json.loads(entries[a.transport.peer_id]) == list(a.transport.addresses)

    run_on("virtual", scenario)


def test_two_halves_that_never_heard_of_each_other_merge_through_the_directory() -> None:
    async def scenario(make: MakeTransport) -> None:
        swarm: Swarm
        async with swarm_of(make, 2) as swarm, swarm_of(make, 0) as other:
            other._starts = 10
            await other.add("x", initial=None)
            await other.add("y", initial="x")
            await until(lambda: len(swarm.peers["a"].swarm.membership.trainers()) == 4, limit_s=60.0)

    run_on("virtual", scenario)


def test_where_the_first_that_answer_speak_of_many_the_other_entries_of_the_directory_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "LEAST_HINTS", 4)
    monkeypatch.setattr(discovery, "MAX_AT_ONCE", 4)
    followed: list[PeerId] = []
    meet = Introduction.meet

    async def noted(introduction: Introduction, peer: PeerId) -> bool:
        followed.append(peer)
        return await meet(introduction, peer)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 24) as swarm:
            monkeypatch.setattr(Introduction, "meet", noted)
            newcomer = await swarm.add("z")
            assert 4 <= len(followed) < 12
            await until(lambda: len(newcomer.swarm.membership.trainers()) == 25)

    run_on("virtual", scenario)


def test_a_peer_that_lost_everybody_finds_them_again() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            a = swarm.peers["a"]
            for other in ("b", "c", DIRECTORY):
                network.cut("a", other)
            await until(lambda: not a.swarm.membership.live())
            await until(lambda: len(swarm.peers["b"].swarm.membership.trainers()) == 2)
            for other in ("b", "c"):
                network.heal("a", other)
            await swarm.know_each_other()

    run_on("virtual", scenario, network=network)
