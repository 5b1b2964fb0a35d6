"""Peers that end within a grace of each other make one last group, and all end with one model."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.net.virtual.network import VirtualNetwork, VirtualTransport
from gossiptrain.swarm.dissemination import HEARTBEATS
from gossiptrain.swarm.ending import EndingBarrier, Farewell, FarewellDeadline, Grace
from gossiptrain.swarm.fragments import WholeModel
from gossiptrain.swarm.participation import AveragedRound
from tests.swarm.swarms import TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

GRACE = Grace(longest_s=10.0, unknown_s=10.0, least_s=3.0)
SETTINGS = GossipSettings(matchmaking_time=2.0, gossip_group_size=4)


async def end_after(peer: TestPeer, delay_s: float, *, grace: Grace = GRACE) -> AveragedRound | None:
    await peer.swarm.transport.clock.sleep(delay_s)
    return await peer.end(grace)


async def join_when_asked(peer: TestPeer) -> AveragedRound | None:
    """Trains until somebody wants a round with everyone, and takes part in it."""
    while "finishing" not in [change for change, _ in peer.changes]:
        await peer.swarm.transport.clock.sleep(0.01)
    return await peer.average()


def assert_all_equal(swarm: Swarm, *names: str) -> None:
    values = {name: swarm.peers[name].values.tobytes() for name in names or tuple(swarm.peers)}
    assert len(set(values.values())) == 1, f"{len(set(values.values()))} different models among {sorted(values)}"


@on_both_transports
@pytest.mark.parametrize("apart_s", [0.0, 0.1, 0.7])
def test_four_that_end_one_after_the_other_are_in_one_group(kind: Kind, apart_s: float) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=SETTINGS) as swarm:
            mean = np.mean([peer.values for peer in swarm.peers.values()], axis=0)
            ends = [end_after(peer, number * apart_s) for number, peer in enumerate(swarm.peers.values())]
            for averaged in await asyncio.gather(*ends):
                assert averaged is not None
                assert averaged.final
                assert averaged.ended
                assert len(averaged.result.members) == 4
            assert_all_equal(swarm)
            np.testing.assert_allclose(swarm.peers["a"].values, mean, atol=1e-6)

    run_on(kind, scenario)


def test_more_than_fit_in_a_usual_group_end_as_one() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 11, settings=SETTINGS) as swarm:
            await asyncio.gather(*(end_after(peer, 0.05 * n) for n, peer in enumerate(swarm.peers.values())))
            assert_all_equal(swarm)

    run_on("virtual", scenario)


def test_many_that_end_at_one_moment_do_so_with_few_exchanges_of_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_stream = VirtualTransport.open_stream

    async def counted(self: VirtualTransport, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        opened.append(protocol)
        return await open_stream(self, peer, protocol, bulk_bytes=bulk_bytes)

    async def end_and_leave(peer: TestPeer) -> None:
        await peer.end(GRACE)
        await peer.swarm.leave()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 24, settings=SETTINGS) as swarm:
            monkeypatch.setattr(VirtualTransport, "open_stream", counted)
            await asyncio.gather(*map(end_and_leave, swarm.peers.values()))
            assert_all_equal(swarm)
            assert opened.count(HEARTBEATS) < 24 * 24, "each telling each other once would be so many"

    run_on("virtual", scenario)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_rounds_are_under_way_all_that_end_within_the_grace_are_equal(seed: int) -> None:
    """Each has ordinary rounds at a pace of its own, learns between them, and ends at a moment of its own."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=SETTINGS) as swarm:
            await asyncio.gather(*(live(peer, rng) for peer in swarm.peers.values()))
            assert_all_equal(swarm)

    async def live(peer: TestPeer, rng: random.Random) -> None:
        clock = peer.swarm.transport.clock
        ends_at_s = clock.now() + 2.0 + rng.uniform(0.0, rng.choice([0.01, 0.5, 2.5]))
        pace_s = rng.uniform(0.01, 0.3)
        round_under_way: asyncio.Task[AveragedRound | None] | None = None
        while clock.now() < ends_at_s:
            await clock.sleep(pace_s)
            peer.values += rng.uniform(-1.0, 1.0)
            if round_under_way is None or round_under_way.done():
                round_under_way = asyncio.create_task(peer.average())
        await peer.swarm.participation.say_ended()
        peer.swarm.participation.stop_finding()
        if round_under_way is not None:
            await round_under_way
        await peer.end(GRACE)

    rng = random.Random(seed)
    network = VirtualNetwork(latency_s=rng.choice([0.001, 0.02, 0.1]))
    run_on("virtual", scenario, network=network)


