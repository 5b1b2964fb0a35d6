"""How a joiner takes the parameters from several donors at once: each chunk once, and whole or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest

from gossiptrain.core.averaging import Vector
from gossiptrain.net.framing import ProtocolViolationError
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.download import MOST_HELPERS
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.state import Donation
from gossiptrain.swarm.state_source import StateSource
from tests.swarm.joiners import Joiner, donate_from, fetch, train_on
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

CHUNKS = ELEMENTS * 4 // TIMING.chunk_bytes + 1
QUIET = TIMING.model_copy(
    update={"heartbeat_s": 60.0, "lifetime_s": 600.0, "directory_s": 600.0, "stall_timeout_s": 4.0}
)
"""So that narrow links carry nothing else, and slow ones do not count as dead."""
FAST_BYTES_PER_S, SLOW_BYTES_PER_S = 2000.0, 150.0


class Arrivals:
    """The chunks that have arrived at joiners as they should be, and from whom."""

    def __init__(self) -> None:
        self.chunks: list[int] = []
        self.donors: Counter[PeerId] = Counter()
        self.refused: Counter[PeerId] = Counter()
        self.some = asyncio.Event()
        self.awaited = CHUNKS
        self.barrier: asyncio.Barrier | None = None
        """Where there is one, no donor is read from again before so many have sent something."""
        self._begun: set[PeerId] = set()

    async def begin_together(self, donor: PeerId) -> None:
        if self.barrier is not None and donor not in self._begun:
            self._begun.add(donor)
            await self.barrier.wait()

    def note(self, donor: PeerId, index: int) -> None:
        self.chunks.append(index)
        self.donors[donor] += 1
        if len(self.chunks) >= self.awaited:
            self.some.set()


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> Arrivals:
    found, receive = Arrivals(), StateSource.receive

    async def noted(self: StateSource) -> tuple[int, Vector]:
        try:
            index, values = await receive(self)
        except ProtocolViolationError:
            found.refused[self.donor] += 1
            await found.begin_together(self.donor)
            raise
        found.note(self.donor, index)
        await found.begin_together(self.donor)
        return index, values

    monkeypatch.setattr(StateSource, "receive", noted)
    return found


def give_together(swarm: Swarm, *names: str) -> None:
    """Nobody of these gives a chunk before all of them are about to, however fast one of them is."""
    barrier = asyncio.Barrier(len(names))
    for name in names:
        server = swarm.peers[name].swarm._state_server

        async def give(stream: object, offered: object, honest: object = server._give_chunks) -> None:
            await barrier.wait()
            await honest(stream, offered)  # type: ignore[operator]

        server._give_chunks = give  # type: ignore[method-assign]


@on_both_transports
def test_members_of_a_round_give_a_joiner_different_chunks_of_its_average(kind: Kind, arrivals: Arrivals) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            average = await train_on(swarm)
            arrivals.barrier = asyncio.Barrier(3)
            donors = [swarm.peers[name] for name in "abc"]
            into, received = await fetch(swarm.peers["d"], *donors)
            assert into.tobytes() == average.tobytes()
            assert received.donor == donors[0].id
            assert received.donors == len(arrivals.donors) == 3
            assert set(arrivals.chunks) == set(range(CHUNKS))

    run_on(kind, scenario)


def test_no_more_donors_are_asked_at_a_time_than_are_allowed() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, MOST_HELPERS + 4) as swarm:
            await train_on(swarm)
            *donors, joiner = swarm.peers.values()
            asked = Counter[str]()
            for donor in donors:
                note_donations(donor, asked)
            await fetch(joiner, *donors)
            assert len(asked) <= 1 + MOST_HELPERS
            assert asked[donors[0].id] == 1

    run_on("virtual", scenario)


def note_donations(donor: TestPeer, asked: Counter[str]) -> None:
    honest = donor.swarm._state_server._donate

    async def donate(held: HeldAverage | None, fragment: int) -> Donation | None:
        asked[donor.id] += 1
        return await honest(held, fragment)

    donor.swarm._state_server._donate = donate


def test_donors_whose_parameters_only_they_have_are_not_asked_to_help() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            asked = Counter[str]()
            donors = [swarm.peers["a"], swarm.peers["b"]]
            for donor in donors:
                note_donations(donor, asked)
            into, received = await fetch(swarm.peers["c"], *donors)
            assert into.tobytes() == donors[0].values.tobytes()
            assert asked == {donors[0].id: 1}
            assert received.donors == 1

    run_on("virtual", scenario)


# Fast and slow donors.


async def seconds_of(swarm: Swarm, *donors: str) -> float:
    """How long a download takes. What was on its way for the one before has arrived by then."""
    await asyncio.sleep(1.0)
    began_s = asyncio.get_running_loop().time()
    await fetch(swarm.peers["d"], *(swarm.peers[name] for name in donors))
    return asyncio.get_running_loop().time() - began_s


def narrow(network: VirtualNetwork, **bytes_per_s: float) -> None:
    """From now on the links from the donors of these names to the joiner d are as fast as this."""
    for name, rate in bytes_per_s.items():
        network.set_link(name, "d", settings=LinkSettings(bandwidth_bytes_per_s=rate))


def test_a_slow_donor_beside_a_fast_one_costs_no_time() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            await train_on(swarm)
            narrow(network, a=FAST_BYTES_PER_S, b=FAST_BYTES_PER_S)
            alone_s = await seconds_of(swarm, "a")
            give_together(swarm, "a", "b")
            becomes_slow_once_it_gives(network, swarm.peers["b"])
            beside_s = await seconds_of(swarm, "a", "b")
            offer_s = 800 / FAST_BYTES_PER_S
            assert beside_s <= 1.05 * alone_s + offer_s
            assert beside_s < 2 * TIMING.chunk_bytes / SLOW_BYTES_PER_S, "what it was asked for is waited for in vain"

    run_on("virtual", scenario, network=network)


def becomes_slow_once_it_gives(network: VirtualNetwork, donor: TestPeer) -> None:
    server = donor.swarm._state_server
    honest = server._give_chunks

    async def give(stream: object, offered: object) -> None:
        narrow(network, **{donor.name: SLOW_BYTES_PER_S})
        await honest(stream, offered)  # type: ignore[arg-type]

    server._give_chunks = give  # type: ignore[method-assign]


def test_a_slow_donor_is_left_behind_by_others_though_it_was_the_first() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            await train_on(swarm)
            slow_bytes_per_s = 0.3 * FAST_BYTES_PER_S
            narrow(network, a=FAST_BYTES_PER_S, b=slow_bytes_per_s)
            alone_s = await seconds_of(swarm, "a")
            # Its offer has to come first: 512 bytes of digests, and messages.
            assert await seconds_of(swarm, "b", "a") <= alone_s + 800 / slow_bytes_per_s
            assert await seconds_of(swarm, "b") > 3 * alone_s

    run_on("virtual", scenario, network=network)


def test_several_donors_are_faster_than_one_where_their_links_are_what_takes_time() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            await train_on(swarm)
            narrow(network, **dict.fromkeys("abc", FAST_BYTES_PER_S))
            alone_s = await seconds_of(swarm, "a")
            assert await seconds_of(swarm, "a", "b", "c") < 0.65 * alone_s, (
                "digests come before chunks, and are an eighth of so small a state"
            )

    run_on("virtual", scenario, network=network)


def test_donors_are_asked_for_little_that_another_one_then_gives_as_well(arrivals: Arrivals) -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            await train_on(swarm)
            narrow(network, **dict.fromkeys("abc", FAST_BYTES_PER_S))
            await fetch(swarm.peers["d"], *(swarm.peers[name] for name in "abc"))
            assert len(arrivals.chunks) <= CHUNKS + 2

    run_on("virtual", scenario, network=network)


# Donors that die or lie.


@pytest.mark.parametrize("victim", ["a", "b"])
@pytest.mark.parametrize("fault", ["crash", "freeze"])
def test_no_chunk_is_fetched_twice_because_a_donor_dies(fault: str, victim: str, arrivals: Arrivals) -> None:
    network = VirtualNetwork()
    arrivals.awaited = CHUNKS // 2

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            average = await train_on(swarm)
            narrow(network, a=FAST_BYTES_PER_S, b=FAST_BYTES_PER_S)
            taking = asyncio.create_task(fetch(swarm.peers["d"], swarm.peers["a"], swarm.peers["b"]))
            await arrivals.some.wait()
            assert arrivals.donors[PeerId(victim)]
            await strike(network, swarm, victim, fault)
            into, _ = await taking
            assert into.tobytes() == average.tobytes()
            assert sorted(arrivals.chunks) == list(range(CHUNKS))
            network.thaw(victim)

    run_on("virtual", scenario, network=network)


async def strike(network: VirtualNetwork, swarm: Swarm, victim: str, fault: str) -> None:
    if fault == "crash":
        await swarm.peers[victim].stop()
        network.crash(victim)
    else:
        network.freeze(victim)


@pytest.mark.parametrize("fault", ["crash", "freeze"])
def test_after_the_death_of_the_only_donor_the_next_is_asked_for_what_it_has_different(
    fault: str, arrivals: Arrivals
) -> None:
    network = VirtualNetwork()
    arrivals.awaited = CHUNKS - 3
    half = CHUNKS // 2 * TIMING.chunk_bytes // 4

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            narrow(network, a=FAST_BYTES_PER_S)
            first, second = swarm.peers["a"], swarm.peers["b"]
            donate_from(first, first.values)
            donate_from(second, np.concatenate([first.values[:half], second.values[half:]]))
            joiner = Joiner(swarm.peers["d"])
            taking = asyncio.create_task(joiner.take_from(first, second))
            await arrivals.some.wait()
            await strike(network, swarm, "a", fault)
            received = await taking
            assert received is not None
            assert received.donor == second.id
            assert joiner.into[:half].tobytes() == first.values[:half].tobytes()
            assert joiner.into[half:].tobytes() == second.values[half:].tobytes()
            fetched = Counter(arrivals.chunks)
            assert all(fetched[index] == 1 for index in range(CHUNKS // 2))
            assert [donor for donor, _ in joiner.failures] == [first.id]
            network.thaw("a")

    run_on("virtual", scenario, network=network)


def test_a_joiner_that_asks_the_same_donor_again_goes_on_where_it_was(arrivals: Arrivals) -> None:
    network = VirtualNetwork()
    arrivals.awaited = CHUNKS // 2

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            narrow(network, a=FAST_BYTES_PER_S)
            donor, joiner = swarm.peers["a"], Joiner(swarm.peers["d"])
            taking = asyncio.create_task(joiner.take_from(donor))
            await arrivals.some.wait()
            network.freeze("a")
            assert await taking is None
            network.thaw("a")
            assert await joiner.take_from(donor) is not None
            assert joiner.into.tobytes() == donor.values.tobytes()
            assert sorted(arrivals.chunks) == list(range(CHUNKS))

    run_on("virtual", scenario, network=network)


@on_both_transports
def test_a_helper_that_gives_something_else_is_left_after_one_chunk(kind: Kind, arrivals: Arrivals) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            average = await train_on(swarm)
            liar = swarm.peers["b"]
            arrivals.barrier = asyncio.Barrier(2)
            lie(liar)
            joiner = Joiner(swarm.peers["d"])
            assert await joiner.take_from(swarm.peers["a"], liar) is not None
            assert joiner.into.tobytes() == average.tobytes()
            assert arrivals.refused == {liar.id: 1}
            assert [donor for donor, _ in joiner.failures] == [liar.id]

    run_on(kind, scenario)


def lie(donor: TestPeer) -> None:
    """It offers what it should, and gives something else."""
    server = donor.swarm._state_server
    honest = server._give_chunks

    async def give(stream: object, offered: object) -> None:
        offered.donation.vector[:] = 7.0  # type: ignore[attr-defined]
        await honest(stream, offered)  # type: ignore[arg-type]

    server._give_chunks = give  # type: ignore[method-assign]


def test_who_claims_an_average_and_offers_other_chunks_gives_nothing(arrivals: Arrivals) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            average = await train_on(swarm)

            async def donate(held: HeldAverage | None, fragment: int) -> Donation:
                assert held is not None
                return Donation(np.full(ELEMENTS, 7.0, np.float32), held.step, held)

            liar = swarm.peers["b"]
            liar.swarm._state_server._donate = donate
            joiner = Joiner(swarm.peers["d"])
            assert await joiner.take_from(swarm.peers["a"], liar) is not None
            assert joiner.into.tobytes() == average.tobytes()
            assert liar.id not in arrivals.donors

    run_on("virtual", scenario)


def test_a_helper_that_holds_part_of_the_state_gives_that_part(arrivals: Arrivals) -> None:
    half = CHUNKS // 2 * TIMING.chunk_bytes // 4
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=QUIET) as swarm:
            await train_on(swarm)
            narrow(network, a=FAST_BYTES_PER_S, b=FAST_BYTES_PER_S)
            for name in "ab":
                own_second_half(swarm.peers[name], half)
            first, helper = swarm.peers["a"], swarm.peers["b"]
            into, received = await fetch(swarm.peers["d"], first, helper)
            assert into[:half].tobytes() == first.buffers.average[:half].tobytes()
            assert into[half:].tobytes() == first.values[half:].tobytes()
            assert received.donors == 2
            assert arrivals.donors[helper.id] >= CHUNKS // 2 - 2

    run_on("virtual", scenario, network=network)


def own_second_half(donor: TestPeer, half: int) -> None:
    """As with strategies that keep a momentum: the average is only the first part of what a joiner needs."""

    async def donate(held: HeldAverage | None, fragment: int) -> Donation:
        assert held is not None
        return Donation(np.concatenate([held.vector[:half], donor.values[half:]]), held.step, held)

    donor.swarm._state_server._donate = donate
