"""Streams of the network in memory: two pipes, one in each direction, over the links between two peers.

Owns backpressure and how a stream ends: as libp2p's daemon may do it, dropping what has not been read.
Does not know transports, protocols or faults of the links.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gossiptrain.net.transport import Buffer, PeerId, Stream, StreamClosedError
from gossiptrain.net.virtual.wires import Link, Order


class Pipe:
    """One direction of a stream: bytes on their way, and bytes that have arrived and wait for their reader."""

    def __init__(self, link: Link, capacity_bytes: int) -> None:
        self._link = link
        self._order = Order()
        self.capacity_bytes = capacity_bytes
        """Most bytes on their way or not yet read."""
        self._pending_bytes = 0
        self._arrived = bytearray()
        self._read_error: str | None = None
        self._write_error: str | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self.on_end: Callable[[str], None] = lambda reason: None
        """Called at the reader's side when the writer's end of the stream arrives."""

    async def read(self, most_bytes: int) -> bytes:
        """Waits for bytes and takes at most `most_bytes` of them. Raises StreamClosedError at the end."""
        while not self._arrived:
            if self._read_error is not None:
                raise StreamClosedError(self._read_error)
            self._readable.clear()
            await self._readable.wait()
        taken = bytes(self._arrived[:most_bytes])
        del self._arrived[:most_bytes]
        self._pending_bytes -= len(taken)
        self._writable.set()
        return taken

    def take_into(self, target: memoryview) -> bool:
        """Fills `target` where so much has arrived; else it takes nothing and says so."""
        if not 0 < len(target) <= len(self._arrived):
            return False
        target[:] = self._arrived[: len(target)]
        del self._arrived[: len(target)]
        self._pending_bytes -= len(target)
        self._writable.set()
        return True

    def put_back(self, taken: bytes | bytearray) -> None:
        """Undoes reads: the next one begins with `taken`."""
        self._arrived[:0] = taken
        self._pending_bytes += len(taken)

    async def write(self, data: memoryview) -> int:
        """Waits for room and sends the head of `data`; returns how many bytes. Raises StreamClosedError."""
        while self._write_error is None and self._pending_bytes >= self.capacity_bytes:
            self._writable.clear()
            await self._writable.wait()
        if self._write_error is not None:
            raise StreamClosedError(self._write_error)
        room_bytes = self.capacity_bytes - self._pending_bytes
        piece = bytes(data[: min(room_bytes, self._link.piece_bytes or room_bytes)])
        self._pending_bytes += len(piece)
        self._link.send(len(piece), lambda: self._arrive(piece), order=self._order)
        return len(piece)

    def finish(self, *, told: str) -> None:
        """Ends the stream from the writer's side. What the reader has not taken when it hears of it is lost."""
        if self._write_error is not None:
            return
        self.stop_writing("this side has closed the stream")
        self._link.send(0, lambda: self._arrive_end(told), order=self._order)

    def stop_writing(self, reason: str) -> None:
        """From now on writes raise StreamClosedError."""
        self._write_error = self._write_error or reason
        self._writable.set()

    def stop_reading(self, reason: str) -> None:
        """From now on reads raise StreamClosedError; what has arrived is dropped."""
        self._read_error = self._read_error or reason
        self._arrived.clear()
        self._readable.set()

    def _arrive(self, piece: bytes) -> None:
        if self._read_error is None:
            self._arrived += piece
            self._readable.set()

    def _arrive_end(self, reason: str) -> None:
        self._arrived.clear()
        self._read_error = self._read_error or reason
        self._readable.set()
        self.on_end(reason)


class VirtualStream(Stream):
    """One end of a stream in memory. It stands in `open_streams`, its owner's, until it is ended on this side."""

    def __init__(
        self, remote: PeerId, open_streams: dict[VirtualStream, None], *, incoming: Pipe, outgoing: Pipe
    ) -> None:
        super().__init__(remote)
        self._open_streams = open_streams
        self._incoming = incoming
        self._outgoing = outgoing
        incoming.on_end = outgoing.stop_writing
        open_streams[self] = None

    async def read_into(self, target: memoryview) -> None:
        if self._incoming.take_into(target):
            self.bytes_received += len(target)
            return
        received = bytearray()
        try:
            while len(received) < len(target):
                received += await self._incoming.read(len(target) - len(received))
        except BaseException:
            self._incoming.put_back(received)  # a cancelled read loses nothing
            raise
        target[:] = received
        self.bytes_received += len(target)

    async def write(self, data: Buffer) -> None:
        left = memoryview(data).cast("B")
        while left:
            sent_bytes = await self._outgoing.write(left)
            self.bytes_sent += sent_bytes
            left = left[sent_bytes:]

    async def wait_for_end(self) -> None:
        with contextlib.suppress(StreamClosedError):
            while True:
                await self._incoming.read(self._incoming.capacity_bytes)

    async def close(self) -> None:
        self._end("the other side has closed the stream")

    def abort(self) -> None:
        self._end("the other side has reset the stream")

    def _end(self, told: str) -> None:
        self._incoming.stop_reading("this side has closed the stream")
        self._outgoing.finish(told=told)
        self._open_streams.pop(self, None)
