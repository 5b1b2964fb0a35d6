"""How many bytes a second leave this peer, where its user has set a limit: one bucket for all of its streams.

Owns the measure, and that streams have their turn in the order in which they come, a small piece each, so that none of
them stands still for longer than the others. Does not know what the bytes are for.

In any stretch of T seconds at most `rate * (T + BURST_S)` bytes leave, and one piece: a token bucket that holds what
may leave in `BURST_S` (Turner 1986, "New directions in communications").
"""

from __future__ import annotations

import asyncio
import math

from gossiptrain.net.transport import Clock

BURST_S = 0.05
"""What was not used for so long may leave at once: long enough that nobody has to wake for every piece."""
PIECE_BYTES = 16 << 10
"""Of one stream, before the others have their turn; what fits into a TLS record."""
UNNOTICED_BYTES = 2 << 10
"""Shorter words are not held up, since others wait for them to know that this peer lives; but they count."""
BITS = 8


class UploadLimit:
    """Used only in the event loop of its clock."""

    def __init__(self, clock: Clock, *, mbit_per_s: float | None = None) -> None:
        """None: no limit."""
        self.bytes_per_s = math.inf if mbit_per_s is None else mbit_per_s * 1e6 / BITS
        self._clock = clock
        self._turn = asyncio.Lock()
        self._free_s = -math.inf
        """When what has left so far would have left at this rate."""

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self.bytes_per_s < math.inf

    def piece_bytes(self, usual_bytes: int) -> int:
        """How much a stream hands over at once, which is as much as usual where there is no limit."""
        return min(usual_bytes, PIECE_BYTES) if self.is_set else usual_bytes

    async def take(self, size_bytes: int) -> None:
        """Waits until so many bytes may leave. Whoever is cancelled here has taken none."""
        if not self.is_set:
            return
        if size_bytes >= UNNOTICED_BYTES:
            async with self._turn:  # asyncio's locks are handed on in order
                while (wait_s := self._free_s - self._clock.now()) > 0:
                    await self._clock.sleep(wait_s)
                self._count(size_bytes)
        else:
            self._count(size_bytes)

    def _count(self, size_bytes: int) -> None:
        since_s = max(self._free_s, self._clock.now() - BURST_S)
        self._free_s = since_s + size_bytes / self.bytes_per_s


NO_LIMIT = UploadLimit(Clock())
