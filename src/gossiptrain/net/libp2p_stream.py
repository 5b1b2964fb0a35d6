"""Streams over libp2p's daemon: each is one connection to its Unix socket.

Owns how a stream ends, on this side of the daemon. Does not know how streams are opened.
"""

from __future__ import annotations

from gossiptrain.net.transport import Buffer, PeerId, Stream
from gossiptrain.net.wire import Wire

_SCRATCH_BYTES = 64 << 10
_WRITE_PIECE_BYTES = 256 << 10


class Libp2pStream(Stream):
    """One end of a stream. It stands in `open_streams`, its owner's, until it is ended on this side."""

    def __init__(self, remote: PeerId, open_streams: dict[Stream, None], *, wire: Wire) -> None:
        super().__init__(remote)
        self._open_streams = open_streams
        self._wire = wire
        self._put_back = bytearray()
        open_streams[self] = None

    async def read_into(self, target: memoryview) -> None:
        done = self._take_back(target)
        try:
            while done < len(target):
                done += await self._wire.receive(target[done:])
        except BaseException:
            self._put_back += target[:done]  # a cancelled read loses nothing
            raise
        self.bytes_received += done

    async def write(self, data: Buffer) -> None:
        left = memoryview(data).cast("B")
        while left:
            piece, left = left[:_WRITE_PIECE_BYTES], left[_WRITE_PIECE_BYTES:]
            await self._wire.send(piece)
            self.bytes_sent += len(piece)

    async def wait_for_end(self) -> None:
        await self._wire.wait_for_end(memoryview(bytearray(_SCRATCH_BYTES)))

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._wire.end()
        self._open_streams.pop(self, None)

    def _take_back(self, target: memoryview) -> int:
        taken = min(len(target), len(self._put_back))
        if taken:
            target[:taken] = self._put_back[:taken]
            del self._put_back[:taken]
        return taken
