"""Streams one after another on one connection: where each ends, and when the connection ends with it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.net.congestion import LineShare
from gossiptrain.net.direct.sealed_wire import SEAL_BYTES, SealedWire
from gossiptrain.net.direct.stream import END, LENGTH_BYTES, DirectStream
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError
from tests.net.direct.connection_pairs import run_with_pair, settle

MORE_THAN_FITS = 16 << 20


class Ends:
    """Both ends of a stream, and what has become of them."""

    def __init__(self, left: SealedWire, right: SealedWire) -> None:
        self.open: dict[Stream, None] = {}
        self.closed: list[str] = []
        self.opener = DirectStream(
            PeerId("bob"), self.open, wire=left, opened_here=True, on_close=lambda: self.closed.append("opener")
        )
        self.answerer = DirectStream(
            PeerId("alice"), self.open, wire=right, opened_here=False, on_close=lambda: self.closed.append("answerer")
        )

    async def end_in_order(self) -> None:
        """The opener first, as it reads last."""
        await self.opener.close()
        await self.answerer.wait_for_end()
        await self.answerer.close()


def pattern(size_bytes: int) -> bytes:
    """Bytes that tell where they stand, to a length of 251."""
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


async def is_broken(stream: DirectStream) -> bool:
    """Whether the connection has been ended at the other side."""
    try:
        await stream.read_exactly(1)
    except StreamClosedError:
        return True
    return False


async def take_the_end(wire: SealedWire) -> None:
    """What the owner of a connection does at the opener's side before it uses it again."""
    memory = memoryview(bytearray(LENGTH_BYTES + 1))
    assert await wire.receive(memory) == LENGTH_BYTES
    assert bytes(memory[:LENGTH_BYTES]) == END


# What goes in comes out.


@given(
    written=st.lists(st.integers(0, 3 * SEAL_BYTES), min_size=1, max_size=6),
    read=st.lists(st.integers(1, 3 * SEAL_BYTES), min_size=1, max_size=6),
)
@settings(deadline=None, max_examples=40)
def test_writes_of_any_size_are_read_in_pieces_of_any_other(written: list[int], read: list[int]) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        data = pattern(sum(written))

        async def write() -> None:
            at = 0
            for size in written:
                await ends.opener.write(data[at : at + size])
                at += size

        async def take() -> bytes:
            received = b""
            for size in read * len(data):
                received += await ends.answerer.read_exactly(min(size, len(data) - len(received)))
                if len(received) == len(data):
                    break
            return received

        received, _ = await asyncio.gather(take(), write())
        assert received == data
        assert ends.opener.bytes_sent == ends.answerer.bytes_received == len(data)

    run_with_pair(scenario)


def test_numbers_are_written_as_their_bytes_and_nothing_is_not_the_end() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.opener.write(b"")
        await ends.opener.write(memoryview(pattern(400)).cast("I"))
        assert await ends.answerer.read_exactly(400) == pattern(400)

    run_with_pair(scenario)


# One stream after another.


def test_a_connection_carries_one_stream_after_another() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        for number in range(5):
            ends = Ends(left, right)
            words = pattern(100_000 * number + 1)
            writing = asyncio.gather(ends.opener.write(words), ends.answerer.write(words[::-1]))
            assert await ends.answerer.read_exactly(len(words)) == words
            assert await ends.opener.read_exactly(len(words)) == words[::-1]
            await writing
            await ends.end_in_order()
            await take_the_end(left)
            assert ends.closed == ["opener", "answerer"]
            assert not ends.open
            left.release_memory()
            right.release_memory()
        assert not left.ended
        assert not right.ended

    run_with_pair(scenario)


def test_the_next_stream_on_a_connection_does_not_share_the_line_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        told: list[LineShare | None] = []
        monkeypatch.setattr(left.wire, "share_line", told.append)
        ends = Ends(left, right)
        ends.opener.share_line(6, 1e6)
        await ends.end_in_order()
        assert told == [LineShare(6, 1e6), None]
        ends.opener.share_line(6, 1e6)
        assert len(told) == 2, "a stream that has ended has no say in the connection"
        await take_the_end(left)
        ends = Ends(left, right)
        await ends.end_in_order()
        assert len(told) == 2, "who shared nothing has nothing to take back"

    run_with_pair(scenario)


def test_what_is_written_after_the_opener_has_ended_does_not_get_into_the_next_stream() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.opener.close()
        await ends.answerer.write(b"too late")
        with pytest.raises(AssertionError):
            await take_the_end(left)

    run_with_pair(scenario)


def test_what_the_answering_side_has_not_read_is_dropped() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.opener.write(pattern(200_000))
        assert await ends.answerer.read_exactly(1000) == pattern(1000)
        reading = asyncio.create_task(ends.answerer.read_exactly(300_000))
        await settle()
        reading.cancel()
        await asyncio.wait([reading])
        await ends.end_in_order()
        assert ends.closed == ["opener", "answerer"]
        again = Ends(left, right)
        await again.opener.write(b"next")
        assert await again.answerer.read_exactly(4) == b"next"

    run_with_pair(scenario)


