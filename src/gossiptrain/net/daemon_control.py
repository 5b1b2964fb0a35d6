"""Questions to libp2p's daemon over its control socket.

Owns their form. Does not know why they are asked.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from gossiptrain.net.daemon_words import plain_reason
from gossiptrain.net.hivemind_names import p2pd_pb2, read_pbmsg_safe, write_pbmsg
from gossiptrain.net.libp2p_stream import READ_BUFFER_BYTES
from gossiptrain.net.transport import UnreachableError


class DaemonControl:
    """Questions to the daemon, each on a connection of its own to its control socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ask(self, request: p2pd_pb2.Request) -> p2pd_pb2.Response:
        """Asks one question. Raises UnreachableError with the daemon's reason where it refuses."""
        _, writer, response = await self.converse(request)
        writer.transport.abort()
        return response

    async def converse(
        self, request: p2pd_pb2.Request
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, p2pd_pb2.Response]:
        """As `ask`, and leaves the connection open. Raises UnreachableError."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=READ_BUFFER_BYTES)
        except OSError as error:
            raise UnreachableError("libp2p's daemon has ended") from error
        try:
            await write_pbmsg(writer, request)
            response = p2pd_pb2.Response()
            await read_pbmsg_safe(reader, response)
        except (OSError, asyncio.IncompleteReadError) as error:
            writer.transport.abort()
            raise UnreachableError("libp2p's daemon has ended") from error
        except BaseException:
            writer.transport.abort()
            raise
        if response.type == p2pd_pb2.Response.ERROR:
            writer.transport.abort()
            raise UnreachableError(plain_reason(response.error.msg))
        return reader, writer, response
