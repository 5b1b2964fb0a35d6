"""Time as the protocol sees it.

Owns the one way to read the time and to wait. It follows the running event loop, so under the loop of
`virtual_time` the same protocol code runs in virtual time. There is no wall clock here: peers never compare clocks.
"""

from __future__ import annotations

import asyncio


class Clock:
    """Monotonic seconds of the running event loop."""

    def now(self) -> float:
        """Seconds since an arbitrary start; only differences mean anything."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Waits; returns at once for zero or less."""
        await asyncio.sleep(max(0.0, seconds))

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """A context that raises TimeoutError in its body after `seconds`."""
        return asyncio.timeout(max(0.0, seconds))
