"""Whom peers meet in a swarm that was told to meet in a certain way."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gossiptrain.config import GossipSettings, GroupingName
from tests.swarm.swarms import Swarm, swarm_of
from tests.transports import MakeTransport, run_on


async def sizes_of_groups(swarm: Swarm) -> list[int]:
    """Of one round of all; every peer tells the size of its own group."""
    rounds = await swarm.average()
    assert all(found is not None and found.result.committed for found in rounds.values())
    return sorted(len(found.result.members) for found in rounds.values() if found is not None)


@pytest.mark.parametrize(
    ("grouping", "sizes"),
    [("all", [6] * 6), ("exponential", [2] * 6), ("random", [3] * 6), ("crossed", [3] * 6)],
)
def test_groups_are_of_the_sizes_that_the_setting_promises(grouping: GroupingName, sizes: list[int]) -> None:
    async def scenario(make: MakeTransport) -> None:
        limits = GossipSettings(grouping=grouping, gossip_group_size=3, matchmaking_time=2.0)
        async with swarm_of(make, 6, settings=limits) as swarm:
            assert await sizes_of_groups(swarm) == sizes

    run_on("virtual", scenario)


def test_pairs_of_eight_peers_agree_exactly_after_three_rounds() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 8, settings=GossipSettings(grouping="exponential", matchmaking_time=2.0)) as swarm:
            mean = np.mean([peer.values for peer in swarm.peers.values()], axis=0)
            while swarm.peers["a"].swarm.membership.round % 3:
                await swarm.average()
            for _ in range(3):
                assert await sizes_of_groups(swarm) == [2] * 8
            for peer in swarm.peers.values():
                assert np.allclose(peer.values, mean, atol=1e-6)

    run_on("virtual", scenario)


def test_crossed_groups_of_four_among_eight_agree_exactly_after_two_rounds() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 8, settings=GossipSettings(gossip_group_size=4, matchmaking_time=2.0)) as swarm:
            mean = np.mean([peer.values for peer in swarm.peers.values()], axis=0)
            for _ in range(2):
                assert await sizes_of_groups(swarm) == [4] * 8
            for peer in swarm.peers.values():
                np.testing.assert_allclose(peer.values, mean, atol=1e-6)

    run_on("virtual", scenario)


def test_where_one_wants_everyone_all_that_are_ready_make_one_group() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 7, settings=GossipSettings(gossip_group_size=3, matchmaking_time=2.0)) as swarm:
            mean = np.mean([peer.values for peer in swarm.peers.values()], axis=0)
            await asyncio.gather(
                *(peer.merge() if name == "c" else peer.average() for name, peer in swarm.peers.items())
            )
            for peer in swarm.peers.values():
                np.testing.assert_allclose(peer.values, mean, atol=1e-6)

    run_on("virtual", scenario)
