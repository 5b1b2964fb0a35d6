"""A donor that dies, restarts or freezes while it gives the parameters costs the joiner and the swarm at most three
seconds, and the joiner begins with the swarm's parameters all the same.

`pytest -s` prints what each point costs.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from gossiptrain.config import PRESETS, GossipSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.joining import in_order
from tests.swarm.interruptions import Fault, ObservedNetwork, Point, Victim, points
from tests.swarm.swarms import ELEMENTS, Swarm, TestPeer, swarm_of
from tests.transports import MakeTransport, run_on

LATENCY_S = 0.002
MOST_S = 3.0 + 4 * LATENCY_S
"""Where it is to coordinate the next round, too, it is missed when its heartbeat is 3 s old; then others talk."""
JOINERS_LINKS = LinkSettings(LATENCY_S, bandwidth_bytes_per_s=100_000.0)
BUFFER_BYTES = 1500
"""More than a slice in a round; of the parameters most are not yet on their way when the first of them arrive."""
TIMING = PRESETS["local"].model_copy(update={"chunk_bytes": 256})
"""Sixteen chunks for the parameters of these swarms."""
JOINER = "e"
BEFORE = Point("before the request", sends=True, number=1)
POINTS = [BEFORE, *points("state", received=(1,), sent=tuple(range(1, 19)))]
"""The donor is sent the request, says that it has heard it, makes its offer, and sends digests and chunks."""
HELPER_POINTS = points("state", received=(1, 2, 3), sent=tuple(range(1, 6)))


def begin_anew(peer: TestPeer) -> None:
    """From now on it says that it has no parameters of the swarm."""
    membership = peer.swarm.membership
    membership.describe(replace(membership.own, joined=False, ready_in_s=None))


async def begin(peer: TestPeer) -> ReceivedState | None:
    into = np.zeros(ELEMENTS, np.float32)
    received = await peer.swarm.take_state(into)
    if received is not None:
        peer.values[:] = into
    return received


async def begin_again(peer: TestPeer) -> None:
    """What a donor does that was started again with nothing of its earlier life: it is a joiner itself."""
    begin_anew(peer)
    await begin(peer)
    while True:
        await peer.average()


@dataclass(frozen=True)
class Costs:
    """From the moment at which the joiner asks, in seconds."""

    joining_s: float
    rounds_s: float
    """Until the other trainers have ended their second round."""


class Course:
    """Two rounds of four peers, while a fifth is given the parameters by one that is interrupted."""

    def __init__(self, point: Point | None, fault: Fault, *, place: int = 0) -> None:
        """place: of the donor that is interrupted, in the order in which donors are asked."""
        self._point, self._fault, self._place = point, fault, place
        self._network = ObservedNetwork(latency_s=LATENCY_S, buffer_bytes=BUFFER_BYTES)

    def costs(self) -> Costs:
        return run_on("virtual", self._run, network=self._network)

    async def _run(self, make: MakeTransport) -> Costs:
        async with swarm_of(make, 4, settings=GossipSettings(), timing=TIMING) as swarm:
            await swarm.average()
            parameters = swarm.peers["a"].values.copy()
            trainers = list(swarm.peers)
            joiner = await self._newcomer(swarm)
            donor = in_order({swarm.peers[name].id: 0 for name in trainers})[self._place]
            victim = Victim(self._network, swarm, str(donor), fault=self._fault, life=begin_again)
            if self._point == BEFORE:
                victim.strike()
            elif self._point is not None:
                self._network.interrupt(self._point, victim=victim.name, action=victim.strike)
            rounds = [name for name in trainers if self._point is None or name != victim.name]
            costs = await self._measure(swarm, joiner, rounds=rounds, victim=victim)
            assert self._network.interrupted, "the point is not reached in this transfer"
            assert_same(joiner.values, parameters)
            for name in rounds:
                assert_same(swarm.peers[name].values, parameters)
            await victim.end()
            return costs

    async def _newcomer(self, swarm: Swarm) -> TestPeer:
        for name in swarm.peers:
            self._network.set_link(name, JOINER, settings=JOINERS_LINKS)
        joiner = await swarm.add(JOINER)
        begin_anew(joiner)
        await joiner.swarm.membership.announce_widely()
        return joiner

    async def _measure(self, swarm: Swarm, joiner: TestPeer, *, rounds: list[str], victim: Victim) -> Costs:
        clock = joiner.swarm.transport.clock
        started_s = clock.now()
        missing, all_have_two = dict.fromkeys(rounds, 2), asyncio.Event()

        async def average(name: str) -> None:
            while True:
                averaged = await swarm.peers[name].average()
                missing[name] -= averaged is not None and averaged.result.committed
                if max(missing.values()) <= 0:
                    all_have_two.set()

        async def join() -> float:
            received = await begin(joiner)
            assert received is not None, "it began with its own parameters"
            return clock.now() - started_s

        averaging = [asyncio.create_task(average(name)) for name in rounds]
        if victim.name not in rounds:
            victim.work.append(asyncio.create_task(swarm.peers[victim.name].average()))
        joining = asyncio.create_task(join())
        await all_have_two.wait()
        rounds_s = clock.now() - started_s
        joining_s = await joining
        for task in averaging:
            task.cancel()
        await asyncio.gather(*averaging, return_exceptions=True)
        return Costs(joining_s, rounds_s)


def assert_same(values: Vector, parameters: Vector) -> None:
    np.testing.assert_allclose(values, parameters, rtol=1e-5, atol=1e-6)


@functools.cache
def undisturbed() -> Costs:
    return Course(None, "crash").costs()


@pytest.mark.parametrize("fault", ["crash", "restart", "freeze"])
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_donor_that_is_interrupted_costs_the_joiner_and_the_swarm_at_most_three_seconds(
    point: Point, fault: Fault
) -> None:
    costs_at_most_three_seconds(Course(point, fault), f"{fault:8} {point!s}")


@pytest.mark.parametrize("fault", ["crash", "restart", "freeze"])
@pytest.mark.parametrize("point", HELPER_POINTS, ids=str)
def test_so_does_one_that_gives_a_part_of_them_beside_another_one(point: Point, fault: Fault) -> None:
    costs_at_most_three_seconds(Course(point, fault, place=1), f"{fault:8} helper, {point!s}")


def costs_at_most_three_seconds(course: Course, what: str) -> None:
    costs, usual = course.costs(), undisturbed()
    joining_s, rounds_s = costs.joining_s - usual.joining_s, costs.rounds_s - usual.rounds_s
    sys.stdout.write(f"\n{what:40} joiner {joining_s:6.2f} s, swarm {rounds_s:6.2f} s")
    assert joining_s <= MOST_S
    assert rounds_s <= MOST_S


def test_a_joiner_whose_only_donor_freezes_says_so_and_waits_for_it_with_nothing() -> None:
    network = ObservedNetwork(latency_s=LATENCY_S, buffer_bytes=BUFFER_BYTES)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2, timing=TIMING) as swarm:
            donor, joiner = swarm.peers["a"], swarm.peers["b"]
            begin_anew(joiner)
            await joiner.swarm.membership.announce_widely()
            said: asyncio.Queue[str] = asyncio.Queue()
            joiner.swarm._joining._report = said.put_nowait
            network.interrupt(points("state", sent=(9,))[0], victim="a", action=lambda: network.freeze("a"))
            beginning = asyncio.create_task(begin(joiner))
            assert await said.get() == "waiting for the swarm's parameters: no peer that has them answers"
            assert network.interrupted
            assert not beginning.done()
            network.thaw("a")
            received = await beginning
            assert received is not None
            assert joiner.values.tobytes() == donor.values.tobytes()

    run_on("virtual", scenario, network=network)
