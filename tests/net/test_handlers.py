"""How many streams others may have open here, and what is said of a handler that fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gossiptrain.net.handlers import FIRST_WORD_S, MAX_SILENT, MAX_STREAMS, MAX_STREAMS_OF_ONE, SILENCE_S
from gossiptrain.net.libp2p import transport as libp2p
from gossiptrain.net.transport import Stream, StreamClosedError, Transport
from gossiptrain.net.virtual.network import VirtualTransport
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until

ECHO, SILENT, BROKEN, WAITING = "/test/echo", "/test/silent", "/test/broken", "/test/waiting"


async def echo(stream: Stream) -> None:
    await stream.write(await stream.read_exactly(1))


async def silent(stream: Stream) -> None:
    await stream.read_exactly(1)


async def waiting(stream: Stream) -> None:
    await stream.read_exactly(1)
    await stream.read_exactly(1)


async def broken(stream: Stream) -> None:
    raise ValueError(f"what the peer said: {await stream.read_exactly(1)!r}")


async def is_answered(transport: Transport, other: Transport) -> bool:
    stream = await transport.open_stream(other.peer_id, ECHO)
    try:
        async with asyncio.timeout(10.0):
            await stream.write(b"x")
            return await stream.read_exactly(1) == b"x"
    except StreamClosedError:
        return False
    finally:
        await stream.close()


async def provoke(liar: Transport, host: Transport) -> None:
    """Says what the handler fails on, and sees the stream end."""
    stream = await liar.open_stream(host.peer_id, BROKEN)
    await stream.write(b"?")
    with pytest.raises(StreamClosedError):
        await stream.read_exactly(1)
    stream.abort()


def open_at(transport: Transport) -> int:
    assert isinstance(transport, VirtualTransport | libp2p.Libp2pTransport)
    return len(transport._limits)


async def serving(make: MakeTransport) -> Transport:
    host = await make("host")
    for protocol, handler in ((ECHO, echo), (SILENT, silent), (BROKEN, broken), (WAITING, waiting)):
        await host.serve(protocol, handler)
    return host


@on_both_transports
def test_streams_on_which_a_peer_says_nothing_are_bounded_and_others_are_answered(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        host, stranger, guest = await serving(make), await make("stranger"), await make("guest")
        for transport in (stranger, guest):
            await transport.connect(host.addresses[0])
        held = [await stranger.open_stream(host.peer_id, SILENT) for _ in range(MAX_STREAMS_OF_ONE)]
        await until(lambda: open_at(host) == MAX_STREAMS_OF_ONE)
        assert not await is_answered(stranger, host), "it has all that one peer can have"
        assert await is_answered(guest, host)
        for stream in held:
            stream.abort()
        await until(lambda: open_at(host) == 0)
        assert await is_answered(stranger, host)

    run_on(kind, scenario)


def test_where_many_peers_take_up_everything_the_greediest_make_room() -> None:
    async def scenario(make: MakeTransport) -> None:
        host, guest = await serving(make), await make("guest")
        await guest.connect(host.addresses[0])
        honest = await guest.open_stream(host.peer_id, WAITING)
        await honest.write(b"x")
        held = []
        for number in range(MAX_STREAMS // 16 + 4):
            stranger = await make(f"stranger{number}")
            await stranger.connect(host.addresses[0])
            for _ in range(16):
                held.append(await stranger.open_stream(host.peer_id, WAITING))
                await held[-1].write(b"x")
        await until(lambda: open_at(host) == MAX_STREAMS)
        await honest.write(b"x")
        await until(lambda: open_at(host) == MAX_STREAMS - 1)  # who has but one keeps it, and ends it
        assert await is_answered(guest, host)
        for stream in held:
            stream.abort()

    run_on("virtual", scenario)


def test_of_streams_on_which_nobody_has_said_a_word_there_are_few() -> None:
    async def scenario(make: MakeTransport) -> None:
        host, guest = await serving(make), await make("guest")
        await guest.connect(host.addresses[0])
        strangers = [await make(f"stranger{number}") for number in range(5)]
        for stranger in strangers:
            await stranger.connect(host.addresses[0])
        for _ in range(MAX_SILENT // 4):
            for stranger in strangers:
                await stranger.open_stream(host.peer_id, SILENT)
        await until(lambda: open_at(host) == MAX_SILENT)
        for _ in range(3):
            assert await is_answered(guest, host)

    run_on("virtual", scenario)


def test_a_stream_on_which_nothing_is_said_is_not_kept_for_ever() -> None:
    async def scenario(make: MakeTransport) -> None:
        host, guest = await serving(make), await make("guest")
        await guest.connect(host.addresses[0])
        for protocol, words in ((SILENT, b""), (WAITING, b"x")):
            stream = await guest.open_stream(host.peer_id, protocol)
            await stream.write(words)
        await until(lambda: open_at(host) == 2)
        await host.clock.sleep(FIRST_WORD_S - 1.0)
        assert open_at(host) == 2
        await host.clock.sleep(1.0)
        await until(lambda: open_at(host) == 1)

    run_on("virtual", scenario)


@on_both_transports
def test_a_handler_that_fails_is_told_in_one_line_once_in_a_while(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(make: MakeTransport) -> None:
        host, liar = await serving(make), await make("liar")
        await liar.connect(host.addresses[0])
        for _ in range(20):
            await provoke(liar, host)
        await until(lambda: open_at(host) == 0)

    run_on(kind, scenario)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "ValueError" in record.getMessage()
    assert "?" not in record.getMessage()
    assert record.exc_info is None


def test_a_failure_that_goes_on_is_told_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(make: MakeTransport) -> None:
        host, liar = await serving(make), await make("liar")
        await liar.connect(host.addresses[0])
        for _ in range(3):
            await provoke(liar, host)
            await asyncio.sleep(SILENCE_S)

    run_on("virtual", scenario)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 3
