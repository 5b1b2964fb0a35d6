"""The socket on which trainer and node talk.

Owns the framing and both ends. Both sides are one program of one user, but the bounds are the same as on the network.
Does not know what the words mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket

from gossiptrain.net.framing import Message, decode_message, encode_message
from gossiptrain.node.control import NODE_SAYS, TRAINER_SAYS

_LENGTH_BYTES = 4
_LIMIT_BYTES = 1 << 20


class ControlClosedError(Exception):
    """The other side has ended, in whatever way."""


def pack(message: Message) -> bytes:
    """A message as it goes over the socket."""
    payload = encode_message(message)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


class TrainerSide:
    """The trainer's end: blocking calls for a reader thread and quick sends from any one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: Message) -> None:
        """Sends a message. Raises ControlClosedError."""
        try:
            self._connection.sendall(pack(message))
        except OSError as error:
            raise ControlClosedError from error

    def receive(self, timeout_s: float) -> Message | None:
        """The node's next word; None where it says nothing for `timeout_s`. Raises ControlClosedError."""
        try:
            # Not the socket's own timeout, which would cut a send of the other thread in two.
            readable = select.poll()
            readable.register(self._connection, select.POLLIN)
            if not readable.poll(1000 * timeout_s):
                return None
        except (OSError, ValueError) as error:
            raise ControlClosedError from error
        size_bytes = int.from_bytes(self._read(_LENGTH_BYTES), "big")
        if size_bytes > _LIMIT_BYTES:
            raise ControlClosedError
        try:
            return decode_message(self._read(size_bytes), *NODE_SAYS)
        except ConnectionError as error:
            raise ControlClosedError from error

    def close(self) -> None:
        """Ends the connection; a blocked `receive` of another thread raises."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self, size_bytes: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < size_bytes:
                piece = self._connection.recv(size_bytes - len(data))
                if not piece:
                    raise ControlClosedError
                data += piece
        except OSError as error:
            raise ControlClosedError from error
        return bytes(data)


class NodeSide:
    """The node's end, in its event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def attach(cls, connection: socket.socket) -> NodeSide:
        """Takes over the socket that was inherited from the trainer."""
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LIMIT_BYTES)
        return cls(reader, writer)

    def send(self, message: Message) -> None:
        """Sends a message; where the trainer is gone, the next `receive` tells."""
        self._writer.write(pack(message))

    async def receive(self) -> Message:
        """The trainer's next word. Raises ControlClosedError where the trainer has ended."""
        try:
            size_bytes = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            if size_bytes > _LIMIT_BYTES:
                raise ControlClosedError
            return decode_message(await self._reader.readexactly(size_bytes), *TRAINER_SAYS)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ControlClosedError from error

    async def flush(self) -> None:
        """Waits until all that was sent has left this process."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """Ends the connection at once."""
        self._writer.transport.abort()
