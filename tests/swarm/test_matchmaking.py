"""How fast groups form, who waits for whom, and who is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from gossiptrain.config import PRESETS, GossipSettings
from gossiptrain.core.grouping import GroupLimits, coordinators
from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.coordinator import READY
from gossiptrain.swarm.matchmaking import FREE_TRIES
from gossiptrain.swarm.messages import Ready, Redirect, StaleRound, Waiting
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.ranks import Ranks
from tests.swarm.swarms import TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

LATENCY_S = 0.01


def coordinators_of(swarm: Swarm) -> list[str]:
    """The names of all peers in the order in which they coordinate the next round, one in place of the other."""
    a = swarm.peers["a"]
    membership = a.swarm.membership
    ranked = coordinators(membership.trainers(), run=a.swarm.fingerprint.key, round_number=membership.round, seed=0)
    names = {peer.id: name for name, peer in swarm.peers.items()}
    return [names[PeerId(peer)] for peer in ranked]


def coordinator_of(swarm: Swarm) -> str:
    """The name of the peer that coordinates the next round."""
    return coordinators_of(swarm)[0]


def members_of(found: AveragedRound | None) -> int:
    return len(found.result.members) if found is not None and found.result.committed else 0


async def seconds_of_rounds(swarm: Swarm, *names: str, rounds: int) -> list[float]:
    """How long each of so many rounds of the named peers takes; all of them commit."""
    took_s = []
    for _ in range(rounds):
        started_s = asyncio.get_running_loop().time()
        found = await swarm.average(*names)
        took_s.append(asyncio.get_running_loop().time() - started_s)
        assert [members_of(one) for one in found.values()] == [len(names)] * len(names)
    return took_s


@on_both_transports
@pytest.mark.parametrize("count", [2, 7])
def test_all_ready_peers_are_in_one_group_at_once(kind: Kind, count: int) -> None:
    # On a busy computer seven daemons stand still for longer than peers of most tests are waited for.
    timing = PRESETS["lan"]

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, count, timing=timing) as swarm:
            for found in (await swarm.average()).values():
                assert found is not None
                assert members_of(found) == count
                assert found.formation_seconds < timing.lifetime_s

    run_on(kind, scenario)


@pytest.mark.parametrize("count", [2, 3, 7, 8, 16])
def test_forming_a_group_takes_no_longer_than_opening_one_stream_and_a_round_trip(count: int) -> None:
    network = VirtualNetwork(latency_s=LATENCY_S)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, count) as swarm:
            await swarm.average()
            for found in (await swarm.average()).values():
                assert found is not None
                # The first handshake with a peer takes another two round trips.
                assert found.formation_seconds <= 8 * LATENCY_S + 0.001

    run_on("virtual", scenario, network=network)


def test_no_group_starts_below_the_minimum() -> None:
    async def scenario(make: MakeTransport) -> None:
        settings = GossipSettings(gossip_min_group_size=3, matchmaking_time=1.0)
        async with swarm_of(make, 3, settings=settings) as swarm:
            assert list((await swarm.average("a", "b")).values()) == [None, None]
            assert [members_of(found) for found in (await swarm.average()).values()] == [3, 3, 3]

    run_on("virtual", scenario)


def test_a_lone_peer_finds_no_group_without_waiting() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            started_s = asyncio.get_running_loop().time()
            assert await swarm.peers["a"].average() is None
            assert asyncio.get_running_loop().time() == started_s

    run_on("virtual", scenario)


def test_nobody_is_left_out_twice_in_a_row() -> None:
    async def scenario(make: MakeTransport) -> None:
        settings = GossipSettings(gossip_group_size=2, matchmaking_time=2.0)
        async with swarm_of(make, 5, settings=settings) as swarm:
            left_out: set[str] = set()
            for _ in range(25):
                rounds = await swarm.average()
                now = {name for name, found in rounds.items() if found is None}
                assert len(now) == 1
                assert not now & left_out
                left_out = now

    run_on("virtual", scenario)


@on_both_transports
def test_another_peer_stands_in_for_a_coordinator_that_died(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            dead = coordinator_of(swarm)
            await swarm.peers[dead].stop()
            await swarm.peers[dead].swarm.transport.close()
            alive = [name for name in swarm.peers if name != dead]
            rounds = await swarm.average(*alive)
            assert [members_of(found) for found in rounds.values()] == [3, 3, 3]

    run_on(kind, scenario)


def test_another_peer_stands_in_for_a_coordinator_that_froze_while_others_waited() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            frozen = coordinator_of(swarm)
            alive = [name for name in swarm.peers if name != frozen]
            tasks = [asyncio.create_task(swarm.peers[name].average()) for name in alive[:2]]
            await asyncio.sleep(0.1)
            network.freeze(frozen)
            await asyncio.sleep(0.1)
            last = await swarm.peers[alive[2]].average()
            assert [members_of(await task) for task in tasks] == [3, 3]
            assert members_of(last) == 3
            network.thaw(frozen)

    run_on("virtual", scenario, network=network)


def test_a_peer_that_missed_rounds_learns_their_number_and_takes_part() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            swarm.peers["c"].swarm.membership.describe(OwnState(ready_in_s=30.0))
            await asyncio.sleep(3 * TIMING.heartbeat_s)
            for _ in range(4):
                await swarm.average("a", "b")
            swarm.peers["c"].is_ready()
            await asyncio.sleep(3 * TIMING.heartbeat_s)
            rounds = await swarm.average()
            assert [members_of(found) for found in rounds.values()] == [3, 3, 3]
            assert len({found.number for found in rounds.values() if found is not None}) == 1

    run_on("virtual", scenario)


def test_groups_of_a_large_swarm_keep_the_limits_and_mix() -> None:
    async def scenario(make: MakeTransport) -> None:
        settings = GossipSettings(gossip_group_size=4, matchmaking_time=2.0)
        async with swarm_of(make, 13, settings=settings) as swarm:
            met: set[frozenset[str]] = set()
            for _ in range(6):
                for found in (await swarm.average()).values():
                    assert found is not None
                    assert 2 <= members_of(found) <= 4
                    met.add(frozenset(found.result.members))
            assert len(met) > 12

    run_on("virtual", scenario)


@on_both_transports
def test_a_coordinator_sends_peers_on_to_a_peer_of_higher_rank_that_they_have_not_met(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            best = coordinator_of(swarm)
            unaware = next(peer for name, peer in swarm.peers.items() if name != best)
            unaware.swarm.membership._table.forget(swarm.peers[best].id)
            rounds = await swarm.average()
            assert [members_of(found) for found in rounds.values()] == [4, 4, 4, 4]
            assert all(found is not None and found.formation_seconds < 1.5 for found in rounds.values())

    run_on(kind, scenario)


def test_a_peer_that_cannot_reach_the_peer_it_was_sent_to_stays_where_it_is() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            # The second in rank still believes in the first, and sends there whoever comes to itself.
            best, *others = coordinators_of(swarm)
            network.freeze(best)
            for name in others[1:]:
                swarm.peers[name].swarm.membership.suspect(swarm.peers[best].id)
            rounds = await swarm.average(*others)
            assert [members_of(found) for found in rounds.values()] == [3, 3, 3]
            network.thaw(best)

    run_on("virtual", scenario, network=network)


# Answers that lead nowhere.


@pytest.mark.parametrize("answer", ["the same round", "another coordinator"])
def test_a_coordinator_that_answers_and_leads_nowhere_is_passed_over(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            bad = coordinator_of(swarm)
            other = next(name for name in swarm.peers if name != bad)

            async def serve(stream: Stream) -> None:
                nonlocal asked
                asked += 1
                ready = await receive_message(stream, Ready)
                if answer == "the same round":
                    await send_message(stream, StaleRound(round=ready.round))
                else:
                    await send_message(stream, Redirect(coordinator=swarm.peers[other].id))

            await swarm.peers[bad].swarm.admission.serve(READY, serve)
            good = [name for name in swarm.peers if name != bad]
            took_s = await seconds_of_rounds(swarm, *good, rounds=1)
            assert asked < 30
            assert sum(took_s) < 2.0 + TIMING.dial_timeout_s

    run_on("virtual", scenario)


def test_a_coordinator_that_always_knows_of_a_later_round_is_asked_a_few_times_and_then_with_pauses() -> None:
    asked_s: list[float] = []

    async def serve(stream: Stream) -> None:
        ready = await receive_message(stream, Ready)
        asked_s.append(asyncio.get_running_loop().time())
        await send_message(stream, StaleRound(round=ready.round + 1))

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, liar = swarm.peers.values()
            await liar.swarm.admission.serve(READY, serve)
            coordinating = a.swarm._matchmaker._coordinating
            coordinating.first_in_rank = lambda round_number: liar.id  # type: ignore[method-assign]
            assert await a.average() is None

    run_on("virtual", scenario)
    pause_s = TIMING.probe_timeout_s / 10
    assert FREE_TRIES < len(asked_s) <= FREE_TRIES + 1 + (asked_s[-1] - asked_s[0]) / pause_s


def test_a_coordinator_that_makes_itself_the_leader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_the_head(
        self: Ranks, group: Collection[PeerId], round_number: int, *, coordinator: PeerId
    ) -> tuple[PeerId, ...]:
        order = in_order(self, group, round_number, coordinator=coordinator)
        return (coordinator, *(peer for peer in order if peer != coordinator)) if coordinator == bad else order

    in_order, bad = Ranks.in_order, ""

    async def scenario(make: MakeTransport) -> None:
        nonlocal bad
        async with swarm_of(make, 4) as swarm:
            ranks = swarm.peers["a"].swarm._matchmaker._coordinating.ranks
            while True:
                bad, number = coordinator_of(swarm), swarm.peers["a"].swarm.membership.round
                everybody = [peer.id for peer in swarm.peers.values()]
                if ranks.in_order(everybody, number, coordinator=PeerId("outsider"))[0] != bad:
                    break
                await swarm.average()
            monkeypatch.setattr(Ranks, "in_order", at_the_head)
            good = set(swarm.peers) - {bad}
            for name, found in (await swarm.average()).items():
                if name != bad:
                    assert found is not None
                    assert found.result.committed
                    assert set(found.result.members) == good

    run_on("virtual", scenario)


def test_a_coordinator_that_never_says_more_than_waiting_costs_one_round_and_not_each() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            bad = coordinator_of(swarm)
            good = [name for name in swarm.peers if name != bad]

            async def serve(stream: Stream) -> None:
                while True:
                    await send_message(stream, Waiting())
                    await asyncio.sleep(TIMING.probe_timeout_s / 2)

            await swarm.peers[bad].swarm.admission.serve(READY, serve)
            swarm.peers[bad].swarm.membership.describe(OwnState(ready_in_s=None))
            await swarm.peers[bad].swarm.membership.announce()
            assert set((await swarm.average(*good)).values()) == {None}
            for _ in range(8):
                found = await swarm.average(*good)
                assert [members_of(one) for one in found.values()] == [3, 3, 3]
                assert all(one is not None and one.formation_seconds < 0.1 for one in found.values())

    run_on("virtual", scenario)


def test_a_coordinator_that_waits_as_long_as_it_may_is_not_taken_for_one_that_stalls() -> None:
    network = VirtualNetwork(latency_s=0.1)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            first = coordinator_of(swarm)
            straggler = next(name for name in swarm.peers if name != first)
            others = [name for name in swarm.peers if name != straggler]
            found = await swarm.average(*others)  # until their patience is over
            assert [members_of(one) for one in found.values()] == [3, 3, 3]
            for name in others:
                assert not swarm.peers[name].swarm._matchmaker._promises.stalls(swarm.peers[first].id)

    run_on("virtual", scenario, network=network)


def test_peers_that_send_each_other_to_and_fro_find_a_group() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            # Each takes the other for the coordinator of every round.
            for name, other in ("ab", "ba"):
                coordinating, best = swarm.peers[name].swarm._matchmaker._coordinating, swarm.peers[other].id
                coordinating.first_in_rank = lambda round_number, best=best: best  # type: ignore[method-assign,misc]
            await asyncio.gather(*(peer.average() for peer in swarm.peers.values()))
            assert asyncio.get_running_loop().time() < 10.0

    run_on("virtual", scenario)


# Peers that see different members.


def forget(swarm: Swarm, those: str, *, at: str) -> None:
    """The peers `at` know nothing of `those`, until the next heartbeat."""
    for name in at:
        for other in those:
            swarm.peers[name].swarm.membership._table.forget(swarm.peers[other].id)


VIEWS = [("cd", "ab"), ("ab", "cd"), ("ad", "bc"), ("b", "acd"), ("abd", "c")]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("those", "at"), VIEWS, ids=["/".join(view) for view in VIEWS])
def test_where_only_some_know_the_others_all_are_in_one_group_a_heartbeat_later(
    those: str, at: str, number: int
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            for peer in swarm.peers.values():
                peer.swarm.membership.reach_round(number)
            await swarm.know_each_other()
            forget(swarm, those, at=at)
            started_s = asyncio.get_running_loop().time()
            await asyncio.gather(*(average_with_all(peer) for peer in swarm.peers.values()))
            assert asyncio.get_running_loop().time() - started_s < 2.5 * TIMING.heartbeat_s

    async def average_with_all(peer: TestPeer) -> None:
        while members_of(await peer.average()) < 4:  # noqa: ASYNC110 - it waits for rounds, and lets time pass
            await asyncio.sleep(0.01)

    run_on("virtual", scenario)


def test_two_peers_that_cannot_reach_each_other_do_not_hold_up_the_others_in_each_round() -> None:
    """Both hear of each other through the rest, so each goes on being expected by the other."""
    network = VirtualNetwork()
    took_s: list[float] = []

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            network.cut("a", "c")
            ends_s = asyncio.get_running_loop().time() + 20.0

            async def take_part(name: str) -> None:
                while (now_s := asyncio.get_running_loop().time()) < ends_s:
                    found = await swarm.peers[name].average()
                    if name in "bd" and members_of(found) > 1:
                        took_s.append(asyncio.get_running_loop().time() - now_s)
                    await asyncio.sleep(0.1)

            await asyncio.gather(*map(take_part, swarm.peers))

    run_on("virtual", scenario, network=network)
    assert len(took_s) > 40


def test_peers_that_allow_groups_of_different_sizes_are_together_as_often_as_others() -> None:
    """Whoever coordinates decides how large groups are; nobody refuses a group for being large."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=GossipSettings(gossip_group_size=2, matchmaking_time=2.0)) as swarm:
            coordinating = swarm.peers["d"].swarm._matchmaker._coordinating
            coordinating._forming._limits = GroupLimits(2, 16)
            for _ in range(8):
                found = await swarm.average()
                assert all(one is not None and one.formation_seconds < 0.1 for one in found.values())
                assert {members_of(one) for one in found.values()} <= {2, 4}

    run_on("virtual", scenario)