def test_a_stream_that_has_ended_says_so_and_leaves_the_next_one_alone() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.end_in_order()
        await take_the_end(left)
        later = Ends(left, right)
        for stream in (ends.opener, ends.answerer):
            for operation in (stream.read_exactly(1), stream.write(b"x"), stream.write(b"")):
                with pytest.raises(StreamClosedError):
                    await operation
            await stream.wait_for_end()
            await stream.close()
            stream.abort()
        assert ends.closed == ["opener", "answerer"]
        await later.opener.write(b"next")
        assert await later.answerer.read_exactly(4) == b"next"

    run_with_pair(scenario)


def test_after_the_end_the_answering_side_reads_no_further() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.opener.write(b"last")
        await ends.opener.close()
        assert await ends.answerer.read_exactly(4) == b"last"
        for _ in range(2):
            with pytest.raises(StreamClosedError):
                await ends.answerer.read_exactly(1)

    run_with_pair(scenario)


# What is not in order ends the connection.


def test_an_abort_ends_the_connection() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        ends.opener.abort()
        ends.opener.abort()
        assert left.ended
        assert await is_broken(ends.answerer)
        await ends.answerer.close()
        assert right.ended
        assert ends.closed == []
        assert not ends.open

    run_with_pair(scenario)


def test_the_answering_side_cannot_end_first() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.answerer.close()
        assert right.ended
        assert await is_broken(ends.opener)

    run_with_pair(scenario)


@pytest.mark.parametrize("taken_bytes", [0, 1, 999])
def test_an_opener_that_has_not_read_all_ends_the_connection(taken_bytes: int) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await ends.answerer.write(pattern(1000))
        await ends.opener.read_exactly(taken_bytes)
        reading = asyncio.create_task(ends.opener.read_exactly(2000))
        await settle()
        reading.cancel()
        await asyncio.wait([reading])
        await ends.opener.close()
        assert left.ended
        assert ends.closed == []

    run_with_pair(scenario)


def test_a_write_that_was_given_up_ends_the_connection() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        writing = asyncio.create_task(ends.opener.write(bytes(MORE_THAN_FITS)))
        await settle()
        writing.cancel()
        await asyncio.wait([writing])
        await ends.opener.close()
        assert left.ended
        await ends.answerer.wait_for_end()
        await ends.answerer.close()
        assert ends.closed == []

    run_with_pair(scenario)


@pytest.mark.parametrize("operation", ["read", "write"])
def test_closing_while_somebody_reads_or_writes_wakes_them_and_ends_the_connection(operation: str) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        going_on = ends.opener.read_exactly(1) if operation == "read" else ends.opener.write(bytes(MORE_THAN_FITS))
        task = asyncio.ensure_future(going_on)
        await settle()
        assert not task.done()
        await ends.opener.close()
        assert left.ended
        with pytest.raises(StreamClosedError):
            await task

    run_with_pair(scenario)


def test_an_end_for_which_there_is_no_room_ends_the_connection() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        while left.wire.send_now(bytes(1 << 16)):
            pass
        await ends.opener.close()
        assert left.ended
        assert ends.closed == []

    run_with_pair(scenario)


@pytest.mark.parametrize("rubbish", [b"x", b"x" * (LENGTH_BYTES - 1)])
def test_a_length_in_pieces_ends_the_connection(rubbish: bytes) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await left.send(memoryview(rubbish))
        assert await is_broken(ends.answerer)
        assert right.ended

    run_with_pair(scenario)


def test_a_length_beyond_all_bounds_takes_no_memory() -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        await left.send(memoryview(b"ab"), head=b"\xff" * LENGTH_BYTES)
        assert await ends.answerer.read_exactly(2) == b"ab"

    run_with_pair(scenario)


# A cancelled read loses nothing.


@pytest.mark.parametrize("sizes", [(1, 1, 1), (10, 100_000, 3), (SEAL_BYTES, SEAL_BYTES + 1, 7)])
def test_reads_that_are_given_up_at_any_moment_lose_nothing(sizes: tuple[int, ...]) -> None:
    async def scenario(left: SealedWire, right: SealedWire) -> None:
        ends = Ends(left, right)
        data = pattern(sum(sizes))
        at = 0
        for size in sizes:
            for waits in range(4):
                reading = asyncio.create_task(ends.answerer.read_exactly(len(data)))
                for _ in range(waits):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
            await ends.opener.write(data[at : at + size])
            at += size
        assert await ends.answerer.read_exactly(len(data)) == data
        await ends.end_in_order()
        assert ends.closed == ["opener", "answerer"]

    run_with_pair(scenario)
