"""The network in memory: its faults, its times, and that it can be repeated exactly."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId, Stream, StreamClosedError, Transport, UnreachableError
from gossiptrain.net.virtual.network import DIRECTORY, VirtualNetwork, VirtualTransport
from gossiptrain.net.virtual.wires import LinkSettings
from tests.transports import MakeTransport, run_on, until

PROTOCOL = "/test/1"
Talk = Callable[[Transport, Transport], Awaitable[None]]


async def echo(stream: Stream) -> None:
    """Sends back every byte, one by one."""
    while True:
        await stream.write(await stream.read_exactly(1))


def between_two(network: VirtualNetwork, talk: Talk) -> None:
    """Runs `talk` with two peers, the first connected to the second, which echoes."""

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        await bob.serve(PROTOCOL, echo)
        await alice.connect(bob.addresses[0])
        await talk(alice, bob)

    run_on("virtual", scenario, network=network)


async def is_silent(stream: Stream) -> bool:
    """Whether nothing arrives for an hour."""
    try:
        async with asyncio.timeout(3600):
            await stream.read_exactly(1)
    except TimeoutError:
        return True
    return False


def test_latency_is_what_was_asked_for() -> None:
    async def talk(alice: Transport, bob: Transport) -> None:
        started_s = alice.clock.now()
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        assert alice.clock.now() - started_s == pytest.approx(0.5)
        await stream.write(b"x")
        await stream.read_exactly(1)
        assert alice.clock.now() - started_s == pytest.approx(1.0)
        stream.abort()

    between_two(VirtualNetwork(latency_s=0.25), talk)


def test_each_direction_has_its_own_latency() -> None:
    network = VirtualNetwork(latency_s=0.0)

    async def talk(alice: Transport, bob: Transport) -> None:
        network.set_link("bob", "alice", settings=LinkSettings(latency_s=2.0), both_ways=False)
        started_s = alice.clock.now()
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        assert alice.clock.now() - started_s == pytest.approx(2.0)
        stream.abort()

    between_two(network, talk)


def test_bandwidth_is_shared_by_the_streams_of_a_link() -> None:
    network = VirtualNetwork(latency_s=0.0)

    async def talk(alice: Transport, bob: Transport) -> None:
        arrived_s: list[float] = []
        pieces: list[float] = []

        async def collect(stream: Stream) -> None:
            for _ in range(10):
                await stream.read_exactly(100_000)
                pieces.append(bob.clock.now())
            arrived_s.append(bob.clock.now())

        await bob.serve("/test/bulk", collect)
        network.set_link("alice", "bob", settings=LinkSettings(0.0, bandwidth_bytes_per_s=1e6))
        started_s = alice.clock.now()
        streams = [await alice.open_stream(bob.peer_id, "/test/bulk") for _ in range(2)]
        await asyncio.gather(*(stream.write(bytes(1_000_000)) for stream in streams))
        await until(lambda: len(arrived_s) == 2)
        assert max(arrived_s) - started_s == pytest.approx(2.0, rel=1e-3)
        assert min(arrived_s) - started_s > 1.7  # neither went before the other by more than its buffer
        waits = [after - before for before, after in itertools.pairwise(pieces)]
        assert max(waits) < 0.5  # and bytes arrived little by little
        for stream in streams:
            await stream.close()

    between_two(network, talk)


def test_a_crash_is_seen_and_can_be_recovered_from() -> None:
    network = VirtualNetwork()

    async def talk(alice: Transport, bob: Transport) -> None:
        cancelled = asyncio.Event()

        async def wait(stream: Stream) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await bob.serve("/test/wait", wait)
        stream = await alice.open_stream(bob.peer_id, "/test/wait")
        network.crash("bob")
        with pytest.raises(StreamClosedError, match="reset"):
            await stream.read_exactly(1)
        await cancelled.wait()
        for attempt in (alice.open_stream(bob.peer_id, PROTOCOL), bob.open_stream(alice.peer_id, PROTOCOL)):
            with pytest.raises(UnreachableError):
                await attempt
        with pytest.raises(UnreachableError):
            await alice.connect(bob.addresses[0])
        assert not await bob.directory.put("k", "s", b"v", lifetime_s=1)
        again = network.transport("bob")
        await again.serve(PROTOCOL, echo)
        (await alice.open_stream(again.peer_id, PROTOCOL)).abort()
        await again.close()

    between_two(network, talk)


def test_a_call_under_way_when_the_caller_crashes_fails() -> None:
    network = VirtualNetwork(latency_s=1.0)

    async def talk(alice: Transport, bob: Transport) -> None:
        opening = asyncio.create_task(alice.open_stream(bob.peer_id, PROTOCOL))
        await asyncio.sleep(0.5)
        network.crash("alice")
        with pytest.raises(UnreachableError):
            await opening

    between_two(network, talk)


def test_a_frozen_peer_is_silent_and_keeps_its_streams() -> None:
    network = VirtualNetwork()

    async def mirror(stream: Stream) -> None:
        while True:
            await stream.write(await stream.read_exactly(1024))

    async def talk(alice: Transport, bob: Transport) -> None:
        await bob.serve(PROTOCOL, mirror)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await stream.write(b"x" * 1024)  # a stream on which nothing is said ends after a while by itself
        assert await stream.read_exactly(1024) == b"x" * 1024
        network.freeze("bob")
        await stream.write(b"x" * 1024)
        assert await is_silent(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await alice.open_stream(bob.peer_id, PROTOCOL)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await bob.directory.get("k")
        writing = asyncio.create_task(stream.write(bytes(1 << 20)))
        await asyncio.sleep(60)
        assert not writing.done()  # the buffers on the way are full
        network.thaw("bob")
        assert await stream.read_exactly(1024 + (1 << 20)) == b"x" * 1024 + bytes(1 << 20)
        await writing
        stream.abort()

    between_two(network, talk)


def test_a_frozen_peer_that_crashes_is_seen_to_crash() -> None:
    network = VirtualNetwork()

    async def talk(alice: Transport, bob: Transport) -> None:
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        network.freeze("bob")
        network.crash("bob")
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        stream.abort()

    between_two(network, talk)


def test_a_cut_stops_one_direction_and_healing_delivers() -> None:
    network = VirtualNetwork()

    async def talk(alice: Transport, bob: Transport) -> None:
        heard = bytearray()

        async def listen(stream: Stream) -> None:
            while True:
                heard.extend(await stream.read_exactly(1))
                await stream.write(b"!")

        await bob.serve("/test/listen", listen)
        stream = await alice.open_stream(bob.peer_id, "/test/listen")
        network.cut("bob", "alice", both_ways=False)
        await stream.write(b"a")
        assert await is_silent(stream)
        assert heard == b"a"
        network.cut("alice", "bob")
        network.heal("bob", "alice", both_ways=False)
        assert await stream.read_exactly(1) == b"!"
        await stream.write(b"b")
        assert await is_silent(stream)
        assert heard == b"a"
        network.heal("alice", "bob")
        assert await stream.read_exactly(1) == b"!"
        assert heard == b"ab"
        stream.abort()

    between_two(network, talk)


def test_a_cut_before_the_first_word_holds_too() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        network.cut("alice", "bob")
        dialling = asyncio.create_task(alice.connect(bob.addresses[0]))
        await asyncio.sleep(3600)
        assert not dialling.done()
        network.heal("alice", "bob")
        assert await dialling == bob.peer_id

    run_on("virtual", scenario, network=network)


def test_the_directory_can_be_cut_off() -> None:
    network = VirtualNetwork()

    async def talk(alice: Transport, bob: Transport) -> None:
        await bob.directory.put("k", "s", b"v", lifetime_s=1e3)
        network.cut("alice", DIRECTORY)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await alice.directory.get("k")
        network.heal("alice", DIRECTORY)
        assert await alice.directory.get("k") == {"s": b"v"}

    between_two(network, talk)


def test_a_cut_splits_the_directory_until_both_sides_are_made_known_to_each_other() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        alice, bob, carol, dave = [await make(name) for name in ("alice", "bob", "carol", "dave")]
        await bob.directory.put("k", "before", b"b", lifetime_s=1e3)
        for one in ("alice", "carol"):
            for other in ("bob", "dave"):
                network.cut(one, other)
        await alice.directory.put("k", "here", b"a", lifetime_s=1e3)
        await dave.directory.put("k", "there", b"d", lifetime_s=1e3)
        assert await carol.directory.get("k") == {"here": b"a"}
        assert await bob.directory.get("k") == {"before": b"b", "there": b"d"}
        for one in ("alice", "carol"):
            for other in ("bob", "dave"):
                network.heal(one, other)
        assert await carol.directory.get("k") == {"here": b"a"}
        await alice.bootstrap([dave.peer_id])
        for peer in (alice, bob, carol, dave):
            assert await peer.directory.get("k") == {"before": b"b", "here": b"a", "there": b"d"}

    run_on("virtual", scenario, network=network)


@pytest.mark.parametrize("name", ["", "a/b", DIRECTORY, "alice"])
def test_names_that_cannot_be_given(name: str) -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        await make("alice")
        with pytest.raises(ValueError, match=r"cannot be the name|running already"):
            network.transport(name)

    run_on("virtual", scenario, network=network)


@settings(deadline=None, max_examples=20)
@given(
    writes=st.lists(st.binary(max_size=2000), max_size=10),
    buffer_bytes=st.integers(1, 4000),
    bandwidth=st.none() | st.floats(10, 1e6),
    jitter_s=st.floats(0, 5),
)
def test_bytes_arrive_in_order_whatever_the_link(
    writes: list[bytes], buffer_bytes: int, bandwidth: float | None, jitter_s: float
) -> None:
    network = VirtualNetwork(buffer_bytes=buffer_bytes, bandwidth_bytes_per_s=bandwidth, jitter_s=jitter_s)
    expected = b"".join(writes)

    async def talk(alice: Transport, bob: Transport) -> None:
        received: asyncio.Queue[bytes] = asyncio.Queue()

        async def collect(stream: Stream) -> None:
            received.put_nowait(await stream.read_exactly(len(expected)))

        await bob.serve("/test/collect", collect)
        stream = await alice.open_stream(bob.peer_id, "/test/collect")
        for data in writes:
            await stream.write(data)
        assert await received.get() == expected
        await stream.close()

    between_two(network, talk)


def chatter(seed: int) -> list[tuple[float, str]]:
    """What twelve peers hear, and when, while they call each other at random and some of them fail."""
    network = VirtualNetwork(seed, latency_s=0.01, jitter_s=0.02)
    heard: list[tuple[float, str]] = []

    async def chat(peer: Transport, others: list[PeerId], choices: random.Random) -> None:
        for _ in range(20):
            try:
                async with peer.clock.timeout(0.5):
                    stream = await peer.open_stream(choices.choice(others), PROTOCOL)
                    await stream.write(b"x")
                    await stream.read_exactly(1)
                    await stream.close()
            except (ConnectionError, TimeoutError) as error:
                heard.append((peer.clock.now(), f"{peer.peer_id}: {type(error).__name__}"))
            else:
                heard.append((peer.clock.now(), f"{peer.peer_id} <- {stream.remote}"))

    async def scenario(make: MakeTransport) -> None:
        peers = [await make(f"peer{number}") for number in range(12)]
        for peer in peers:
            await peer.serve(PROTOCOL, echo)
            for other in peers:
                peer.remember(other.peer_id, other.addresses)
        ids = [peer.peer_id for peer in peers]
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, network.crash, "peer3")
        loop.call_later(0.4, network.freeze, "peer5")
        loop.call_later(0.9, network.thaw, "peer5")
        await asyncio.gather(*(chat(peer, ids, random.Random(i)) for i, peer in enumerate(peers)))

    run_on("virtual", scenario, network=network)
    return heard


def test_the_same_seed_gives_the_same_run() -> None:
    first = chatter(seed=1)
    assert len(first) == 240
    assert first == chatter(seed=1)
    assert first != chatter(seed=2)


# Loss, order across streams, and broken connections.


def round_trips_s(settings: LinkSettings, *, count: int) -> list[float]:
    """How long single bytes take there and back, one after the other, each on a stream of its own."""
    took_s: list[float] = []

    async def talk(alice: Transport, bob: Transport) -> None:
        for _ in range(count):
            stream = await alice.open_stream(bob.peer_id, PROTOCOL)
            began_s = alice.clock.now()
            await stream.write(b"x")
            await stream.read_exactly(1)
            took_s.append(alice.clock.now() - began_s)
            await stream.close()

    network = VirtualNetwork()
    network.set_link("alice", "bob", settings=settings)
    between_two(network, talk)
    return took_s


def test_what_is_lost_is_sent_again_and_comes_late() -> None:
    took_s = round_trips_s(LinkSettings(0.01, lost_share=0.2, retransmission_s=0.3), count=200)
    on_time = [took for took in took_s if took == pytest.approx(0.02)]
    late = [took for took in took_s if took >= 0.32 - 1e-6]
    assert len(on_time) + len(late) == 200
    assert 0.5 < len(on_time) / 200 < 0.8  # both ways arrive at once in 0.64 of all cases
    assert max(took_s) > 0.5  # what is lost twice waits twice as long


def test_where_a_link_reorders_streams_overtake_each_other_and_each_keeps_its_order() -> None:
    received: dict[int, bytes] = {}
    first: list[int] = []

    async def talk(alice: Transport, bob: Transport) -> None:
        async def send(number: int) -> None:
            stream = await alice.open_stream(bob.peer_id, PROTOCOL)
            for byte in b"abcdefgh":
                await stream.write(bytes([byte]))
            received[number] = await stream.read_exactly(8)
            first.append(number)
            await stream.close()

        await asyncio.gather(*map(send, range(20)))

    network = VirtualNetwork()
    network.set_link("alice", "bob", settings=LinkSettings(0.01, jitter_s=0.5, reorders=True))
    between_two(network, talk)
    assert set(received.values()) == {b"abcdefgh"}
    assert first != sorted(first)


def test_streams_that_break_are_reset_on_both_sides_and_new_ones_can_be_opened() -> None:
    async def talk(alice: Transport, bob: Transport) -> None:
        assert isinstance(alice, VirtualTransport)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        assert alice.break_streams() == 1
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        assert isinstance(bob, VirtualTransport)
        await until(lambda: not bob.open_streams)
        again = await alice.open_stream(bob.peer_id, PROTOCOL)
        await again.write(b"y")
        assert await again.read_exactly(1) == b"y"
        await again.close()

    between_two(VirtualNetwork(), talk)


def test_all_bytes_that_left_somebody_are_counted() -> None:
    network = VirtualNetwork()

    async def talk(alice: Transport, bob: Transport) -> None:
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await stream.write(bytes(1000))
        await stream.read_exactly(1000)
        await stream.close()

    between_two(network, talk)
    assert network.all_sent_bytes == 2000
