"""Whom a coordinator waits for, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm import stragglers
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.outlook import Outlook
from gossiptrain.swarm.own_heartbeat import OwnState
from tests.swarm.swarms import TIMING, swarm_of
from tests.swarm.test_matchmaking import members_of, seconds_of_rounds
from tests.transports import MakeTransport, run_on


def test_a_straggler_that_says_it_comes_soon_is_waited_for() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            tasks = [asyncio.create_task(swarm.peers[name].average()) for name in "ab"]
            await asyncio.sleep(1.0)
            late = await swarm.peers["c"].average()
            assert [members_of(await task) for task in tasks] == [3, 3]
            assert members_of(late) == 3

    run_on("virtual", scenario)


def test_a_straggler_is_waited_for_no_longer_than_matchmaking_time() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=GossipSettings(matchmaking_time=1.0)) as swarm:
            started_s = asyncio.get_running_loop().time()
            rounds = await swarm.average("a", "b")
            assert [members_of(found) for found in rounds.values()] == [2, 2]
            assert 1.0 <= asyncio.get_running_loop().time() - started_s <= 1.2

    run_on("virtual", scenario)


def test_where_many_are_ready_nobody_else_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "MANY_READY", 3)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 5) as swarm:
            rounds = await swarm.average("a", "b", "c")
            assert [members_of(found) for found in rounds.values()] == [3, 3, 3]
            assert all(found is not None and found.formation_seconds < 0.1 for found in rounds.values())
            later = await swarm.average("d", "e")
            assert [members_of(found) for found in later.values()] == [2, 2]

    run_on("virtual", scenario)


@pytest.mark.parametrize("ready_in_s", [30.0, None])
def test_a_peer_that_says_it_is_far_from_ready_is_not_waited_for(ready_in_s: float | None) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            swarm.peers["c"].swarm.membership.describe(OwnState(ready_in_s=ready_in_s))
            await asyncio.sleep(3 * TIMING.heartbeat_s)
            rounds = await swarm.average("a", "b")
            assert all(found is not None and found.formation_seconds < 0.1 for found in rounds.values())

    run_on("virtual", scenario)


# Promises that are not kept.


@pytest.mark.parametrize("finishing", [False, True])
def test_who_says_it_is_ready_for_ever_and_never_comes_costs_one_round_and_not_each(finishing: bool) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 5) as swarm:
            liar = swarm.peers["e"].swarm.membership
            liar.describe(OwnState(ready_in_s=0.0, finishing=finishing))
            await liar.announce_widely()
            took_s = await seconds_of_rounds(swarm, *"abcd", rounds=8)
            # Once where another one coordinates, and once where it does so itself.
            assert sum(took_s) < 2 * 2.0 + 0.5, took_s
            assert sum(took_s[4:]) < 0.5, took_s

    run_on("virtual", scenario)


def test_who_was_waited_for_in_vain_is_waited_for_again_once_it_has_taken_part() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await seconds_of_rounds(swarm, "a", "b", rounds=3)
            early = asyncio.create_task(swarm.peers["c"].average())
            await asyncio.sleep(0.1)
            await swarm.average("a", "b")
            assert members_of(await early) == 3
            tasks = [asyncio.create_task(swarm.peers[name].average()) for name in "ab"]
            await asyncio.sleep(1.0)
            assert members_of(await swarm.peers["c"].average()) == 3
            await asyncio.gather(*tasks)

    run_on("virtual", scenario)


def test_who_stops_saying_when_it_is_ready_is_not_waited_for_from_the_next_heartbeat_on() -> None:
    """As the node of a frozen trainer does."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=GossipSettings(matchmaking_time=20.0)) as swarm:
            tasks = [asyncio.create_task(swarm.peers[name].average()) for name in "abc"]
            await asyncio.sleep(0.5)
            assert not any(task.done() for task in tasks)
            swarm.peers["d"].swarm.membership.describe(OwnState(ready_in_s=None))
            told_s = asyncio.get_running_loop().time()
            assert [members_of(await task) for task in tasks] == [3, 3, 3]
            assert asyncio.get_running_loop().time() - told_s < 3 * TIMING.heartbeat_s
            assert sum(await seconds_of_rounds(swarm, *"abc", rounds=4)) < 0.5

    run_on("virtual", scenario)


# Many at once.


def test_a_coordinator_does_not_look_at_everybody_again_for_each_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    outlooks = Membership.outlooks

    def counted(membership: Membership) -> dict[PeerId, Outlook]:
        nonlocal looks
        looks += 1
        return outlooks(membership)

    def looks_while_one_is_late(ready: int) -> int:
        async def scenario(make: MakeTransport) -> None:
            nonlocal looks
            async with swarm_of(make, ready + 1) as swarm:
                *early, late = swarm.peers.values()
                tasks = [asyncio.create_task(peer.average()) for peer in early]
                await asyncio.sleep(0.5)
                looks = 0
                await asyncio.sleep(1.0)
                seen, told_s = looks, asyncio.get_running_loop().time()
                await late.average()
                await asyncio.gather(*tasks)
                took_s = asyncio.get_running_loop().time() - told_s
                assert took_s < 0.2, "nobody waits any more once the last one is there"
                looks = seen

        run_on("virtual", scenario)
        return looks

    monkeypatch.setattr(Membership, "outlooks", counted)
    few, many = looks_while_one_is_late(12), looks_while_one_is_late(48)
    assert 0 < many < 2 * few, (few, many)
