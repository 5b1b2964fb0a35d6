"""A stream over a lane: TLS on a TCP connection of its own, straight between two nodes.

Owns how bytes are sealed and opened on their way between the callers' memory and the socket. Does not know how a lane
is agreed upon.
"""

from __future__ import annotations

import asyncio
import contextlib

from gossiptrain.net.tls import RECORD_BYTES, RECORD_OVERHEAD_BYTES, Engine
from gossiptrain.net.transport import Buffer, PeerId, Stream, StreamClosedError
from gossiptrain.net.wire import ENDED_HERE, Wire

RECEIVE_BYTES = 256 << 10
"""Sealed bytes taken from the socket at once. Measured on loopback: 32 KiB costs a fifth of the speed, much more than
this falls out of the processor's cache."""
SEAL_BYTES = 64 << 10
"""Bytes sealed and handed to the socket at once."""
_FAIR_BYTES = 1 << 20
"""After so many bytes without waiting, other tasks have their turn."""
_SEALED_BYTES = SEAL_BYTES + (SEAL_BYTES // RECORD_BYTES + 1) * RECORD_OVERHEAD_BYTES
_received = memoryview(bytearray(RECEIVE_BYTES))
"""Shared by all lanes of this process, whose one event loop never pauses between receiving bytes and putting them into
an engine: a buffer for each lane would push the others out of the processor's cache."""


class LaneStream(Stream):
    """One end of a lane, after the handshake. It stands in `open_streams`, its owner's, until it is ended."""

    kind = "direct"

    def __init__(self, remote: PeerId, open_streams: dict[Stream, None], *, wire: Wire, engine: Engine) -> None:
        super().__init__(remote)
        self._open_streams = open_streams
        self._wire = wire
        self._engine = engine
        self._sealed = memoryview(bytearray(_SEALED_BYTES))
        self._put_back = bytearray()
        self._since_pause_bytes = 0
        open_streams[self] = None

    async def read_into(self, target: memoryview) -> None:
        done = min(len(target), len(self._put_back))
        if done:
            target[:done] = self._put_back[:done]
            del self._put_back[:done]
        try:
            while True:
                if self._wire.ended:
                    raise StreamClosedError(ENDED_HERE)
                done += self._engine.open(target[done:])
                if done == len(target):
                    break
                received = await self._wire.receive(_received)
                self._engine.put(_received[:received])
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
            self._engine.seal(piece)
            await self._wire.send(self._sealed[: self._engine.take(self._sealed)])
            self.bytes_sent += len(piece)
            await self._pause_after(len(piece))

    async def wait_for_end(self) -> None:
        await self._wire.wait_for_end(_received)

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._wire.end()
        self._open_streams.pop(self, None)

    async def _pause_after(self, size_bytes: int) -> None:
        self._since_pause_bytes += size_bytes
        if self._since_pause_bytes >= _FAIR_BYTES:
            self._since_pause_bytes = 0
            await asyncio.sleep(0)


async def shake_hands(wire: Wire, engine: Engine) -> None:
    """Proves to each other who holds the expected certificates. Raises StreamClosedError where a side cannot."""
    scratch = memoryview(bytearray(RECORD_BYTES))
    complete = False
    while not complete:
        try:
            complete = engine.shake()
        except StreamClosedError:
            with contextlib.suppress(StreamClosedError):
                await wire.send(scratch[: engine.take(scratch)])
            raise
        await wire.send(scratch[: engine.take(scratch)])
        if not complete:
            received = await wire.receive(scratch)
            engine.put(scratch[:received])
