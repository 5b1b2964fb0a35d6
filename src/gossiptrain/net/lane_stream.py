"""A stream over a lane: TLS on a TCP connection of its own, straight between two nodes.

Owns how bytes are sealed and opened on their way between the callers' memory and the socket. Does not know how a lane
is agreed upon.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from gossiptrain.net.tls import Handshake
from gossiptrain.net.transport import Buffer, PeerId, Stream, StreamClosedError
from gossiptrain.net.wire import ENDED_HERE, ENDED_THERE, Wire

RECEIVE_BYTES = 256 << 10
"""Sealed bytes taken from the socket at once. Measured on loopback: 32 KiB costs a fifth of the speed, more than this
falls out of the processor's cache."""
SEAL_BYTES = 64 << 10
"""Bytes sealed and handed to the socket at once."""
_FAIR_BYTES = 1 << 20
"""After so many bytes without waiting, other tasks have their turn."""


class LaneStream(Stream):
    """One end of a lane, after the handshake. It stands in `open_streams`, its owner's, until it is ended."""

    kind = "direct"

    def __init__(self, remote: PeerId, open_streams: dict[Stream, None], *, wire: Wire, handshake: Handshake) -> None:
        super().__init__(remote)
        self._open_streams = open_streams
        self._wire = wire
        self._engine = handshake.engine
        self._incoming = handshake.incoming
        self._outgoing = handshake.outgoing
        self._sealed = memoryview(bytearray(RECEIVE_BYTES))
        self._put_back = bytearray()
        self._since_pause_bytes = 0
        open_streams[self] = None

    async def read_into(self, target: memoryview) -> None:
        done = min(len(target), len(self._put_back))
        if done:
            target[:done] = self._put_back[:done]
            del self._put_back[:done]
        try:
            while done < len(target):
                opened = self._open(target[done:])
                done += opened
                if not opened:
                    received = await self._wire.receive(self._sealed)
                    self._incoming.write(self._sealed[:received])
            await self._pause_after(done)
        except BaseException:
            self._put_back[:0] = target[:done]  # a cancelled read loses nothing
            raise
        self.bytes_received += done

    async def write(self, data: Buffer) -> None:
        left = memoryview(data).cast("B")
        while left:
            if self._wire.ended:
                raise StreamClosedError(ENDED_HERE)
            piece, left = left[:SEAL_BYTES], left[SEAL_BYTES:]
            self._seal(piece)
            await self._wire.send(self._outgoing.read())
            self.bytes_sent += len(piece)
            await self._pause_after(len(piece))

    async def wait_for_end(self) -> None:
        await self._wire.wait_for_end(self._sealed)

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._wire.end()
        self._open_streams.pop(self, None)

    def _open(self, target: memoryview) -> int:
        if self._wire.ended:
            raise StreamClosedError(ENDED_HERE)
        try:
            opened = self._engine.read(len(target), target)
        except ssl.SSLWantReadError:
            return 0
        except ssl.SSLError as error:
            raise StreamClosedError(ENDED_THERE) from error
        if not opened:
            raise StreamClosedError(ENDED_THERE)
        return int(opened)

    def _seal(self, piece: memoryview) -> None:
        try:
            while piece:
                piece = piece[self._engine.write(piece) :]
        except ssl.SSLError as error:
            raise StreamClosedError(ENDED_THERE) from error

    async def _pause_after(self, size_bytes: int) -> None:
        self._since_pause_bytes += size_bytes
        if self._since_pause_bytes >= _FAIR_BYTES:
            self._since_pause_bytes = 0
            await asyncio.sleep(0)


async def shake_hands(wire: Wire, handshake: Handshake) -> None:
    """Proves to each other who holds the expected certificates. Raises StreamClosedError where a side cannot."""
    scratch = memoryview(bytearray(RECEIVE_BYTES))
    complete = False
    while not complete:
        try:
            complete = handshake.advance()
        except ssl.SSLError as error:
            with contextlib.suppress(StreamClosedError):
                await wire.send(handshake.outgoing.read())
            raise StreamClosedError(f"the lane's other end is not who it should be: {error.reason or error}") from error
        await wire.send(handshake.outgoing.read())
        if not complete:
            received = await wire.receive(scratch)
            handshake.incoming.write(scratch[:received])
