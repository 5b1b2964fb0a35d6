"""Streams over libp2p's daemon: each is one connection to its Unix socket.

Owns how bytes cross that socket and how a stream ends. Does not know how streams are opened.
"""

from __future__ import annotations

import asyncio
import contextlib

from gossiptrain.net.transport import Buffer, PeerId, Stream, StreamClosedError

READ_BUFFER_BYTES = 512 << 10
_WRITE_PIECE_BYTES = 256 << 10


class Libp2pStream(Stream):
    """One end of a stream. It stands in `open_streams`, its owner's, until it is ended on this side."""

    def __init__(
        self,
        remote: PeerId,
        open_streams: dict[Libp2pStream, None],
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(remote)
        self._open_streams = open_streams
        self._reader = reader
        self._writer = writer
        self._ended = False
        # `drain` waits until all bytes have left this process, so that callers may reuse their buffers.
        writer.transport.set_write_buffer_limits(high=0)
        open_streams[self] = None

    async def read_exactly(self, size_bytes: int) -> bytes:
        if self._ended:
            raise StreamClosedError("this side has closed the stream")
        try:
            data = await self._reader.readexactly(size_bytes)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise StreamClosedError("the other side, or the network between, has ended the stream") from error
        self.bytes_received += len(data)
        return data

    async def write(self, data: Buffer) -> None:
        left = memoryview(data).cast("B")
        while left:
            if self._ended or self._writer.is_closing():
                raise StreamClosedError("the stream has been closed")
            piece, left = left[:_WRITE_PIECE_BYTES], left[_WRITE_PIECE_BYTES:]
            self._writer.write(piece)
            try:
                await self._writer.drain()
            except ConnectionError as error:
                raise StreamClosedError("the other side, or the network between, has ended the stream") from error
            self.bytes_sent += len(piece)

    async def wait_for_end(self) -> None:
        with contextlib.suppress(ConnectionError):
            while not self._ended and await self._reader.read(READ_BUFFER_BYTES):
                pass

    async def close(self) -> None:
        self._ended = True
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        self._open_streams.pop(self, None)

    def abort(self) -> None:
        self._ended = True
        self._writer.transport.abort()
        self._open_streams.pop(self, None)
