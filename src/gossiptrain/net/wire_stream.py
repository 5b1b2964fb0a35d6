"""What streams over a connection of their own have in common, whatever the connection is.

Owns how a stream ends on this side, how a cancelled read puts its bytes back, and the dropping of what nobody reads.
Leaves to its kinds how bytes are filled in and written.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import Protocol

from gossiptrain.net.transport import PeerId, Stream, StreamClosedError

_dropped = memoryview(bytearray(64 << 10))
"""Where bytes go that nobody reads; shared, since nobody looks at them."""


class Connection(Protocol):
    """What carries a stream."""

    def end(self) -> None:
        """Ends it at once. May be called twice; whoever waits for it sees StreamClosedError."""


class WireStream(Stream):
    """One end of a stream. It stands in `open_streams`, its owner's, until it is ended on this side."""

    def __init__(self, remote: PeerId, open_streams: dict[Stream, None], *, connection: Connection) -> None:
        super().__init__(remote)
        self._open_streams = open_streams
        self._connection = connection
        self._put_back = bytearray()
        open_streams[self] = None

    async def read_into(self, target: memoryview) -> None:
        done = min(len(target), len(self._put_back))
        if done:
            target[:done] = self._put_back[:done]
            del self._put_back[:done]
        try:
            while done < len(target):
                done += await self._fill(target[done:])
        except BaseException:
            self._put_back[:0] = target[:done]  # a cancelled read loses nothing
            raise
        self.bytes_received += done

    async def wait_for_end(self) -> None:
        with contextlib.suppress(StreamClosedError):
            while True:
                await self._fill(_dropped)
        self._put_back.clear()

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._connection.end()
        self._leave()

    def _leave(self) -> None:
        self._put_back.clear()
        self._open_streams.pop(self, None)

    @abstractmethod
    async def _fill(self, target: memoryview) -> int:
        """Waits for bytes and writes some into `target`, which is not empty; returns how many, at least 1.

        Raises StreamClosedError. Where it is cancelled, nothing is lost.
        """
