"""A wire whose bytes are sealed by TLS.

Owns the way of bytes between the callers' memory, the engine that seals them and the socket. Does not know what the
bytes mean, nor who may be at the other end: the engine does.
"""

from __future__ import annotations

import asyncio
import contextlib

from gossiptrain.net.direct.tls import RECORD_BYTES, RECORD_OVERHEAD_BYTES, Engine
from gossiptrain.net.transport import StreamClosedError
from gossiptrain.net.wire import ENDED_HERE, Wire

RECEIVE_BYTES = 256 << 10
"""Sealed bytes taken from the socket at once. Measured on loopback: 32 KiB costs a fifth of the speed, much more than
this falls out of the processor's cache."""
SEAL_BYTES = 64 << 10
"""Most bytes that are sealed and handed to the socket at once."""
_WORTH_WAKING_BYTES = 32 << 10
"""Of many bytes to come, so many are waited for at once."""
_FAIR_BYTES = 1 << 20
"""After so many bytes without waiting, other tasks have their turn."""
_SEALED_BYTES = SEAL_BYTES + (SEAL_BYTES // RECORD_BYTES + 3) * RECORD_OVERHEAD_BYTES
_received = memoryview(bytearray(RECEIVE_BYTES))
"""Shared by all wires of this process, whose one event loop never pauses between receiving bytes and putting them into
an engine: a buffer for each would push the others out of the processor's cache."""


class SealedWire:
    """A wire that one task at a time reads while another one writes, after the handshake."""

    def __init__(self, wire: Wire, engine: Engine) -> None:
        """Owns both from now on."""
        self.wire = wire
        self._engine = engine
        self._sealed: memoryview | None = None
        self._since_pause_bytes = 0
        self.carried_bytes = 0
        """Both ways together."""

    @property
    def ended(self) -> bool:
        """Whether this side has ended the connection."""
        return self.wire.ended

    async def receive(self, target: memoryview) -> int:
        """Waits for bytes and writes some into `target`; returns how many, at least 1. Raises StreamClosedError.

        Where it is cancelled, nothing is lost.
        """
        await self._pause()
        while not (received := self.receive_now(target)):
            await self.wire.until_readable(at_least_bytes=_worth_waking_for(len(target)))
        return received

    def receive_now(self, target: memoryview) -> int:
        """Writes into `target` what is there already; 0 where there is nothing yet. Raises StreamClosedError."""
        if self.wire.ended:
            raise StreamClosedError(ENDED_HERE)
        while not (opened := self._engine.open(target)):
            received = self.wire.receive_now(_received)
            if not received:
                return 0
            self._engine.put(_received[:received])
        self._count(opened)
        return opened

    async def send(self, data: memoryview, *, head: bytes = b"") -> None:
        """Hands `head`, a few bytes in a TLS record of their own, and at most SEAL_BYTES of data to the kernel.

        Waits for room. Raises StreamClosedError. Where it is cancelled, the connection is of no more use.
        """
        await self.wire.send(self._seal(data, head))
        await self._pause()

    def send_now(self, data: bytes) -> bool:
        """Hands a few bytes to the kernel without waiting; says whether there was room. Raises StreamClosedError.

        Where there was none, the connection is of no more use.
        """
        return self.wire.send_now(self._seal(memoryview(data), b""))

    def release_memory(self) -> None:
        """Gives back the memory that bulk has taken, until there is more of it."""
        self._sealed = None
        self._engine.release_memory()

    def end(self) -> None:
        """Ends the connection. Whoever waits here sees StreamClosedError."""
        self.wire.end()

    def _seal(self, data: memoryview, head: bytes) -> memoryview:
        if self.wire.ended:
            raise StreamClosedError(ENDED_HERE)
        if self._sealed is None:
            self._sealed = memoryview(bytearray(_SEALED_BYTES))
        if head:
            self._engine.seal(memoryview(head))
        self._engine.seal(data)
        self._count(len(data))
        return self._sealed[: self._engine.take(self._sealed)]

    def _count(self, size_bytes: int) -> None:
        self._since_pause_bytes += size_bytes
        self.carried_bytes += size_bytes

    async def _pause(self) -> None:
        if self._since_pause_bytes >= _FAIR_BYTES:
            self._since_pause_bytes = 0
            await asyncio.sleep(0)


def _worth_waking_for(target_bytes: int) -> int:
    """Of a target of so many bytes all are still to come, but for those of a record that is here in part."""
    return min(max(1, target_bytes - RECORD_BYTES - RECORD_OVERHEAD_BYTES), _WORTH_WAKING_BYTES)


async def shake_hands(wire: Wire, engine: Engine) -> SealedWire:
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
    wire.suit_to_path()
    return SealedWire(wire, engine)
