"""How a joiner takes over the parameters: complete, or not at all."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from blake3 import blake3

from gossiptrain.net.virtual import VirtualNetwork
from gossiptrain.net.virtual_wires import LinkSettings
from gossiptrain.swarm.membership import OwnState
from gossiptrain.swarm.state import StateDesk
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on


async def tell_step(swarm: Swarm, name: str, step: int) -> None:
    membership = swarm.peers[name].swarm.membership
    membership.describe(OwnState(step=step, ready_in_s=0.0))
    await membership.announce()


async def fetch(joiner: TestPeer) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], object]:
    into = np.zeros(ELEMENTS, np.float32)
    return into, await joiner.swarm.fetch_state(into)


@on_both_transports
def test_a_joiner_takes_the_state_of_the_peer_that_is_furthest_ahead(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await tell_step(swarm, "a", 10)
            await tell_step(swarm, "b", 500)
            await swarm.know_each_other()
            into = np.zeros(ELEMENTS, np.float32)
            received = await swarm.peers["c"].swarm.fetch_state(into)
            assert received is not None
            assert (received.donor, received.step) == (swarm.peers["b"].id, 500)
            assert received.size_bytes == 4 * ELEMENTS
            assert into.tobytes() == swarm.peers["b"].values.tobytes()

    run_on(kind, scenario)


def test_the_next_donor_steps_in_when_one_falls_silent_in_the_middle() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await tell_step(swarm, "b", 500)
            network.set_link("b", "c", settings=LinkSettings(bandwidth_bytes_per_s=1000.0))
            task = asyncio.create_task(fetch(swarm.peers["c"]))
            await asyncio.sleep(1.0)
            network.freeze("b")
            into, received = await task
            assert received is not None
            assert into.tobytes() == swarm.peers["a"].values.tobytes()
            network.thaw("b")

    run_on("virtual", scenario, network=network)


@pytest.mark.parametrize("damage", ["not finite", "another length", "another digest"])
def test_a_state_that_is_not_as_it_should_be_is_not_taken(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            if damage == "not finite":
                swarm.peers["a"].values[7] = np.nan
            elif damage == "another length":
                swarm.peers["a"].values = swarm.peers["a"].values[:-1]
                _donate_from(swarm.peers["a"])
            else:
                honest = StateDesk._receive

                async def tampered(self: StateDesk, stream: object, into: object) -> str:
                    return (await honest(self, stream, into))[::-1]  # type: ignore[arg-type]

                monkeypatch.setattr(StateDesk, "_receive", tampered)
            _, received = await fetch(swarm.peers["b"])
            assert received is None

    run_on("virtual", scenario)


def _donate_from(peer: TestPeer) -> None:
    from gossiptrain.swarm.state import Donation

    async def donate() -> Donation:
        return Donation(vector=peer.values, step=0, samples=0)

    peer.swarm._state_desk._donate = donate


def test_a_donor_that_freezes_costs_the_joiner_a_bounded_time() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            network.set_link("a", "b", settings=LinkSettings(bandwidth_bytes_per_s=1000.0))
            task = asyncio.create_task(fetch(swarm.peers["b"]))
            await asyncio.sleep(1.0)
            network.freeze("a")
            _, received = await task
            assert received is None
            network.thaw("a")

    run_on("virtual", scenario, network=network)


def test_two_joiners_at_once_each_get_a_whole_state() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await tell_step(swarm, "a", 500)
            results = await asyncio.gather(fetch(swarm.peers["b"]), fetch(swarm.peers["c"]))
            for into, received in results:
                assert received is not None
                assert into.tobytes() == swarm.peers["a"].values.tobytes()

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
            digest = await swarm.peers["a"].swarm._state_desk._digest(vector)
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            assert digest == blake3(vector.tobytes()).hexdigest()
            assert turns >= vector.nbytes // TIMING.chunk_bytes

    run_on("virtual", scenario)
