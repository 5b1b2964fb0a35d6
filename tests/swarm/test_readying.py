"""Ways to others are made shortly before a round, and only where it is clear who will meet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.net.virtual.network import VirtualTransport
from tests.swarm.swarms import ELEMENTS, Swarm, TestPeer, swarm_of
from tests.transports import MakeTransport, run_on


class Prepared:
    """For whom a peer has made ways, and for how many bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[PeerId, int]] = []
        self.fails = False

        async def note(transport: VirtualTransport, peer: PeerId, *, bulk_bytes: int) -> None:
            if transport.peer_id == "a":
                self.calls.append((peer, bulk_bytes))
            if self.fails:
                raise UnreachableError("it has gone")

        monkeypatch.setattr(VirtualTransport, "prepare", note)

    async def by(self, peer: TestPeer, *, ready_in_s: float | None) -> list[PeerId]:
        """Those for whom it does so now that it says when it is ready."""
        membership = peer.swarm.membership
        membership.describe(replace(membership.own, ready_in_s=ready_in_s))
        self.calls.clear()
        await peer.swarm._readying.prepare()
        return sorted(other for other, _ in self.calls)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Prepared:
    return Prepared(monkeypatch)


def a(swarm: Swarm) -> TestPeer:
    return swarm.peers["a"]


def test_ways_to_all_are_made_shortly_before_a_round_and_not_earlier(prepared: Prepared) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            assert await prepared.by(a(swarm), ready_in_s=0.5) == ["b", "c", "d"]
            assert {size for _, size in prepared.calls} == {2 * 4 * ELEMENTS // 4}
            assert await prepared.by(a(swarm), ready_in_s=60.0) == []
            assert await prepared.by(a(swarm), ready_in_s=None) == [], "it is in a round, or has none before it"

    run_on("virtual", scenario)


def test_nobody_is_reached_where_there_are_more_than_fit_into_a_group(prepared: Prepared) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=GossipSettings(gossip_group_size=3)) as swarm:
            assert await prepared.by(a(swarm), ready_in_s=0.0) == []

    run_on("virtual", scenario)


def test_who_cannot_be_reached_keeps_nobody_from_the_round(prepared: Prepared) -> None:
    prepared.fails = True

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            assert await prepared.by(a(swarm), ready_in_s=0.0) == ["b", "c"]
            rounds = await swarm.average()
            assert all(found is not None and found.result.committed for found in rounds.values())

    run_on("virtual", scenario)
