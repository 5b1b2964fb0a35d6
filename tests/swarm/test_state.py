"""How a donor gives its parameters: what it offers to whom, for how long, and what it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3

from gossiptrain.core.averaging import Vector
from gossiptrain.net.framing import ProtocolViolationError, receive_one_of, send_message
from gossiptrain.net.transport import PeerId, StreamClosedError, UnreachableError
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.messages import MAX_COUNT, Waiting
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.state import MOST_IN_LINE, STATE, Donation
from gossiptrain.swarm.state_chunks import DIGEST_BYTES, MAX_CHUNKS, Chunking, digests_of
from gossiptrain.swarm.state_messages import ChunkRequest, StateOffer, StateRefusal, StateRequest
from gossiptrain.swarm.state_source import LONGEST_LINE_S
from tests.swarm.joiners import donate_from, fetch, train_on
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until

CHUNKS = ELEMENTS * 4 // TIMING.chunk_bytes + 1


async def tell_step(swarm: Swarm, name: str, step: int) -> None:
    membership = swarm.peers[name].swarm.membership
    membership.describe(OwnState(step=step, ready_in_s=0.0))
    await membership.announce()


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


HALVES = (ELEMENTS // 2, ELEMENTS - ELEMENTS // 2)


def donates_halves(peer: TestPeer, *, but: frozenset[int] = frozenset()) -> None:
    """From now on the peer gives the half that it is asked for. but: halves that it refuses to give."""

    async def donate(held: HeldAverage | None, fragment: int) -> Donation | None:
        if fragment in but:
            return None
        start = sum(HALVES[:fragment])
        return Donation(peer.values[start : start + HALVES[fragment]].copy(), peer.swarm.membership.own.step)

    peer.swarm._state_server._donate = donate


@on_both_transports
def test_a_model_in_fragments_is_taken_over_one_after_the_other_through_the_same_memory(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor, joiner = swarm.peers["a"], swarm.peers["b"]
            donates_halves(donor)
            into, parts = np.zeros(max(HALVES), np.float32), dict[int, bytes]()

            async def taken(fragment: int, received: ReceivedState) -> None:
                parts[fragment] = into[: HALVES[fragment]].tobytes()
                assert not joiner.swarm.membership.own.joined

            received = await joiner.swarm.take_state(into, lengths=HALVES, taken=taken)
            assert received is not None
            assert received.size_bytes == 4 * ELEMENTS
            assert parts[0] + parts[1] == donor.values.tobytes()
            assert joiner.swarm.membership.own.joined

    run_on(kind, scenario)


def test_each_fragment_may_come_from_another_donor() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            donates_halves(swarm.peers["a"], but=frozenset([1]))
            donates_halves(swarm.peers["c"], but=frozenset([0]))
            into, donors = np.zeros(max(HALVES), np.float32), list[PeerId]()

            async def taken(fragment: int, received: ReceivedState) -> None:
                donors.append(received.donor)

            assert await swarm.peers["b"].swarm.take_state(into, lengths=HALVES, taken=taken) is not None
            assert donors == [swarm.peers["a"].id, swarm.peers["c"].id]

    run_on("virtual", scenario)


def test_joiners_that_ask_for_different_fragments_do_not_get_each_others() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            donates_halves(swarm.peers["a"])
            for name in "bcd":
                membership = swarm.peers[name].swarm.membership
                membership.describe(replace(membership.own, joined=False))
            await until(lambda: len(swarm.peers["a"].swarm.membership.trainers()) == 1)

            async def take(name: str) -> bytes:
                into, parts = np.zeros(max(HALVES), np.float32), list[bytes]()

                async def taken(fragment: int, received: ReceivedState) -> None:
                    parts.append(into[: HALVES[fragment]].tobytes())
                    await asyncio.sleep(0.3 * (ord(name) - ord("a")))

                await swarm.peers[name].swarm.take_state(into, lengths=HALVES, taken=taken)
                return b"".join(parts)

            found = await asyncio.gather(*(take(name) for name in "bcd"))
            assert set(found) == {swarm.peers["a"].values.tobytes()}

    run_on("virtual", scenario)


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


@pytest.mark.parametrize("damage", ["not finite", "another length", "another chunk", "too far ahead"])
def test_a_state_that_is_not_as_it_should_be_is_not_taken(damage: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor = swarm.peers["a"]
            if damage == "not finite":
                donor.values[7] = np.nan
            elif damage == "another length":
                donate_from(donor, donor.values[:-1])
            elif damage == "too far ahead":
                await tell_step(swarm, "a", 10_001)
            else:
                moves_while_it_is_given(donor)
            with pytest.raises(ProtocolViolationError):
                await fetch(swarm.peers["b"], donor)

    run_on("virtual", scenario)


def moves_while_it_is_given(donor: TestPeer) -> None:
    """The donor's vector changes between its offer and its chunks."""
    donate_from(donor, donor.values)
    server = donor.swarm._state_server
    honest = server._give_chunks

    async def torn(stream: object, offered: object) -> None:
        donor.values[:] += np.float32(1.0)
        await honest(stream, offered)  # type: ignore[arg-type]

    server._give_chunks = torn  # type: ignore[method-assign]


