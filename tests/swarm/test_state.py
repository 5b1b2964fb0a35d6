"""How a joiner takes over the parameters: complete, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3

from gossiptrain.core.averaging import Vector
from gossiptrain.net.framing import ProtocolViolationError
from gossiptrain.net.transport import UnreachableError
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.messages import MAX_COUNT
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.state import LONGEST_LINE_S, MOST_IN_LINE, Donation, ReceivedState, StateServer
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


async def tell_step(swarm: Swarm, name: str, step: int) -> None:
    membership = swarm.peers[name].swarm.membership
    membership.describe(OwnState(step=step, ready_in_s=0.0))
    await membership.announce()


async def fetch(joiner: TestPeer, donor: TestPeer) -> tuple[Vector, ReceivedState]:
    into = np.zeros(ELEMENTS, np.float32)
    return into, await joiner.swarm._state_server.fetch(donor.id, into, most_steps=10_000)


@on_both_transports
def test_a_joiner_takes_the_state_of_a_peer_that_is_ahead(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            await tell_step(swarm, "a", 10)
            await tell_step(swarm, "b", 500)
            await tell_step(swarm, "d", 490)
            await swarm.know_each_other()
            joiner = swarm.peers["c"].swarm
            into = np.zeros(ELEMENTS, np.float32)
            received = await joiner.take_state(into)
            assert received is not None
            assert (received.donor, received.step) == (swarm.peers["d"].id, 490)
            assert received.size_bytes == 4 * ELEMENTS
            assert into.tobytes() == swarm.peers["d"].values.tobytes()
            assert joiner.membership.own.step == 490

    run_on(kind, scenario)


def test_the_next_donor_steps_in_when_one_falls_silent_in_the_middle() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await tell_step(swarm, "b", 500)
            await tell_step(swarm, "a", 500)
            first, second = sorted("ab", key=lambda name: swarm.peers[name].id)
            network.set_link(first, "c", settings=LinkSettings(bandwidth_bytes_per_s=1000.0))
            into = np.zeros(ELEMENTS, np.float32)
            task = asyncio.create_task(swarm.peers["c"].swarm.take_state(into))
            await asyncio.sleep(1.0)
            network.freeze(first)
            received = await task
            assert received is not None
            assert into.tobytes() == swarm.peers[second].values.tobytes()
            network.thaw(first)

    run_on("virtual", scenario, network=network)


@pytest.mark.parametrize("damage", ["not finite", "another length", "another digest", "too far ahead"])
def test_a_state_that_is_not_as_it_should_be_is_not_taken(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            if damage == "not finite":
                swarm.peers["a"].values[7] = np.nan
            elif damage == "another length":
                swarm.peers["a"].values = swarm.peers["a"].values[:-1]
                _donate_from(swarm.peers["a"])
            elif damage == "too far ahead":
                await tell_step(swarm, "a", 10_001)
            else:
                honest = StateServer._receive

                async def tampered(self: StateServer, stream: object, into: object) -> str:
                    return (await honest(self, stream, into))[::-1]  # type: ignore[arg-type]

                monkeypatch.setattr(StateServer, "_receive", tampered)
            with pytest.raises(ProtocolViolationError):
                await fetch(swarm.peers["b"], swarm.peers["a"])

    run_on("virtual", scenario)


@pytest.mark.parametrize("number", [-1, MAX_COUNT + 1, 10**30])
def test_numbers_that_no_message_can_tell_do_not_keep_a_donor_from_giving(number: int) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor, joiner = swarm.peers["a"], swarm.peers["b"]
            _donate_from(donor, step=number, samples=number)
            into = np.zeros(ELEMENTS, np.float32)
            received = await joiner.swarm._state_server.fetch(donor.id, into, most_steps=2 * MAX_COUNT)
            assert received.step == received.samples == min(max(number, 0), MAX_COUNT)
            assert into.tobytes() == donor.values.tobytes()

    run_on("virtual", scenario)


def _donate_from(peer: TestPeer, *, step: int = 0, samples: int = 0) -> None:
    async def donate() -> Donation:
        return Donation(vector=peer.values, step=step, samples=samples)

    peer.swarm._state_server._donate = donate


def test_a_donor_that_freezes_costs_the_joiner_a_bounded_time() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            network.set_link("a", "b", settings=LinkSettings(bandwidth_bytes_per_s=1000.0))
            task = asyncio.create_task(fetch(swarm.peers["b"], swarm.peers["a"]))
            await asyncio.sleep(1.0)
            network.freeze("a")
            frozen_s = asyncio.get_running_loop().time()
            with pytest.raises((ConnectionError, TimeoutError)):
                await task
            assert asyncio.get_running_loop().time() - frozen_s <= TIMING.dial_timeout_s + TIMING.stall_timeout_s
            network.thaw("a")

    run_on("virtual", scenario, network=network)


def test_joiners_are_served_one_after_the_other_and_each_gets_a_whole_state() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            await tell_step(swarm, "a", 500)
            donor = swarm.peers["a"]
            honest = donor.swarm._state_server._donate
            at_once = most_at_once = 0

            async def donate() -> Donation | None:
                nonlocal at_once, most_at_once
                at_once += 1
                most_at_once = max(most_at_once, at_once)
                await asyncio.sleep(5.0)
                found = await honest()
                at_once -= 1
                return found

            donor.swarm._state_server._donate = donate
            for into, received in await asyncio.gather(*(fetch(swarm.peers[name], donor) for name in "bcd")):
                assert received.step == 500
                assert into.tobytes() == donor.values.tobytes()
            assert most_at_once == 1

    run_on("virtual", scenario)


def test_a_snapshot_is_let_go_of_once_and_only_when_all_of_it_has_been_sent() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor, joiner = swarm.peers["a"], swarm.peers["b"]
            snapshot, released = donor.values.copy(), 0

            def release() -> None:
                nonlocal released
                released += 1
                snapshot[:] = 0.0  # as the trainer does with the memory that both share

            async def donate() -> Donation | None:
                return Donation(vector=snapshot, step=0, samples=0, release=release)

            donor.swarm._state_server._donate = donate
            into, _ = await fetch(joiner, donor)
            assert into.tobytes() == donor.values.tobytes()
            await until(lambda: released > 0)
            assert released == 1

    run_on("virtual", scenario)


def test_a_donor_with_too_many_joiners_or_no_snapshot_says_so_at_once_or_in_time() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            donor, stuck = swarm.peers["a"], asyncio.Event()

            async def donate() -> Donation | None:
                await stuck.wait()
                return None

            donor.swarm._state_server._donate = donate
            line = [asyncio.create_task(fetch(swarm.peers["b"], donor)) for _ in range(MOST_IN_LINE)]
            await asyncio.sleep(1.0)
            with pytest.raises(UnreachableError, match="too many newcomers"):
                await fetch(swarm.peers["c"], donor)
            began_s = asyncio.get_running_loop().time()
            ended = await asyncio.gather(*line, return_exceptions=True)
            assert all(isinstance(error, (ConnectionError, TimeoutError)) for error in ended)
            assert asyncio.get_running_loop().time() - began_s <= LONGEST_LINE_S
            assert "none to give yet" in str(ended[0])

    run_on("virtual", scenario)


def test_a_peer_that_has_not_joined_refuses_at_once() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            membership = swarm.peers["a"].swarm.membership
            membership.describe(replace(membership.own, joined=False))
            began_s = asyncio.get_running_loop().time()
            with pytest.raises(UnreachableError, match="none to give yet"):
                await fetch(swarm.peers["b"], swarm.peers["a"])
            assert asyncio.get_running_loop().time() - began_s < 0.1

    run_on("virtual", scenario)


def test_while_a_donor_computes_the_digest_of_its_state_everything_else_goes_on() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            turns = 0

            async def go_on() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            other = asyncio.create_task(go_on())
            vector = swarm.peers["a"].values
            digest = await swarm.peers["a"].swarm._state_server._digest(vector)
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            assert digest == blake3(vector.tobytes()).hexdigest()
            assert turns >= vector.nbytes // TIMING.chunk_bytes

    run_on("virtual", scenario)
