"""Questions to libp2p's daemon over its control socket.

Owns their form, a length as a variable-length integer and then a protobuf message, and what the daemon's refusals mean
in plain words. They may contain what other peers said, so nothing of them passes unchecked. Does not know why they are
asked.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from gossiptrain.net.libp2p.hivemind_names import p2pd_pb2
from gossiptrain.net.transport import StreamClosedError, UnreachableError
from gossiptrain.net.wire import Wire

UNKNOWN_PROTOCOL = "the peer does not speak this protocol"
TOO_SOON = "it could not be reached a moment ago"
"""libp2p waits some seconds before it dials again where it has just failed."""
_MAX_LENGTH = 300
_REASONS = (
    (re.compile(r"peer id mismatch: expected \w+, but remote key matches (\w+)"), r"another peer lives there: \1"),
    (re.compile(r"connection refused"), "connection refused: nothing listens there"),
    (re.compile(r"protocols? not supported"), UNKNOWN_PROTOCOL),
    (re.compile(r"no addresses"), "no address of the peer is known"),
    (re.compile(r"no good addresses"), "its address leads nowhere: the name in it may not exist, or be of no use here"),
    (re.compile(r"dial to self"), "this is the address of the peer itself"),
    (re.compile(r"no route to host|network is unreachable"), "there is no way to this address"),
    (re.compile(r"timeout|deadline exceeded"), "no answer"),
    (re.compile(r"dial backoff"), TOO_SOON),
)
"""What is found in a message, and what it means. The first that is found counts."""


def plain_reason(message: str | bytes) -> str:
    """The reason in `message`; where it is none of the known ones, its printable letters, at most 300.

    message: as protobuf gives it, which is bytes where another peer's word in it is no UTF-8.
    """
    if isinstance(message, bytes):
        message = message.decode("utf-8", "replace")
    for pattern, words in _REASONS:
        if found := pattern.search(message):
            return found.expand(words)
    return "".join(letter if letter.isprintable() else " " for letter in message[:_MAX_LENGTH])


_MAX_MESSAGE_BYTES = 1 << 20
_AT_ONCE = 128
"""Questions before their answers are read, which must find room in the socket meanwhile."""
_MAX_LENGTH_BYTES = 5

MessageT = TypeVar("MessageT", bound=ProtobufMessage)


class DaemonControl:
    """Questions to the daemon over its control socket: each on a connection of its own, or many on one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, request: p2pd_pb2.Request) -> p2pd_pb2.Response:
        """Asks one question. Raises UnreachableError with the daemon's reason where it refuses."""
        wire, response = await self.converse(request)
        wire.end()
        return response

    async def ask_each(self, requests: Sequence[p2pd_pb2.Request]) -> list[p2pd_pb2.Response]:
        """Asks many questions at once, where each alone would wait for its turn on a processor, here and in the daemon.

        What the daemon refuses is among the responses. Raises UnreachableError where it has ended.
        """
        wire = await self._connect()
        try:
            responses = []
            for first in range(0, len(requests), _AT_ONCE):
                payloads = [request.SerializeToString() for request in requests[first : first + _AT_ONCE]]
                await wire.send(b"".join(_length(len(payload)) + payload for payload in payloads))
                responses += [await read_protobuf(wire, p2pd_pb2.Response) for _ in payloads]
        except StreamClosedError as error:
            raise UnreachableError("libp2p's daemon has ended") from error
        finally:
            wire.end()
        return responses

    async def converse(self, request: p2pd_pb2.Request) -> tuple[Wire, p2pd_pb2.Response]:
        """As `ask`, and leaves the connection open. Raises UnreachableError."""
        wire = await self._connect()
        try:
            payload = request.SerializeToString()
            await wire.send(_length(len(payload)) + payload)
            response = await read_protobuf(wire, p2pd_pb2.Response)
        except StreamClosedError as error:
            wire.end()
            raise UnreachableError("libp2p's daemon has ended") from error
        except BaseException:
            wire.end()
            raise
        if response.type == p2pd_pb2.Response.ERROR:
            wire.end()
            raise UnreachableError(plain_reason(response.error.msg))
        return wire, response

    async def _connect(self) -> Wire:
        """Raises UnreachableError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, str(self._path))
        except OSError as error:
            connection.close()
            raise UnreachableError("libp2p's daemon has ended") from error
        except BaseException:
            connection.close()
            raise
        return Wire(connection)


async def read_protobuf(wire: Wire, kind: type[MessageT]) -> MessageT:
    """The next message on the wire. Raises StreamClosedError, also where it is not a well-formed one."""
    size_bytes = 0
    for position in range(_MAX_LENGTH_BYTES):
        digit = (await wire.receive_exactly(1))[0]
        size_bytes |= (digit & 0x7F) << 7 * position
        if digit < 0x80:
            break
    if size_bytes > _MAX_MESSAGE_BYTES:
        raise StreamClosedError("libp2p's daemon said something that is too long")
    message: MessageT = kind()
    try:
        message.ParseFromString(await wire.receive_exactly(size_bytes))
    except DecodeError as error:
        raise StreamClosedError("libp2p's daemon said something that cannot be read") from error
    return message


def _length(size_bytes: int) -> bytes:
    digits = bytearray()
    while size_bytes >= 0x80:
        digits.append(size_bytes & 0x7F | 0x80)
        size_bytes >>= 7
    digits.append(size_bytes)
    return bytes(digits)