@pytest.mark.parametrize("number", [-1, MAX_COUNT + 1, 10**30])
def test_numbers_that_no_message_can_tell_do_not_keep_a_donor_from_giving(number: int) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor = swarm.peers["a"]
            donate_from(donor, donor.values, step=number)
            into, received = await fetch(swarm.peers["b"], donor, most_steps=2 * MAX_COUNT)
            assert received.step == min(max(number, 0), MAX_COUNT)
            assert into.tobytes() == donor.values.tobytes()

    run_on("virtual", scenario)


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


# What is given to several joiners.


class CountingDonor:
    """Counts the copies that a donor takes, and those that it has let go of."""

    def __init__(self, donor: TestPeer, *, takes_s: float = 0.0) -> None:
        self.taken = self.released = self.at_once = self.most_at_once = 0
        self._donor, self._takes_s = donor, takes_s
        donor.swarm._state_server._donate = self._donate

    async def _donate(self, held: HeldAverage | None, fragment: int) -> Donation:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._takes_s)
        self.at_once -= 1
        self.taken += 1
        copy = self._donor.values.copy()

        def release() -> None:
            self.released += 1
            copy[:] = 0.0  # as happens to the memory that trainer and node share

        return Donation(copy, step=500, release=release)


def test_joiners_that_ask_at_one_moment_are_given_one_copy() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            donor = swarm.peers["a"]
            counting = CountingDonor(donor, takes_s=5.0)
            for into, received in await asyncio.gather(*(fetch(swarm.peers[name], donor) for name in "bcd")):
                assert received.step == 500
                assert into.tobytes() == donor.values.tobytes()
            await until(lambda: counting.released > 0)
            assert (counting.taken, counting.released, counting.most_at_once) == (1, 1, 1)

    run_on("virtual", scenario)


def test_who_comes_late_waits_until_nobody_needs_the_old_copy_and_is_given_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gossiptrain.swarm.state.SHARED_FOR_S", 0.5)
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            donor = swarm.peers["a"]
            counting = CountingDonor(donor)
            network.set_link("a", "b", settings=LinkSettings(bandwidth_bytes_per_s=2000.0))
            before = donor.values.copy()
            slow = asyncio.create_task(fetch(swarm.peers["b"], donor))
            await asyncio.sleep(1.0)
            donor.values += np.float32(1.0)
            late, _ = await fetch(swarm.peers["c"], donor)
            early, _ = await slow
            assert early.tobytes() == before.tobytes()
            assert late.tobytes() == donor.values.tobytes()
            await until(lambda: counting.released == 2)
            assert (counting.taken, counting.most_at_once) == (2, 1)

    run_on("virtual", scenario, network=network)


def test_a_copy_is_let_go_of_once_and_only_when_all_of_it_has_been_sent() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor = swarm.peers["a"]
            counting = CountingDonor(donor)
            into, _ = await fetch(swarm.peers["b"], donor)
            assert into.tobytes() == donor.values.tobytes()
            await until(lambda: counting.released > 0)
            assert counting.released == 1

    run_on("virtual", scenario)


def test_a_donor_with_too_many_joiners_or_no_snapshot_says_so_at_once_or_in_time() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            donor, stuck = swarm.peers["a"], asyncio.Event()

            async def donate(held: HeldAverage | None, fragment: int) -> Donation | None:
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


# What is offered.


