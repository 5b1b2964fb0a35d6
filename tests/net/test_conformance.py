"""What every transport promises: the same scenario in memory, on real libp2p daemons, and over direct connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging

import pytest

from gossiptrain.net import handlers
from gossiptrain.net.framing import Message, ProtocolViolationError, call, receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError, Transport, UnreachableError
from tests.transports import Kind, MakeTransport, on_all_streams, run_on, until

pytestmark = on_all_streams
PROTOCOL = "/test/1"


class Word(Message):
    """A message for tests."""

    text: str


async def start(make: MakeTransport, *names: str) -> list[Transport]:
    """Starts peers side by side."""
    return await asyncio.gather(*map(make, names))


async def meet(make: MakeTransport) -> tuple[Transport, Transport]:
    """Two peers; the first has dialled the second."""
    alice, bob = await start(make, "alice", "bob")
    await alice.connect(bob.addresses[0])
    return alice, bob


async def idle(stream: Stream) -> None:
    """A handler that keeps its stream open until it is cancelled."""
    await asyncio.Event().wait()


def test_a_peer_has_an_id_addresses_and_signatures(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await start(make, "alice", "bob")
        assert alice.peer_id != bob.peer_id
        for peer in (alice, bob):
            assert peer.addresses
            assert all(address.endswith(f"/p2p/{peer.peer_id}") for address in peer.addresses)
        signature = alice.sign(b"data")
        assert bob.verify(alice.peer_id, b"data", signature)
        assert not bob.verify(alice.peer_id, b"other", signature)
        assert not bob.verify(bob.peer_id, b"data", signature)
        assert not bob.verify(alice.peer_id, b"data", bob.sign(b"data"))
        assert not bob.verify(alice.peer_id, b"data", b"")

    run_on(kind, scenario)


def test_connecting_proves_who_lives_there(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob, carol = await start(make, "alice", "bob", "carol")
        address = bob.addresses[0].removesuffix(bob.peer_id) + carol.peer_id
        for _ in range(2):  # the reason is the same however often it is asked
            with pytest.raises(UnreachableError, match=f"another peer lives .*{bob.peer_id}"):
                await alice.connect(address)
        assert await alice.connect(bob.addresses[0]) == bob.peer_id
        assert await alice.connect(bob.addresses[0]) == bob.peer_id  # again does no harm
        for malformed in ("", "nonsense", "/", "/p2p/12D3KooW", "/memory/a/p2p", "/ip4/127.0.0.1/tcp/4011"):
            with pytest.raises(UnreachableError, match="not"):
                await alice.connect(malformed)

    run_on(kind, scenario)


def test_nobody_answers_where_nobody_lives(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await start(make, "alice", "bob")
        await bob.close()
        for _ in range(2):  # the reason is the same however often it is asked
            with pytest.raises(UnreachableError, match="connection refused"):
                await alice.connect(bob.addresses[0])

    run_on(kind, scenario)


def test_question_and_answer(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def shout(stream: Stream) -> None:
            word = await receive_message(stream, Word)
            await send_message(stream, Word(text=word.text.upper()))

        await bob.serve(PROTOCOL, shout)
        reply = await call(alice, bob.peer_id, protocol=PROTOCOL, request=Word(text="hello"), reply_kind=Word)
        assert reply.text == "HELLO"

    run_on(kind, scenario)


def test_a_connection_serves_both_sides(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        heard: list[PeerId] = []

        async def listen(stream: Stream) -> None:
            heard.append(stream.remote)
            await stream.write(b"!")

        await alice.serve(PROTOCOL, listen)
        stream = await bob.open_stream(alice.peer_id, PROTOCOL)
        assert stream.remote == alice.peer_id
        assert await stream.read_exactly(1) == b"!"
        assert heard == [bob.peer_id]  # the handler knows who called, whatever the caller may claim
        await stream.close()

    run_on(kind, scenario)


def test_a_protocol_that_is_not_served_is_refused(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        await bob.serve(PROTOCOL, idle)
        with pytest.raises(UnreachableError, match="does not speak"):
            await alice.open_stream(bob.peer_id, "/test/2")

    run_on(kind, scenario)


def test_a_peer_without_a_known_address_is_unreachable(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await start(make, "alice", "bob")
        await bob.serve(PROTOCOL, idle)
        with pytest.raises(UnreachableError, match="no address"):
            await alice.open_stream(bob.peer_id, PROTOCOL)
        alice.remember(bob.peer_id, bob.addresses)
        (await alice.open_stream(bob.peer_id, PROTOCOL)).abort()

    run_on(kind, scenario)


def test_the_last_handler_counts(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def answer(stream: Stream) -> None:
            await stream.write(b"new")

        await bob.serve(PROTOCOL, idle)
        await bob.serve(PROTOCOL, answer)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        assert await stream.read_exactly(3) == b"new"
        stream.abort()

    run_on(kind, scenario)


def test_large_data_both_ways_at_once_arrives_intact(kind: Kind) -> None:
    size_bytes = 5_000_001
    there, back = bytes(range(256)) * (size_bytes // 256 + 1), bytes(range(255, -1, -1)) * (size_bytes // 256 + 1)
    there, back = there[:size_bytes], back[:size_bytes]

    async def swap(stream: Stream, data: bytes) -> str:
        received, _ = await asyncio.gather(stream.read_exactly(size_bytes), stream.write(data))
        return hashlib.sha256(received).hexdigest()

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        digests: list[str] = []

        async def handler(stream: Stream) -> None:
            digests.append(await swap(stream, back))
            await stream.write(b".")
            assert (stream.bytes_received, stream.bytes_sent) == (size_bytes, size_bytes + 1)

        await bob.serve(PROTOCOL, handler)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        assert await swap(stream, there) == hashlib.sha256(back).hexdigest()
        await stream.read_exactly(1)
        await stream.close()
        assert digests == [hashlib.sha256(there).hexdigest()]
        assert (stream.bytes_received, stream.bytes_sent) == (size_bytes + 1, size_bytes)

    run_on(kind, scenario)


def test_the_buffer_may_be_used_again_once_it_is_written(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        received: asyncio.Queue[bytes] = asyncio.Queue()

        async def collect(stream: Stream) -> None:
            received.put_nowait(await stream.read_exactly(20 * 100_000))

        await bob.serve(PROTOCOL, collect)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        buffer = bytearray(100_000)
        for number in range(20):
            buffer[:] = bytes([number]) * len(buffer)
            await stream.write(buffer)
        expected = b"".join(bytes([number]) * len(buffer) for number in range(20))
        assert await received.get() == expected
        await stream.close()

    run_on(kind, scenario)


def test_what_a_handler_wrote_last_waits_for_its_reader(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        returned = asyncio.Event()

        async def answer(stream: Stream) -> None:
            await stream.write(b"x" * 30_000)
            returned.set()

        await bob.serve(PROTOCOL, answer)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await returned.wait()
        for _ in range(100):
            await stream.write(b"dropped")  # only the opener ends the stream
        assert await stream.read_exactly(30_000) == b"x" * 30_000
        await stream.close()
        for operation in (stream.read_exactly(1), stream.write(b"y")):
            with pytest.raises(StreamClosedError):
                await operation
        await stream.close()
        stream.abort()

    run_on(kind, scenario)


def test_a_stream_that_its_opener_forgets_is_ended_in_the_end(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "LINGER_S", 0.2)

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def answer(stream: Stream) -> None:
            await stream.write(b"x")

        await bob.serve(PROTOCOL, answer)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await stream.wait_for_end()

    run_on(kind, scenario)


def test_no_answer_is_lost_among_thousands(kind: Kind) -> None:
    """Where the writer ended the stream, one of about 5,000 was, and only where the processor was busy."""

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def shout(stream: Stream) -> None:
            word = await receive_message(stream, Word)
            await send_message(stream, Word(text=word.text.upper()))

        async def ask() -> None:
            for _ in range(125):
                await call(alice, bob.peer_id, protocol=PROTOCOL, request=Word(text="hello"), reply_kind=Word)

        await bob.serve(PROTOCOL, shout)
        await asyncio.gather(*(ask() for _ in range(8)))

    run_on(kind, scenario)


@pytest.mark.parametrize("who", ["caller", "handler"])
def test_the_other_side_sees_an_abort(kind: Kind, who: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        opened: asyncio.Queue[Stream] = asyncio.Queue()

        async def offer(stream: Stream) -> None:
            opened.put_nowait(stream)
            await idle(stream)

        await bob.serve(PROTOCOL, offer)
        ends = [await alice.open_stream(bob.peer_id, PROTOCOL), await opened.get()]
        if who == "handler":
            ends.reverse()
        ends[0].abort()
        ends[0].abort()
        with pytest.raises(StreamClosedError):
            await ends[1].read_exactly(1)
        with pytest.raises(StreamClosedError):
            await ends[1].write(bytes(100 << 20))  # more than any buffer on the way takes

    run_on(kind, scenario)


@pytest.mark.parametrize(
    ("error", "is_logged"), [(RuntimeError("a fault"), True), (ProtocolViolationError("!"), False)]
)
def test_a_handler_that_raises_aborts_its_stream(
    kind: Kind, error: Exception, is_logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def fail(stream: Stream) -> None:
            await stream.read_exactly(1)
            raise error

        await bob.serve(PROTOCOL, fail)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await stream.write(b"x")
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        stream.abort()

    with caplog.at_level(logging.WARNING, logger="gossiptrain"):
        run_on(kind, scenario)
    assert bool(caplog.records) is is_logged


def test_a_writer_waits_for_a_slow_reader(kind: Kind) -> None:
    size_bytes = 64 << 20

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        may_read, all_read = asyncio.Event(), asyncio.Event()

        async def read_late(stream: Stream) -> None:
            await may_read.wait()
            for _ in range(size_bytes >> 20):
                await stream.read_exactly(1 << 20)
            all_read.set()

        await bob.serve(PROTOCOL, read_late)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        writing = asyncio.create_task(stream.write(bytes(size_bytes)))
        sent_bytes = -1
        while sent_bytes != stream.bytes_sent:  # until it does not move any more
            sent_bytes = stream.bytes_sent
            await alice.clock.sleep(0.2)
        assert 0 < sent_bytes < size_bytes
        assert not writing.done()
        may_read.set()
        await writing
        await all_read.wait()
        await stream.close()

    run_on(kind, scenario)


def test_a_cancelled_read_loses_nothing(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def halting(stream: Stream) -> None:
            await stream.write(b"first ")
            await stream.read_exactly(1)
            await stream.write(b"second")

        await bob.serve(PROTOCOL, halting)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        with pytest.raises(TimeoutError):
            async with alice.clock.timeout(0.2):
                await stream.read_exactly(12)
        await stream.write(b".")
        assert await stream.read_exactly(12) == b"first second"
        await stream.close()

    run_on(kind, scenario)


def test_an_opening_that_is_given_up_leaves_no_stream(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        began: list[Stream] = []
        ended: list[Stream] = []

        async def watch(stream: Stream) -> None:
            began.append(stream)
            try:
                await stream.read_exactly(1)
            finally:
                ended.append(stream)

        await bob.serve(PROTOCOL, watch)
        for attempt in range(20):  # given up at any moment of it, or just too late
            opening = asyncio.create_task(alice.open_stream(bob.peer_id, PROTOCOL))
            await asyncio.sleep(0.0002 * attempt)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await opening).abort()
        last = await alice.open_stream(bob.peer_id, PROTOCOL)
        last.abort()
        await until(lambda: bool(began) and began[-1] in ended and len(began) == len(ended))

    run_on(kind, scenario)


def test_many_streams_at_once(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def echo(stream: Stream) -> None:
            await stream.write(await stream.read_exactly(1000))

        async def ask(caller: Transport, called: Transport, number: int) -> None:
            stream = await caller.open_stream(called.peer_id, PROTOCOL)
            await stream.write(bytes([number]) * 1000)
            assert await stream.read_exactly(1000) == bytes([number]) * 1000
            await stream.close()

        await bob.serve(PROTOCOL, echo)
        await alice.serve(PROTOCOL, echo)
        calls = [ask(*((alice, bob) if number % 2 else (bob, alice)), number) for number in range(60)]
        await asyncio.gather(*calls)

    run_on(kind, scenario)


def test_closing_ends_streams_and_handlers(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        cancelled = asyncio.Event()

        async def wait(stream: Stream) -> None:
            await stream.write(b"x")
            try:
                await idle(stream)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        await bob.serve(PROTOCOL, wait)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await stream.read_exactly(1)
        await bob.close()
        await bob.close()
        assert cancelled.is_set()
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        with pytest.raises(UnreachableError):
            await bob.open_stream(alice.peer_id, PROTOCOL)

    run_on(kind, scenario)


def test_a_handler_may_close_its_own_transport(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)

        async def leave(stream: Stream) -> None:
            await bob.close()

        async def ask() -> None:
            stream = await alice.open_stream(bob.peer_id, PROTOCOL)
            await stream.read_exactly(1)

        await bob.serve(PROTOCOL, leave)
        with pytest.raises((StreamClosedError, UnreachableError)):
            await ask()

    run_on(kind, scenario)


def test_the_directory_is_shared(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        carol = await make("carol")
        assert await alice.directory.put("run", "alice", b"early", lifetime_s=60)  # kept here until others come
        await alice.bootstrap([bob.peer_id])
        await carol.bootstrap([await carol.connect(alice.addresses[0])])
        assert await bob.directory.put("run", "bob", b"here", lifetime_s=60)
        assert await carol.directory.put("run", "carol", b"x" * 1024, lifetime_s=60)
        expected = {"alice": b"early", "bob": b"here", "carol": b"x" * 1024}
        for peer in (alice, bob, carol):
            assert await peer.directory.get("run") == expected
            assert await peer.directory.get("another") == {}

    run_on(kind, scenario)


def test_directory_entries_expire_and_can_be_renewed(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        await alice.bootstrap([bob.peer_id])
        started_s = alice.clock.now()
        await alice.directory.put("run", "short", b"1", lifetime_s=1.5)
        await alice.directory.put("run", "renewed", b"1", lifetime_s=1.5)
        assert await alice.directory.put("run", "renewed", b"2", lifetime_s=60)
        assert await bob.directory.get("run") == {"short": b"1", "renewed": b"2"}
        while "short" in await bob.directory.get("run"):
            await bob.clock.sleep(0.05)
        assert alice.clock.now() - started_s >= 1.5
        assert await alice.directory.get("run") == {"renewed": b"2"}

    run_on(kind, scenario)


def test_a_lone_peer_has_a_directory_with_limits(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        await bob.close()
        await alice.bootstrap([])
        await alice.bootstrap([bob.peer_id])
        assert await alice.directory.put("run", "alice", b"1", lifetime_s=60)
        assert await alice.directory.get("run") == {"alice": b"1"}
        for key, subkey, value, lifetime_s in (
            ("k", "s", b"x" * 1025, 60.0),
            ("k", "", b"x", 60.0),
            ("k" * 129, "s", b"x", 60.0),
            ("k", "s", b"x", 0.0),
            ("k", "s", b"x", 1e9),
        ):
            with pytest.raises(ValueError, match="directory entry"):
                await alice.directory.put(key, subkey, value, lifetime_s=lifetime_s)

    run_on(kind, scenario)


def test_a_peer_that_restarts_is_found_at_its_new_address(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        await bob.serve(PROTOCOL, idle)
        old = await alice.open_stream(bob.peer_id, PROTOCOL)
        await bob.close()
        with pytest.raises(StreamClosedError):
            await old.read_exactly(1)
        with pytest.raises(UnreachableError):
            await alice.open_stream(bob.peer_id, PROTOCOL)
        again = await make("bob")
        assert again.peer_id == bob.peer_id
        await again.serve(PROTOCOL, idle)
        alice.remember(again.peer_id, ["/nonsense", *again.addresses])
        stream = await alice.open_stream(again.peer_id, PROTOCOL)
        await stream.close()

    run_on(kind, scenario)


def test_a_restarted_peer_that_calls_can_be_called_back(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await meet(make)
        await bob.close()
        with pytest.raises(UnreachableError):
            await alice.open_stream(bob.peer_id, PROTOCOL)
        again = await make("bob")
        await again.serve(PROTOCOL, idle)
        await again.connect(alice.addresses[0])
        stream = await alice.open_stream(again.peer_id, PROTOCOL)
        await stream.close()

    run_on(kind, scenario)
