"""Frames and messages: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.net.framing import (
    MESSAGE_LIMIT_BYTES,
    Message,
    ProtocolViolationError,
    call,
    decode_message,
    encode_message,
    opened,
    read_frame,
    receive_message,
    receive_one_of,
    send_message,
    write_frame,
)
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError, StreamHandler, Transport
from tests.transports import MakeTransport, run_on

PROTOCOL = "/test/1"


class Hello(Message):
    """A message with a field of each kind in use."""

    name: str
    age: int = 0
    weight: float = 0.0
    token: bytes = b""
    friends: tuple[str, ...] = ()


class Bye(Message):
    """Another message."""


HELLOS = st.builds(
    Hello,
    name=st.text(),
    age=st.integers(),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    token=st.binary(),
    friends=st.lists(st.text()).map(tuple),
)


@given(HELLOS)
def test_a_message_survives_the_way(message: Hello) -> None:
    assert decode_message(encode_message(message), Hello) == message
    assert decode_message(encode_message(message), Bye, Hello) == message


HOSTILE = [
    b"",
    b"Hello",
    b"Hello ",
    b"Hello {",
    b'Hello {"name": 7}',
    b'Hello {"name": "x", "age": "7"}',
    b'Hello {"name": "x", "age": 1.5}',
    b'Hello {"name": "x", "weight": NaN}',
    b'Hello {"name": "x", "weight": 1e999}',
    b'Hello {"name": "x", "secret": 1}',
    b'Hello {"name": "\xff"}',
    b"Hello null",
    b"Hello []",
    b"hello {}",
    b"Bye {}",
    b"Hello " + b"[" * 50_000,
    b'Hello {"name": "x", "friends": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'Hello {"name": "x", "age": ' + b"9" * 50_000 + b"}",
]


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_anything_else_is_refused_without_being_quoted(payload: bytes) -> None:
    with pytest.raises(ProtocolViolationError) as caught:
        decode_message(payload, Hello)
    assert str(caught.value) == "the other side sent something that is not a well-formed Hello message"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@settings(deadline=None, max_examples=200)
@given(st.binary() | st.binary().map(lambda junk: b"Hello " + junk))
def test_no_bytes_do_any_other_harm(payload: bytes) -> None:
    try:
        message = decode_message(payload, Hello)
    except ProtocolViolationError:
        return
    assert isinstance(message, Hello)


def test_messages_cannot_be_changed_and_know_their_fields() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Hello(name="x").name = "y"
    with pytest.raises(ValueError, match="extra"):
        Hello(name="x", nickname="y")  # type: ignore[call-arg]
    assert json.loads(encode_message(Hello(name="x")).partition(b" ")[2])["name"] == "x"


def with_answering(handler: StreamHandler, caller: Callable[[Transport, PeerId], Awaitable[None]]) -> None:
    """Runs `caller` with a transport and the id of a peer that answers with `handler`."""

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        await bob.serve(PROTOCOL, handler)
        await alice.connect(bob.addresses[0])
        await caller(alice, bob.peer_id)

    run_on("virtual", scenario)


async def echo_frames(stream: Stream) -> None:
    """Sends every frame back."""
    while True:
        await write_frame(stream, await read_frame(stream, limit_bytes=1 << 20), limit_bytes=1 << 20)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(max_size=100) | st.integers(0, 200_000).map(bytes), max_size=4))
def test_frames_survive_the_way(payloads: list[bytes]) -> None:
    async def caller(alice: Transport, bob: PeerId) -> None:
        async with opened(alice, bob, protocol=PROTOCOL) as stream:
            for payload in payloads:
                await write_frame(stream, memoryview(payload), limit_bytes=1 << 20)
                assert await read_frame(stream, limit_bytes=1 << 20) == payload

    with_answering(echo_frames, caller)


def test_a_frame_over_the_limit_is_neither_sent_nor_read() -> None:
    async def announce(stream: Stream) -> None:
        await stream.write((1001).to_bytes(4, "big"))
        await asyncio.Event().wait()

    async def caller(alice: Transport, bob: PeerId) -> None:
        async with opened(alice, bob, protocol=PROTOCOL) as stream:
            with pytest.raises(ValueError, match="1001 bytes"):
                await write_frame(stream, bytes(1001), limit_bytes=1000)
            assert stream.bytes_sent == 0
            with pytest.raises(ProtocolViolationError, match="1001 bytes"):
                await read_frame(stream, limit_bytes=1000)
            assert stream.bytes_received == 4

    with_answering(announce, caller)


def test_the_largest_frame_is_allowed() -> None:
    async def caller(alice: Transport, bob: PeerId) -> None:
        async with opened(alice, bob, protocol=PROTOCOL) as stream:
            await write_frame(stream, bytes(1000), limit_bytes=1000)
            assert await read_frame(stream, limit_bytes=1000) == bytes(1000)

    with_answering(echo_frames, caller)


def test_a_frame_that_ends_early_is_a_closed_stream() -> None:
    async def stop_short(stream: Stream) -> None:
        await stream.write((10).to_bytes(4, "big") + b"short")

    async def caller(alice: Transport, bob: PeerId) -> None:
        stream = await alice.open_stream(bob, PROTOCOL)
        with pytest.raises(StreamClosedError):
            await read_frame(stream, limit_bytes=1000)
        stream.abort()

    with_answering(stop_short, caller)


def test_one_of_several_kinds_is_received() -> None:
    async def answer(stream: Stream) -> None:
        while isinstance(message := await receive_one_of(stream, Hello, Bye), Hello):
            await send_message(stream, Hello(name=message.name[::-1]))
        await send_message(stream, message)

    async def caller(alice: Transport, bob: PeerId) -> None:
        async with opened(alice, bob, protocol=PROTOCOL) as stream:
            await send_message(stream, Hello(name="bob"))
            assert await receive_message(stream, Hello) == Hello(name="bob"[::-1])
            await send_message(stream, Bye())
            assert await receive_message(stream, Bye) == Bye()

    with_answering(answer, caller)


def test_a_message_has_its_limit() -> None:
    async def caller(alice: Transport, bob: PeerId) -> None:
        with pytest.raises(ValueError, match="over its limit"):
            await call(alice, bob, protocol=PROTOCOL, request=Hello(name="x" * MESSAGE_LIMIT_BYTES), reply_kind=Hello)

    with_answering(echo_frames, caller)


def test_a_call_that_fails_aborts_its_stream() -> None:
    ended = asyncio.Event()

    async def answer_wrongly(stream: Stream) -> None:
        await send_message(stream, Bye())
        try:
            while True:
                await stream.read_exactly(1)
        finally:
            ended.set()

    async def caller(alice: Transport, bob: PeerId) -> None:
        with pytest.raises(ProtocolViolationError, match="well-formed Hello"):
            await call(alice, bob, protocol=PROTOCOL, request=Hello(name="x"), reply_kind=Hello)
        await ended.wait()

    with_answering(answer_wrongly, caller)
