"""A peer whose wall clock is wrong by an hour finds others through its initial peers, and is found by them.

Only entries in the directory carry a time of day. All peers of a test live in one process, so each has its clock by the
context that its tasks run in.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from gossiptrain.swarm.admission import Admission
from tests.swarm.swarms import TIMING, Swarm, TestPeer, swarm_of
from tests.transports import MakeTransport, run_on

HOUR_S = 3600.0
wrong_by_s: contextvars.ContextVar[float] = contextvars.ContextVar("wrong_by_s", default=0.0)


def _wall_clock() -> float:
    return time.time() + wrong_by_s.get()


@pytest.fixture(params=[-HOUR_S, HOUR_S])
def offset_s(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """By how much a clock is wrong; from now on the directory goes by the clock of whoever asks."""
    import gossiptrain.net.libp2p.transport  # noqa: F401 - which loads all modules that know the time of day

    for module in list(sys.modules.values()):
        if getattr(module, "get_dht_time", None) is time.time:
            monkeypatch.setattr(module, "get_dht_time", _wall_clock)
    return float(request.param)


async def add_with_wrong_clock(swarm: Swarm, offset_s: float, *, initial: str | None = "first") -> TestPeer:
    async def add() -> TestPeer:
        wrong_by_s.set(offset_s)
        return await swarm.add("wrong", initial=initial)

    return await asyncio.create_task(add())


def test_it_finds_the_others_and_newcomers_find_them_through_it(offset_s: float) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            await add_with_wrong_clock(swarm, offset_s)
            await swarm.know_each_other()
            await swarm.add("late", initial="wrong")
            await swarm.know_each_other()
            rounds = await swarm.average()
            assert all(found is not None and len(found.result.members) == 4 for found in rounds.values())

    run_on("libp2p", scenario)


def test_where_there_is_only_the_directory_one_side_finds_the_other(offset_s: float) -> None:
    """Entries of the past are not seen, those of the near future are; so of two clocks, one sees the other's entry."""

    async def scenario(make: MakeTransport) -> None:
        helper = await make("helper")
        await Admission(helper, None, timing=TIMING).open()
        async with swarm_of(make, 0) as swarm:
            right = await swarm.add("right", initial=None)
            wrong = await add_with_wrong_clock(swarm, offset_s, initial=None)
            await right.swarm.join([helper.addresses[0]])
            await _in_context(offset_s, wrong.swarm.join([helper.addresses[0]]))
            await swarm.know_each_other()

    run_on("libp2p", scenario)


async def _in_context(offset_s: float, work: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        wrong_by_s.set(offset_s)
        await work

    await asyncio.create_task(run())
