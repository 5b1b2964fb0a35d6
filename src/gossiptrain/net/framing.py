"""Frames and typed messages on a stream.

Owns how a message is written as bytes and read back: four bytes of length, then the payload; a message is its class
name, a space and JSON. Everything is bounded before it is read. Does not know what the messages mean.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gossiptrain.net import trace
from gossiptrain.net.transport import Buffer, PeerId, Stream, Transport

MESSAGE_LIMIT_BYTES = 64 << 10
"""Largest message unless the two sides have agreed on another limit."""
_LENGTH_BYTES = 4
_JOINED_BYTES = 64 << 10
"""Frames up to this size are copied behind their length, so that one write carries both."""


class ProtocolViolationError(ConnectionError):
    """The other side sent something that the protocol does not allow. The text never quotes what it sent."""


class Message(BaseModel):
    """Base of everything peers say to each other: frozen, exact types, no unknown or missing fields."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


MessageT = TypeVar("MessageT", bound=Message)


async def write_frame(stream: Stream, payload: Buffer, *, limit_bytes: int) -> None:
    """Writes `payload` as one frame. Raises ValueError where it is over the limit, StreamClosedError."""
    size_bytes = memoryview(payload).nbytes
    if size_bytes > limit_bytes:
        raise ValueError(f"a frame of {size_bytes} bytes is over its limit of {limit_bytes} bytes")
    length = size_bytes.to_bytes(_LENGTH_BYTES, "big")
    if size_bytes <= _JOINED_BYTES:
        await stream.write(length + bytes(payload))
        return
    await stream.write(length)
    await stream.write(payload)


async def read_frame(stream: Stream, *, limit_bytes: int) -> bytes:
    """Reads one frame. Raises ProtocolViolationError where it announces more than the limit, StreamClosedError."""
    size_bytes = int.from_bytes(await stream.read_exactly(_LENGTH_BYTES), "big")
    if size_bytes > limit_bytes:
        raise ProtocolViolationError(f"a frame of {size_bytes} bytes was announced where {limit_bytes} are allowed")
    return await stream.read_exactly(size_bytes)


async def send_message(stream: Stream, message: Message, *, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> None:
    """Sends one message. Raises ValueError where it is over the limit, StreamClosedError."""
    await write_frame(stream, encode_message(message), limit_bytes=limit_bytes)
    if trace.active is not None:
        trace.active.note("sent", stream, message)


async def receive_message(stream: Stream, kind: type[MessageT], *, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> MessageT:
    """Receives one message of `kind`. Raises ProtocolViolationError for anything else, StreamClosedError."""
    return await receive_one_of(stream, kind, limit_bytes=limit_bytes)


async def receive_one_of(stream: Stream, *kinds: type[MessageT], limit_bytes: int = MESSAGE_LIMIT_BYTES) -> MessageT:
    """Receives one message of any of `kinds`. Raises ProtocolViolationError for anything else, StreamClosedError."""
    message = decode_message(await read_frame(stream, limit_bytes=limit_bytes), *kinds)
    if trace.active is not None:
        trace.active.note("received", stream, message)
    return message


def encode_message(message: Message) -> bytes:
    """The bytes of a message: its class name, a space, JSON."""
    return f"{type(message).__name__} {message.model_dump_json()}".encode()


def decode_message(payload: bytes, *kinds: type[MessageT]) -> MessageT:
    """The message in `payload`, of one of `kinds`. Raises ProtocolViolationError."""
    tag, _, body = payload.partition(b" ")
    expected = " or ".join(kind.__name__ for kind in kinds)
    for kind in kinds:
        if tag == kind.__name__.encode():
            try:
                return kind.model_validate_json(body)
            except ValidationError:
                break
    # Outside of the except block: the validation error quotes remote bytes and must not travel along.
    raise ProtocolViolationError(f"the other side sent something that is not a well-formed {expected} message")


@asynccontextmanager
async def opened(transport: Transport, peer: PeerId, *, protocol: str) -> AsyncIterator[Stream]:
    """Opens a stream, closes it in order at the end of the block, and aborts it where the block raises."""
    stream = await transport.open_stream(peer, protocol)
    try:
        yield stream
    except BaseException:
        stream.abort()
        raise
    await stream.close()


async def call(
    transport: Transport, peer: PeerId, *, protocol: str, request: Message, reply_kind: type[MessageT]
) -> MessageT:
    """Asks one question on a stream of its own. Raises UnreachableError, StreamClosedError, ProtocolViolationError."""
    async with opened(transport, peer, protocol=protocol) as stream:
        await send_message(stream, request)
        return await receive_message(stream, reply_kind)