def test_a_donor_offers_the_average_of_its_last_round_and_says_who_else_holds_it() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            average = await train_on(swarm)
            offer = await asked(swarm, StateRequest(chunk_elements=ELEMENTS))
            assert isinstance(offer, StateOffer)
            assert set(offer.members) == {peer.id for peer in swarm.peers.values()}
            again = await asked(swarm, StateRequest(chunk_elements=ELEMENTS, average=offer.average))
            assert again == offer
            other = await asked(swarm, StateRequest(chunk_elements=ELEMENTS, average="ab"))
            assert isinstance(other, StateRefusal)
            into, _ = await fetch(swarm.peers["b"], swarm.peers["a"])
            assert into.tobytes() == average.tobytes()

    run_on("virtual", scenario)


async def asked(swarm: Swarm, request: StateRequest) -> StateOffer | StateRefusal:
    stream = await swarm.peers["b"].swarm.admission.stream(swarm.peers["a"].id, STATE)
    try:
        await send_message(stream, request)
        while isinstance(answer := await receive_one_of(stream, Waiting, StateOffer, StateRefusal), Waiting):
            continue
        assert isinstance(answer, StateOffer | StateRefusal)
        return answer
    finally:
        stream.abort()


def test_what_a_round_writes_over_while_it_is_copied_is_not_given() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await train_on(swarm)
            donor, copying = swarm.peers["a"], asyncio.Event()
            snapshot = donor.values.copy()
            swarm.peers["c"].swarm.membership.describe(OwnState(joined=False))

            async def donate(held: HeldAverage | None, fragment: int) -> Donation:
                if held is None:
                    return Donation(snapshot, step=0)
                half = held.vector[: ELEMENTS // 2].copy()
                copying.set()
                await asyncio.sleep(1.0)
                return Donation(np.concatenate([half, held.vector[ELEMENTS // 2 :]]), held.step, held)

            donor.swarm._state_server._donate = donate
            joining = asyncio.create_task(fetch(swarm.peers["c"], donor))
            await copying.wait()
            await swarm.average("a", "b")
            into, _ = await joining
            assert into.tobytes() == snapshot.tobytes()

    run_on("virtual", scenario)


def test_while_a_round_is_under_way_a_joiner_waits_a_little_for_its_average() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            for one, other in ("ab", "ba"):
                network.set_link(one, other, settings=LinkSettings(bandwidth_bytes_per_s=20_000.0))
            rounds = asyncio.create_task(swarm.average("a", "b"))
            await until(lambda: not swarm.peers["a"].swarm.last_average._nothing_writes.is_set())
            into, _ = await fetch(swarm.peers["c"], swarm.peers["a"])
            await rounds
            assert into.tobytes() == swarm.peers["b"].buffers.average.tobytes()

    run_on("virtual", scenario, network=network)


# Second moments.


def has_moments(peer: TestPeer, vector: Vector | None) -> None:
    """From now on the peer gives this as the second moments of its optimizer, if it is anything."""

    async def donate_moments(fragment: int) -> Donation | None:
        return None if vector is None else Donation(vector[sum(HALVES[:fragment]) :][: HALVES[fragment]].copy(), step=7)

    peer.swarm._state_server._donate_moments = donate_moments


async def moments_taken(swarm: Swarm, first: str) -> tuple[bool, bytes]:
    """By peer c, from this one first. What has come of them."""
    into, found = np.zeros(max(HALVES), np.float32), list[bytes]()

    async def taken(fragment: int) -> None:
        found.append(into[: HALVES[fragment]].tobytes())

    joiner = swarm.peers["c"].swarm
    whole = await joiner.take_moments(into, lengths=HALVES, first=swarm.peers[first].id, taken=taken)
    return whole, b"".join(found)


@on_both_transports
def test_a_joiner_is_given_the_second_moments_of_the_donor_fragment_by_fragment(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            moments = np.linspace(0.0, 1.0, ELEMENTS, dtype=np.float32)
            has_moments(swarm.peers["a"], moments)
            has_moments(swarm.peers["b"], moments + 1)
            assert await moments_taken(swarm, "b") == (True, (moments + 1).tobytes())

    run_on(kind, scenario)


def test_where_the_first_has_none_another_peer_is_asked_and_where_nobody_has_none_are_waited_for() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            has_moments(swarm.peers["a"], None)
            began_s = asyncio.get_running_loop().time()
            assert await moments_taken(swarm, "a") == (False, b"")
            assert asyncio.get_running_loop().time() - began_s < 1.0
            has_moments(swarm.peers["b"], np.ones(ELEMENTS, np.float32))
            assert (await moments_taken(swarm, "a"))[0]

    run_on("virtual", scenario)


def test_second_moments_that_are_not_finite_are_not_taken() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            moments = np.ones(ELEMENTS, np.float32)
            moments[-1] = np.inf
            has_moments(swarm.peers["a"], moments)
            whole, found = await moments_taken(swarm, "a")
            assert not whole
            assert found == moments[: HALVES[0]].tobytes()

    run_on("virtual", scenario)


def test_while_a_donor_gives_its_parameters_nobody_waits_for_its_second_moments() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            has_moments(swarm.peers["a"], np.ones(ELEMENTS, np.float32))
            network.set_link("a", "b", settings=LinkSettings(bandwidth_bytes_per_s=5000.0))
            slow = asyncio.create_task(fetch(swarm.peers["b"], swarm.peers["a"]))
            await until(lambda: swarm.peers["a"].swarm._state_server._given is not None)
            began_s = asyncio.get_running_loop().time()
            assert not (await moments_taken(swarm, "a"))[0]
            assert asyncio.get_running_loop().time() - began_s < 1.0
            await slow
            assert (await moments_taken(swarm, "a"))[0]

    run_on("virtual", scenario, network=network)


# What joiners may ask for.


@pytest.mark.parametrize("request_", [StateRequest(chunk_elements=1), StateRequest(chunk_elements=MAX_COUNT)])
def test_a_state_is_cut_into_a_bounded_number_of_chunks(request_: StateRequest) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donate_from(swarm.peers["a"], np.zeros(MAX_CHUNKS + 1, np.float32))
            if request_.chunk_elements == 1:
                with pytest.raises(StreamClosedError):
                    await asked(swarm, request_)
            else:
                assert isinstance(await asked(swarm, request_), StateOffer)

    run_on("virtual", scenario)


@pytest.mark.parametrize("asked_for", [[CHUNKS], [0] * (CHUNKS + 1), [MAX_COUNT]])
def test_a_joiner_that_asks_for_what_there_is_not_is_cut_off(asked_for: list[int]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor = swarm.peers["a"]
            counting = CountingDonor(donor)
            stream = await swarm.peers["b"].swarm.admission.stream(donor.id, STATE)
            await send_message(stream, StateRequest(chunk_elements=TIMING.chunk_bytes // 4))
            while isinstance(await receive_one_of(stream, Waiting, StateOffer), Waiting):
                continue
            await stream.read_exactly(CHUNKS * DIGEST_BYTES)
            for index in asked_for:
                await send_message(stream, ChunkRequest(index=index))
            with pytest.raises(StreamClosedError):
                await stream.read_exactly(len(asked_for) * TIMING.chunk_bytes)
            await until(lambda: counting.released == 1)
            stream.abort()

    run_on("virtual", scenario)


def test_a_joiner_that_falls_silent_keeps_the_copy_for_a_bounded_time() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            donor = swarm.peers["a"]
            counting = CountingDonor(donor)
            stream = await swarm.peers["b"].swarm.admission.stream(donor.id, STATE)
            await send_message(stream, StateRequest(chunk_elements=TIMING.chunk_bytes // 4))
            began_s = asyncio.get_running_loop().time()
            await until(lambda: counting.released == 1)
            assert asyncio.get_running_loop().time() - began_s <= 2 * TIMING.stall_timeout_s + 1.0
            stream.abort()

    run_on("virtual", scenario)


def test_while_a_donor_computes_the_digests_of_its_state_everything_else_goes_on() -> None:
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
            chunking = Chunking.of(ELEMENTS, chunk_bytes=TIMING.chunk_bytes)
            digests = await digests_of(vector, chunking, swarm.peers["a"].swarm.transport.clock)
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            chunk = vector[: TIMING.chunk_bytes // 4]
            assert digests[0] == blake3(chunk.tobytes()).digest()
            assert len(digests) == CHUNKS
            assert turns >= CHUNKS

    run_on("virtual", scenario)
