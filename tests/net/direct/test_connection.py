"""How streams are begun on a connection, and what is heard of it between two of them."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.net.direct import connection as direct_module
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.direct.stream import END, DirectStream
from gossiptrain.net.framing import ProtocolViolationError
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError
from tests.net.direct.connection_pairs import run_with_pair, settle
from tests.transports import until

ALICE, BOB = PeerId("alice"), PeerId("bob")
BULK = "/test/bulk"


def nothing() -> None:
    """When a stream has been closed."""


def ends_of(left: SealedWire, right: SealedWire) -> tuple[DirectConnection, DirectConnection]:
    """The one that opens, and the other."""
    return DirectConnection(BOB, left, opens=True), DirectConnection(ALICE, right, opens=False)


async def begin(
    opener: DirectConnection, answerer: DirectConnection, *, protocol: str = BULK
) -> tuple[DirectStream, DirectStream]:
    """Both ends of a new stream."""

    async def accept() -> DirectStream:
        assert await answerer.requested() == protocol
        return await answerer.accept({})

    begun, accepted = await asyncio.gather(opener.begin(protocol, {}, on_close=nothing), accept())
    assert begun is not None
    return begun, accepted


async def end_in_order(begun: DirectStream, accepted: DirectStream) -> None:
    await begun.close()
    await accepted.wait_for_end()
    await accepted.close()


def test_each_stream_is_begun_by_its_protocol_and_nothing_of_that_is_seen_in_it() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        for protocol in ("/one", "/two", "/two"):
            begun, accepted = await begin(opener, answerer, protocol=protocol)
            assert (begun.remote, accepted.remote) == (BOB, ALICE)
            assert not opener.is_free
            await begun.write(b"hello")
            assert await accepted.read_exactly(5) == b"hello"
            assert (begun.bytes_sent, begun.bytes_received) == (5, 0)
            assert (accepted.bytes_sent, accepted.bytes_received) == (0, 5)
            await end_in_order(begun, accepted)
            opener.set_idle(lambda: pytest.fail("the connection is well"))
            await until(lambda: opener.is_free)
            opener.set_active()

    run_with_pair(scenario)


def test_a_protocol_that_is_not_served_leaves_the_connection_as_it_was() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)

        async def refuse() -> None:
            assert await answerer.requested() == "/unknown"
            await answerer.refuse()

        begun, _ = await asyncio.gather(opener.begin("/unknown", {}, on_close=nothing), refuse())
        assert begun is None
        assert opener.is_free
        await begin(opener, answerer)

    run_with_pair(scenario)


def test_a_stream_stands_among_the_open_ones_until_it_is_ended() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        here: dict[Stream, None] = {}
        there: dict[Stream, None] = {}
        closed = asyncio.Event()

        async def accept() -> DirectStream:
            await answerer.requested()
            assert there == {}
            return await answerer.accept(there)

        begun, accepted = await asyncio.gather(opener.begin(BULK, here, on_close=closed.set), accept())
        assert begun is not None
        assert (list(here), list(there)) == ([begun], [accepted])
        await end_in_order(begun, accepted)
        assert (here, there) == ({}, {})
        assert closed.is_set()

    run_with_pair(scenario)


@pytest.mark.parametrize(
    "words", [END, b"x", b"Hello {}", b'StreamRequest {"protocol": 7}', b"StreamRequest " + b"x" * 2000]
)
def test_whoever_does_not_ask_for_a_stream_as_it_should_gets_none(words: bytes) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        _, answerer = ends_of(left, right)
        rude = DirectStream(BOB, {}, wire=left, opened_here=True)
        await rude.write(len(words).to_bytes(4, "big") + words)
        with pytest.raises((StreamClosedError, ProtocolViolationError)):
            await answerer.requested()

    run_with_pair(scenario)


# Between two streams.


async def is_found_broken(opener: DirectConnection) -> bool:
    """Whether the side that opens hears of it while nothing is going on."""
    broken = asyncio.Event()

    def look_away() -> None:
        opener.set_active()
        broken.set()

    opener.set_idle(look_away)
    try:
        async with asyncio.timeout(0.2):
            await broken.wait()
    except TimeoutError:
        opener.set_active()
        return False
    return True


def test_a_connection_on_which_nothing_comes_is_well() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        await end_in_order(*await begin(opener, answerer))
        assert not await is_found_broken(opener)
        assert opener.is_free

    run_with_pair(scenario)


def test_a_connection_is_not_free_before_the_other_side_has_ended_the_stream_too() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        begun, accepted = await begin(opener, answerer)
        await begun.close()
        assert not await is_found_broken(opener)
        assert not opener.is_free
        await accepted.wait_for_end()
        await accepted.close()
        assert not await is_found_broken(opener)
        assert opener.is_free

    run_with_pair(scenario)


def test_the_end_of_the_connection_is_heard_at_once() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        await end_in_order(*await begin(opener, answerer))
        answerer.end()
        assert await is_found_broken(opener)

    run_with_pair(scenario)


@pytest.mark.parametrize("ended", [True, False])
def test_bytes_after_the_end_of_a_stream_make_a_connection_useless(ended: bool) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        begun, accepted = await begin(opener, answerer)
        await begun.close()
        if ended:
            await accepted.wait_for_end()
            await accepted.close()
            await right.send(memoryview(END))
        else:
            await accepted.write(b"more")
        assert await is_found_broken(opener)

    run_with_pair(scenario)


def test_bytes_that_are_not_what_was_sealed_make_a_connection_useless() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        await end_in_order(*await begin(opener, answerer))
        await right.wire.send(b"\x17\x03\x03\x00\x20" + b"garbage " * 4)
        assert await is_found_broken(opener)

    run_with_pair(scenario)


def test_the_key_limit_of_a_connection_is_reached_by_what_it_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_module, "KEY_LIMIT_BYTES", 10_000)

    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        begun, accepted = await begin(opener, answerer)
        assert not opener.key_limit_reached
        await begun.write(bytes(6000))
        assert not opener.key_limit_reached
        await accepted.write(bytes(4000))
        await begun.read_exactly(4000)
        assert opener.key_limit_reached

    run_with_pair(scenario)


def test_after_an_idle_time_bulk_goes_as_before() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        for _ in range(3):
            begun, accepted = await begin(opener, answerer)
            writing = asyncio.gather(begun.write(b"there" * 200_000), accepted.write(b"back" * 200_000))
            read = await asyncio.gather(accepted.read_exactly(1_000_000), begun.read_exactly(800_000))
            await writing
            assert [*read] == [b"there" * 200_000, b"back" * 200_000]
            await end_in_order(begun, accepted)
            assert not await is_found_broken(opener)
            answerer.set_idle()
            await settle()

    run_with_pair(scenario)


# Before a stream is wanted.


async def heard(opener: DirectConnection, answerer: DirectConnection) -> None:
    """The other side answers a question for nothing."""

    async def refuse() -> None:
        assert await answerer.requested() == ""
        await answerer.refuse()

    await asyncio.gather(opener.ping(), refuse())


def test_a_connection_is_fresh_once_the_other_side_was_heard_and_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        opener, answerer = ends_of(left, right)
        assert not opener.is_fresh
        await heard(opener, answerer)
        assert opener.is_fresh
        assert opener.is_free
        monkeypatch.setattr(direct_module, "FRESH_S", 0.0)
        assert not opener.is_fresh

    run_with_pair(scenario)