def test_who_says_that_it_ends_soon_is_waited_for_and_who_does_not_is_not() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=SETTINGS) as swarm:
            clock = swarm.peers["a"].swarm.transport.clock
            for name, ends_in_s in (("b", 6.0), ("c", 500.0)):
                membership = swarm.peers[name].swarm.membership
                membership.describe(replace(membership.own, ready_in_s=None, ends_in_s=ends_in_s))
                await membership.announce_widely()
            began_s = clock.now()
            await asyncio.gather(end_after(swarm.peers["a"], 0.0), end_after(swarm.peers["b"], 6.0))
            assert 6.0 <= clock.now() - began_s < 10.0
            assert_all_equal(swarm, "a", "b")

    run_on("virtual", scenario)


def test_those_that_train_on_are_waited_for_no_longer_than_the_least_grace() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=SETTINGS) as swarm:
            clock = swarm.peers["a"].swarm.transport.clock
            for name in "bc":
                membership = swarm.peers[name].swarm.membership
                membership.describe(replace(membership.own, ends_in_s=500.0))
                await membership.announce_widely()
            began_s = clock.now()
            averaged, *_ = await asyncio.gather(
                end_after(swarm.peers["a"], 0.0), *(join_when_asked(swarm.peers[name]) for name in "bc")
            )
            assert averaged is not None
            assert averaged.ended
            assert not averaged.final
            assert len(averaged.result.members) == 3
            assert 3.0 <= clock.now() - began_s < 4.0

    run_on("virtual", scenario)


def test_the_first_whose_grace_is_over_takes_all_with_it_that_have_ended() -> None:
    """The fourth never ends; the first ended 2 s before the third, and its grace ends 2 s earlier."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=SETTINGS) as swarm:
            membership = swarm.peers["d"].swarm.membership
            membership.describe(replace(membership.own, ready_in_s=None))
            ended = await asyncio.gather(*(end_after(swarm.peers[name], 1.0 * n) for n, name in enumerate("abc")))
            assert [found is not None and found.ended for found in ended] == [True, True, True]
            assert_all_equal(swarm, "a", "b", "c")

    run_on("virtual", scenario)


def test_who_expects_others_to_end_waits_for_them_though_one_in_a_hurry_has_taken_everybody_into_a_round() -> None:
    """The first has ended and leaves at once; the second has, too; the other two say that they end in 4 s, and do."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=SETTINGS) as swarm:
            hurried, waiting, *training = swarm.peers.values()
            for peer in training:
                peer.swarm.membership.describe(replace(peer.swarm.membership.own, ready_in_s=3.0, ends_in_s=4.0))
                await peer.swarm.membership.announce_widely()
            async with asyncio.timeout(20.0):
                left, *_ = await asyncio.gather(
                    end_and_leave(hurried), waiting.end(GRACE), *(train_until_the_end(peer) for peer in training)
                )
            assert left is not None
            assert len(left.result.members) == 4
            assert not left.final
            assert_all_equal(swarm, *(peer.name for peer in (waiting, *training)))

    async def end_and_leave(peer: TestPeer) -> AveragedRound | None:
        averaged = await peer.end(Grace(longest_s=0.5, unknown_s=0.5, least_s=0.5))
        await peer.swarm.leave()
        await peer.stop()
        await peer.swarm.transport.close()
        return averaged

    async def train_until_the_end(peer: TestPeer) -> None:
        clock = peer.swarm.transport.clock
        ends_at_s = clock.now() + 4.0
        await join_when_asked(peer)
        peer.values += 1.0
        await clock.sleep(ends_at_s - clock.now())
        await peer.end(GRACE)

    run_on("virtual", scenario)


