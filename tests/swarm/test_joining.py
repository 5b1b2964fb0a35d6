"""Peers that begin take the swarm's parameters, or agree on whose they begin with."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import Clock, PeerId, Transport
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.joining import in_order
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on


async def begin(peer: TestPeer) -> ReceivedState | None:
    """Takes the state over where there is one."""
    into = np.zeros(ELEMENTS, np.float32)
    received = await peer.swarm.take_state(into)
    if received is not None:
        peer.values[:] = into
    return received


async def begin_anew(peer: TestPeer, *, step: int = 0) -> None:
    membership = peer.swarm.membership
    membership.describe(replace(membership.own, joined=False, step=step, ready_in_s=None))
    await membership.announce_widely()


def distinct_values(swarm: Swarm) -> int:
    return len({peer.values.tobytes() for peer in swarm.peers.values()})


@on_both_transports
@pytest.mark.parametrize("count", [2, 4])
def test_of_peers_that_begin_at_one_moment_one_founds_and_the_others_take_its_parameters(
    kind: Kind, count: int
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, count) as swarm:
            clock = swarm.peers["a"].swarm.transport.clock
            began_s = clock.now()
            for peer in swarm.peers.values():
                await begin_anew(peer)
            received = await asyncio.gather(*map(begin, swarm.peers.values()))
            assert received.count(None) == 1
            assert distinct_values(swarm) == 1
            assert clock.now() - began_s < 5.0

    run_on(kind, scenario)


def test_of_peers_that_resume_the_one_in_the_middle_founds_and_a_liar_does_not() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            steps = dict(zip("abcd", (300, 310, 10**9, 305), strict=True))
            for name, step in steps.items():
                await begin_anew(swarm.peers[name], step=step)
                await swarm.peers[name].swarm.membership.announce_widely()
            received = await asyncio.gather(*map(begin, swarm.peers.values()))
            founders = [name for name, found in zip("abcd", received, strict=True) if found is None]
            assert founders == ["d"]

    run_on("virtual", scenario)


class NegativeClock(Clock):
    """Only differences of its times mean anything."""

    def now(self) -> float:
        return super().now() - 3600.0


def test_a_joiner_whose_clock_begins_below_zero_asks_and_finds_others_at_once() -> None:
    async def scenario(make: MakeTransport) -> None:
        async def make_with_clock(name: str) -> Transport:
            transport = await make(name)
            transport.clock = NegativeClock() if name == "b" else transport.clock
            return transport

        async with swarm_of(make_with_clock, 2) as swarm:
            await begin_anew(swarm.peers["b"])
            async with asyncio.timeout(TIMING.dial_timeout_s):
                assert await begin(swarm.peers["b"]) is not None
            book = swarm.peers["b"].swarm.reunion.book
            book.note_named(["/memory/c/p2p/c"], now_s=NegativeClock().now(), initial=False)
            assert PeerId("c") in book.due(NegativeClock().now())

    run_on("virtual", scenario)


def test_a_joiner_waits_for_a_donor_that_cannot_give_yet_and_never_begins_with_its_own() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor, joiner = swarm.peers["a"], swarm.peers["b"]
            refused = asyncio.Event()
            allowed = False
            honest = donor.swarm._state_server._donate

            async def donate(held: object, fragment: int) -> object:
                refused.set()
                return await honest(None, fragment) if allowed else None

            donor.swarm._state_server._donate = donate  # type: ignore[assignment]
            await begin_anew(joiner)
            beginning = asyncio.create_task(begin(joiner))
            await refused.wait()
            await asyncio.sleep(60.0)
            assert not beginning.done()
            allowed = True
            received = await beginning
            assert received is not None
            assert joiner.values.tobytes() == donor.values.tobytes()

    run_on("virtual", scenario)


def test_a_joiner_is_seen_alive_for_as_long_as_it_waits_and_downloads() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor, joiner = swarm.peers["a"], swarm.peers["b"]
            honest = donor.swarm._state_server._donate

            async def donate_late(held: object, fragment: int) -> object:
                await asyncio.sleep(10 * TIMING.lifetime_s)
                return await honest(None, fragment)

            donor.swarm._state_server._donate = donate_late  # type: ignore[assignment]
            await begin_anew(joiner)
            received = await begin(joiner)
            assert received is not None
            assert received.seconds > 10 * TIMING.lifetime_s
            assert ("lost", joiner.id) not in donor.changes
            assert ("lost", donor.id) not in joiner.changes

    run_on("virtual", scenario)


def test_a_joiner_of_a_swarm_takes_no_part_in_rounds_before_it_has_the_parameters() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await begin_anew(swarm.peers["c"])
            rounds = await swarm.average("a", "b")
            assert all(found is not None and found.formation_seconds < 0.5 for found in rounds.values())
            assert swarm.peers["a"].swarm.membership.trainers() == {swarm.peers["a"].id, swarm.peers["b"].id}

    run_on("virtual", scenario)


def test_a_donor_that_claims_to_be_far_ahead_is_not_believed() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            for name, step in (("a", 100), ("b", 120), ("c", 10**9)):
                membership = swarm.peers[name].swarm.membership
                membership.describe(replace(membership.own, step=step))
                await membership.announce_widely()
            await begin_anew(swarm.peers["d"])
            received = await begin(swarm.peers["d"])
            assert received is not None
            assert received.step == 120

    run_on("virtual", scenario)


def test_a_joiner_left_alone_before_it_was_given_anything_begins_with_its_own_after_a_while() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            await begin_anew(swarm.peers["b"])
            network.freeze("a")
            clock = swarm.peers["b"].swarm.transport.clock
            began_s = clock.now()
            assert await begin(swarm.peers["b"]) is None
            assert 30.0 < clock.now() - began_s < 45.0
            network.thaw("a")

    run_on("virtual", scenario, network=network)


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 1000), min_size=3, max_size=20))
def test_one_liar_is_never_the_first_choice(honest: dict[str, int]) -> None:
    steps = {PeerId(peer): step for peer, step in honest.items()}
    liar = PeerId("the liar")
    first = in_order({**steps, liar: 10**12})[0]
    assert first != liar
    assert first in steps


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 5), min_size=1, max_size=6))
def test_all_agree_on_the_order_whatever_order_they_heard_it_in(steps: dict[str, int]) -> None:
    orders = {
        tuple(in_order({PeerId(peer): step for peer, step in order}))
        for order in itertools.permutations(list(steps.items())[:4])
    }
    assert len(orders) == 1
