"""For how long the average of a round is a good beginning for others."""

from __future__ import annotations

import asyncio

import numpy as np

from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.swarm.last_average import GOOD_FOR_INTERVALS, LEAST_GOOD_S, HeldAverage, LastAverage
from tests.swarm.swarms import swarm_of
from tests.transports import MakeTransport, run_on


def some_average(digest: str = "ab") -> HeldAverage:
    return HeldAverage(digest, members=(), step=3, vector=np.zeros(1, np.float32))


def test_it_is_good_for_twice_as_long_as_rounds_are_apart() -> None:
    async def scenario() -> None:
        last = LastAverage(Clock())
        assert last.now() is None
        await asyncio.sleep(60.0)
        held = some_average()
        last.note(held)
        await asyncio.sleep(60.0 * GOOD_FOR_INTERVALS - 0.1)
        assert last.now() is held
        await asyncio.sleep(0.2)
        assert last.now() is None
        last.note(held)
        last.note(held)
        await asyncio.sleep(LEAST_GOOD_S - 0.1)
        assert last.now() is held
        await asyncio.sleep(0.2)
        assert last.now() is None

    run_virtual(scenario())


def test_it_is_gone_as_soon_as_the_next_exchange_writes_over_it() -> None:
    async def scenario() -> None:
        last = LastAverage(Clock())
        held = some_average()
        last.note(held)
        with last.written_over():
            assert last.now() is None
            assert not last.still(held)
            settling = asyncio.create_task(last.settle(within_s=5.0))
            await asyncio.sleep(1.0)
            assert not settling.done()
            last.note(some_average("cd"))
        await settling
        assert last.now() is not None
        assert not last.still(held)

    run_virtual(scenario())


def test_an_exchange_that_takes_long_is_waited_for_no_longer_than_was_said() -> None:
    async def scenario() -> None:
        last = LastAverage(Clock())
        began_s = asyncio.get_running_loop().time()
        with last.written_over():
            await last.settle(within_s=2.0)
        assert asyncio.get_running_loop().time() - began_s == 2.0

    run_virtual(scenario())


def test_members_of_a_round_hold_one_average_and_who_finds_no_group_keeps_the_one_it_had() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await swarm.average("a", "b", "c")
            held = [peer.swarm.last_average.now() for peer in swarm.peers.values()]
            assert len({average.digest for average in held if average is not None}) == 1
            assert all(average is not None and len(average.members) == 3 for average in held)
            assert await swarm.peers["a"].average() is None
            assert swarm.peers["a"].swarm.last_average.now() is held[0]

    run_on("virtual", scenario)