@pytest.mark.parametrize(("cuts_short", "hastened"), [(False, False), (True, False), (False, True)])
def test_a_last_round_that_has_its_group_takes_as_long_as_it_takes_unless_it_is_cut_short(
    cuts_short: bool, hastened: bool
) -> None:
    farewell = Farewell(grace=GRACE, patience_s=2.0, cuts_short=cuts_short)
    deadline = FarewellDeadline(farewell, now_s=0.0)
    last_s = farewell.longest_s
    assert not deadline.is_over(last_s - 0.1, under_way=False)
    assert deadline.is_over(last_s, under_way=False)
    if hastened:
        deadline.hasten(0.0)
    assert deadline.is_over(last_s + 600.0, under_way=True) == (cuts_short or hastened)


def test_whoever_was_in_a_final_round_is_not_expected_to_end_still() -> None:
    """That it has made its last step may be heard after the round in which it was shown."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=SETTINGS) as swarm:
            a, b, c = swarm.peers.values()
            barrier = EndingBarrier(a.swarm.membership, a.swarm.transport.clock, longest_nap_s=0.1)
            for peer in (b, c):
                peer.swarm.membership.describe(replace(peer.swarm.membership.own, ends_in_s=4.0))
                await peer.swarm.membership.announce_widely()
            barrier.note_round([a.id, b.id], final=True)
            assert barrier.expects_others(GRACE)
            barrier.note_round([a.id, b.id, c.id], final=False)
            assert barrier.expects_others(GRACE)
            barrier.note_round([a.id, b.id, c.id], final=True)
            assert not barrier.expects_others(GRACE)
            assert await barrier.wait(GRACE)

    run_on("virtual", scenario)


def test_a_last_round_without_one_that_has_ended_is_not_the_end() -> None:
    """The third has made its last step and does not come: those that averaged without it must not leave yet."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=SETTINGS) as swarm:
            await swarm.peers["c"].swarm.participation.say_ended()
            for averaged in await asyncio.gather(*(last_round(swarm.peers[name]) for name in "ab")):
                assert averaged is not None
                assert averaged.result.committed
                assert len(averaged.result.members) == 2
                assert not averaged.ended

    async def last_round(peer: TestPeer) -> AveragedRound | None:
        peer.buffers.snapshot[:] = peer.values
        return await peer.swarm.participation.end(
            WholeModel(peer.buffers), samples=1, farewell=Farewell(grace=GRACE, patience_s=2.0)
        )

    run_on("virtual", scenario)


def test_one_that_dies_while_it_waits_costs_the_others_its_lifetime_and_a_dial() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=SETTINGS) as swarm:
            clock = swarm.peers["a"].swarm.transport.clock
            ends = [asyncio.create_task(end_after(swarm.peers[name], 0.0)) for name in "abc"]
            await clock.sleep(1.0)
            network.freeze("d")
            began_s = clock.now()
            await asyncio.gather(*ends)
            assert clock.now() - began_s <= TIMING.lifetime_s + TIMING.dial_timeout_s + 0.5
            assert_all_equal(swarm, "a", "b", "c")
            network.thaw("d")

    run_on("virtual", scenario, network=network)


def test_alone_there_is_nothing_to_wait_for() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1, settings=SETTINGS) as swarm:
            clock = swarm.peers["a"].swarm.transport.clock
            began_s = clock.now()
            assert await swarm.peers["a"].end(GRACE) is None
            assert clock.now() == began_s

    run_on("virtual", scenario)


@pytest.mark.parametrize("stays", [True, False])
def test_a_follow_up_takes_place_where_all_stay_for_it(stays: bool) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=SETTINGS) as swarm:
            ends = [peer.end(GRACE, follow_up=stays or name != "c") for name, peer in swarm.peers.items()]
            for averaged in await asyncio.gather(*ends):
                assert averaged is not None
                assert averaged.follow_up is stays

    run_on("virtual", scenario)


def test_a_round_with_everyone_in_the_middle_ends_nobody() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=SETTINGS) as swarm:
            merged, *others = await asyncio.gather(
                swarm.peers["a"].merge(), swarm.peers["b"].average(), swarm.peers["c"].average()
            )
            for averaged in (merged, *others):
                assert averaged is not None
                assert not averaged.final
            assert not swarm.peers["a"].swarm.membership.own.finishing
            assert [len(found.result.members) for found in (await swarm.average()).values() if found] == [3, 3, 3]

    run_on("virtual", scenario)
