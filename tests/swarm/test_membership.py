"""What follows from what members have said: when each is ready, when it ends, and who takes part in a round."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gossiptrain.swarm.ending import Grace
from gossiptrain.swarm.own_heartbeat import OwnState
from tests.swarm.swarms import swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


def test_readiness_counts_down_between_heartbeats() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            b.swarm.membership.describe(OwnState(ready_in_s=10.0))
            await b.swarm.membership.announce()
            await b.stop()
            await asyncio.sleep(1.0)
            assert a.swarm.membership.outlooks()[b.id].ready_in_s == pytest.approx(9.0, abs=0.1)

    run_on("virtual", scenario)


@on_both_transports
def test_who_has_made_all_its_steps_is_in_no_round_until_it_wants_to_merge(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            ended, others = swarm.peers["c"], [swarm.peers["a"], swarm.peers["b"]]

            async def say(**of_the_end: Any) -> None:
                membership = ended.swarm.membership
                membership.describe(replace(membership.own, **of_the_end))
                await membership.announce()

            await say(ends_in_s=0.0, ready_in_s=None)
            for peer in others:
                await until(lambda peer=peer: ended.id in peer.swarm.membership.ended())  # type: ignore[misc]
            found = await swarm.average("a", "b")
            for averaged in found.values():
                assert averaged is not None
                assert set(averaged.result.members) == {peer.id for peer in others}
            merges = asyncio.create_task(ended.end(Grace(longest_s=0.0, unknown_s=0.0, least_s=0.0)))
            for peer in others:
                await until(lambda peer=peer: peer.swarm.membership.outlooks()[ended.id].finishing)  # type: ignore[misc]
            for averaged in await asyncio.gather(merges, *(peer.average() for peer in others)):
                assert averaged is not None
                assert len(averaged.result.members) == 3

    run_on(kind, scenario)


def test_it_is_known_when_others_will_have_made_their_steps_and_time_passes() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watching, other = swarm.peers["a"].swarm.membership, swarm.peers["b"].swarm.membership
            assert set(watching.others_end_in_s().values()) == {None}
            other.describe(replace(other.own, ends_in_s=2.0))
            await other.announce()
            await until(lambda: watching.others_end_in_s()[other.me] is not None)
            first_s = watching.others_end_in_s()[other.me]
            assert first_s is not None
            assert 0.0 < first_s <= 2.0
            other.describe(replace(other.own, ends_in_s=0.0))
            await other.announce()
            await until(lambda: other.me not in watching.others_end_in_s())
            assert watching.ended() == {other.me}

    run_on("virtual", scenario)


def test_what_is_expected_of_others_comes_in_one_order_whatever_hashes_are() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 6) as swarm:
            for peer in swarm.peers.values():
                assert list(peer.swarm.membership.outlooks()) == sorted(swarm.peers)

    run_on("virtual", scenario)
