"""A wire moves bytes between the callers' memory and its socket, and loses none when somebody stops waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from gossiptrain.net.transport import StreamClosedError
from gossiptrain.net.wire import Wire

MORE_THAN_FITS = 8 << 20
"""More bytes than a pair of sockets holds unread."""
LIMIT_S = 10.0
Scenario = Callable[[Wire, Wire], Coroutine[Any, Any, None]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
on_both_loops = pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def run_with_two(scenario: Scenario, loop_factory: LoopFactory) -> None:
    """Runs it with the two ends of one connection."""

    async def main() -> None:
        unseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        left, right = (Wire(end) for end in socket.socketpair())
        try:
            async with asyncio.timeout(LIMIT_S):
                await scenario(left, right)
        finally:
            left.end()
            right.end()
        await settle()
        assert not unseen
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def settle() -> None:
    """Lets everybody go as far as they can without new bytes."""
    for _ in range(5):
        await asyncio.sleep(0)


async def receive_exactly(wire: Wire, size_bytes: int) -> bytes:
    data = bytearray(size_bytes)
    left = memoryview(data)
    while left:
        left = left[await wire.receive(left) :]
    return bytes(data)


async def fails_with_the_end(waiting: Awaitable[object]) -> None:
    with pytest.raises(StreamClosedError):
        await waiting


def pattern(size_bytes: int) -> bytes:
    """Bytes that tell where they stand, to a length of 251."""
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


@on_both_loops
def test_bytes_go_into_the_callers_memory_and_nowhere_beside_it(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        memory = bytearray(b"." * 10)
        await left.send(b"hello, world")
        assert await right.receive(memoryview(memory)[3:8]) == 5
        assert memory == b"...hello.."
        assert await right.receive(memoryview(memory)) == 7, "the rest is still there"
        assert memory == b", world.."[:7] + b"o.."

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_what_is_there_is_taken_at_once_and_nothing_is_waited_for(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        memory = memoryview(bytearray(10))
        assert right.receive_now(memory) == 0
        await left.send(b"abc")
        assert right.receive_now(memory) == 3
        assert right.receive_now(memory) == 0
        left.end()
        with pytest.raises(StreamClosedError):
            right.receive_now(memory)

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_a_receiver_waits_for_the_first_byte(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        receiving = asyncio.create_task(receive_exactly(right, 3))
        await settle()
        assert not receiving.done()
        await left.send(b"abc")
        assert await receiving == b"abc"

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_a_sender_waits_for_room_and_all_arrives(loop_factory: LoopFactory) -> None:
    data = pattern(MORE_THAN_FITS)

    async def scenario(left: Wire, right: Wire) -> None:
        sending = asyncio.create_task(left.send(data))
        await settle()
        assert not sending.done()
        assert await receive_exactly(right, len(data)) == data
        await sending

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_both_directions_are_full_at_once_without_a_standstill(loop_factory: LoopFactory) -> None:
    data = pattern(MORE_THAN_FITS)

    async def scenario(left: Wire, right: Wire) -> None:
        sending = asyncio.gather(left.send(data), right.send(data[::-1]))
        await settle()
        received = await asyncio.gather(receive_exactly(right, len(data)), receive_exactly(left, len(data)))
        assert tuple(received) == (data, data[::-1])
        await sending

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_numbers_are_sent_as_their_bytes(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        await left.send(memoryview(pattern(400)).cast("I"))
        await left.send(b"")
        assert await receive_exactly(right, 400) == pattern(400)

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_ending_wakes_the_own_receiver_and_sender(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        receiving = asyncio.create_task(left.receive(memoryview(bytearray(1))))
        sending = asyncio.create_task(left.send(bytes(MORE_THAN_FITS)))
        await settle()
        assert not receiving.done()
        assert not sending.done()
        left.end()
        left.end()
        assert left.ended
        await fails_with_the_end(receiving)
        await fails_with_the_end(sending)

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_ending_wakes_the_receiver_and_sender_at_the_other_side(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        receiving = asyncio.create_task(left.receive(memoryview(bytearray(1))))
        sending = asyncio.create_task(left.send(bytes(MORE_THAN_FITS)))
        await settle()
        right.end()
        await fails_with_the_end(receiving)
        await fails_with_the_end(sending)
        assert not left.ended, "its owner ends it"

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_after_the_end_nothing_is_sent_or_received(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        await right.send(b"too late")
        left.end()
        await fails_with_the_end(left.send(b"x"))
        await fails_with_the_end(left.receive(memoryview(bytearray(1))))

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_what_was_sent_before_the_end_still_arrives(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        await left.send(pattern(10_000))
        left.end()
        assert await receive_exactly(right, 10_000) == pattern(10_000)
        await fails_with_the_end(right.receive(memoryview(bytearray(1))))

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_a_cancelled_receive_loses_nothing(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        for number in range(20):
            memory = memoryview(bytearray(100))
            receiving = asyncio.create_task(right.receive(memory))
            await settle()
            await left.send(bytes([number]))
            for _ in range(number % 4):  # the cancellation comes before, with or after the byte
                await asyncio.sleep(0)
            receiving.cancel()
            got = bytearray()
            try:
                got += memory[: await receiving]
            except asyncio.CancelledError:
                got += await receive_exactly(right, 1)
            assert got == bytes([number])

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_after_a_cancelled_receive_the_next_one_works_and_the_sender_goes_on(loop_factory: LoopFactory) -> None:
    data = pattern(MORE_THAN_FITS)

    async def scenario(left: Wire, right: Wire) -> None:
        sending = asyncio.create_task(left.send(data))
        receiving = asyncio.create_task(left.receive(memoryview(bytearray(1))))
        await settle()
        receiving.cancel()
        await asyncio.wait([receiving])
        assert await receive_exactly(right, len(data)) == data
        await sending
        await right.send(b"x")
        assert await receive_exactly(left, 1) == b"x"

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_what_there_is_room_for_is_sent_at_once_and_nobody_waits(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        assert left.send_now(b"abc")
        assert await receive_exactly(right, 3) == b"abc"
        assert not left.send_now(bytes(MORE_THAN_FITS))
        assert not left.send_now(b"x"), "now there is no room at all"
        right.end()
        with pytest.raises(StreamClosedError):
            left.send_now(b"x")
        left.end()
        with pytest.raises(StreamClosedError):
            left.send_now(b"x")

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_who_watches_is_told_of_bytes_and_of_the_end_until_it_looks_away(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        seen: list[bytes] = []
        told = asyncio.Event()

        def look() -> None:
            memory = bytearray(10)
            try:
                seen.append(bytes(memory[: right.receive_now(memoryview(memory))]))
            except StreamClosedError:
                seen.append(b"the end")
                right.stop_watching()
            told.set()

        right.watch(look)
        await settle()
        assert not seen
        for words in (b"one", b"two"):
            await left.send(words)
            await told.wait()
            told.clear()
        right.stop_watching()
        right.stop_watching()
        await left.send(b"three")
        assert await receive_exactly(right, 5) == b"three", "the bytes are for whoever receives again"
        right.watch(look)
        left.end()
        await told.wait()
        assert seen == [b"one", b"two", b"the end"]

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_ending_a_wire_that_is_watched_leaves_nothing(loop_factory: LoopFactory) -> None:
    async def scenario(left: Wire, right: Wire) -> None:
        right.watch(lambda: pytest.fail("nothing comes"))
        right.end()
        right.watch(lambda: pytest.fail("it has ended"))
        right.stop_watching()
        new_left, new_right = (Wire(end) for end in socket.socketpair())  # one has the number of the ended one
        try:
            await new_left.send(b"x")
            assert await receive_exactly(new_right, 1) == b"x"
        finally:
            new_left.end()
            new_right.end()

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_a_descriptor_that_is_given_out_again_has_nothing_to_do_with_the_ended_wire(loop_factory: LoopFactory) -> None:
    """The kernel gives the lowest free number to the next socket: as a rule the one that was just closed."""

    async def scenario(left: Wire, right: Wire) -> None:
        receiving = asyncio.create_task(left.receive(memoryview(bytearray(1))))
        await settle()
        left.end()
        new_left, new_right = (Wire(end) for end in socket.socketpair())
        try:
            renewed = asyncio.create_task(receive_exactly(new_left, 1))
            await fails_with_the_end(receiving)
            await settle()
            await new_right.send(b"x")
            assert await renewed == b"x"
        finally:
            new_left.end()
            new_right.end()

    run_with_two(scenario, loop_factory)


@on_both_loops
def test_a_wire_may_wait_for_many_bytes_at_once(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sender = socket.create_connection(listener.getsockname())
            wire = Wire(listener.accept()[0])
        with sender:
            many = asyncio.create_task(wire.until_readable(at_least_bytes=1000))
            sender.sendall(bytes(999))
            for _ in range(5):
                await asyncio.sleep(0.001)
            assert not many.done()
            sender.sendall(b"1")
            async with asyncio.timeout(LIMIT_S):
                await many
                assert wire.receive_now(memoryview(bytearray(2000))) == 1000
                few = asyncio.create_task(wire.receive(memoryview(bytearray(10))))
                await settle()
                sender.sendall(b"1")
                assert await few == 1
                ended = asyncio.create_task(wire.until_readable(at_least_bytes=1000))
                await settle()
                sender.close()
                await ended
        wire.end()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
