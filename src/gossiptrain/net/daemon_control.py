"""Questions to libp2p's daemon over its control socket.

Owns their form: a length as a variable-length integer, then a protobuf message. Does not know why they are asked.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from gossiptrain.net.daemon_words import plain_reason
from gossiptrain.net.hivemind_names import p2pd_pb2
from gossiptrain.net.transport import StreamClosedError, UnreachableError
from gossiptrain.net.wire import Wire

_MAX_MESSAGE_BYTES = 1 << 20
_MAX_LENGTH_BYTES = 5

MessageT = TypeVar("MessageT", bound=ProtobufMessage)


class DaemonControl:
    """Questions to the daemon, each on a connection of its own to its control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, request: p2pd_pb2.Request) -> p2pd_pb2.Response:
        """Asks one question. Raises UnreachableError with the daemon's reason where it refuses."""
        wire, response = await self.converse(request)
        wire.end()
        return response

    async def converse(self, request: p2pd_pb2.Request) -> tuple[Wire, p2pd_pb2.Response]:
        """As `ask`, and leaves the connection open. Raises UnreachableError."""
        try:
            wire = await self._connect()
        except OSError as error:
            raise UnreachableError("libp2p's daemon has ended") from error
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
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, str(self._path))
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
