"""How a peer that arrives late takes over the current parameters: complete, or not at all.

Owns the transfer of one flat vector from a donor to a joiner, with its length, digest and finiteness checked before
anybody looks at it. Does not know where the donor's vector comes from nor what the joiner does with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from blake3 import blake3

from gossiptrain.core.averaging import Vector
from gossiptrain.core.guards import is_finite
from gossiptrain.core.partition import Slice
from gossiptrain.net.framing import ProtocolViolationError, receive_message, receive_one_of, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.messages import StateOffer, StateRefusal, StateRequest

STATE = "/gossiptrain/state"
ELEMENT_BYTES = 4


@dataclass(frozen=True)
class Donation:
    """The state that a donor gives: its parameters at one step boundary. Not changed while it is being sent."""

    vector: Vector
    step: int
    samples: int
    release: Callable[[], None] = lambda: None
    """Called when the vector is not needed any more."""


Donate = Callable[[], Awaitable[Donation | None]]
"""Takes a fresh snapshot for a joiner; None where there is none to give now."""


@dataclass(frozen=True)
class ReceivedState:
    """Where the donor stood."""

    donor: PeerId
    step: int
    samples: int
    seconds: float
    size_bytes: int


class StateDesk:
    """Gives the own state to joiners, one snapshot at a time, and fetches that of others."""

    def __init__(self, door: Door, donate: Donate) -> None:
        self._door = door
        self._clock = door.transport.clock
        self._timing = door.timing
        self._donate = donate
        self._giving = asyncio.Lock()

    async def open(self) -> None:
        """From now on gives the state to members that ask for it."""
        await self._door.serve(STATE, self._serve)

    async def fetch(self, donor: PeerId, into: Vector) -> ReceivedState:
        """Fills `into` with the donor's parameters. Where it raises, nothing in `into` may be used.

        Raises ConnectionError or TimeoutError where the donor cannot give or sends what may not be used.
        """
        started_s = self._clock.now()
        async with self._clock.timeout(self._timing.dial_timeout_s):
            stream = await self._door.stream(donor, STATE, bulk_bytes=into.nbytes)
            await send_message(stream, StateRequest())
        try:
            # The donor answers at its next step boundary, which may be a while off.
            async with self._clock.timeout(self._timing.dial_timeout_s + self._timing.round_timeout_s):
                offer = await receive_one_of(stream, StateOffer, StateRefusal)
            if not isinstance(offer, StateOffer):
                raise ProtocolViolationError("the donor cannot give its state now")
            if offer.elements != len(into):
                raise ProtocolViolationError(f"{offer.elements} values are offered where {len(into)} are expected")
            digest = await self._receive(stream, into)
        finally:
            stream.abort()
        if digest != offer.digest:
            raise ProtocolViolationError("the state that arrived is not the one that was offered")
        seconds = self._clock.now() - started_s
        return ReceivedState(donor, offer.step, offer.samples, seconds, len(into) * ELEMENT_BYTES)

    async def _receive(self, stream: Stream, into: Vector) -> str:
        digest = blake3()
        for chunk in self._chunks(len(into)):
            part = into[chunk.start : chunk.stop]
            async with self._clock.timeout(self._timing.stall_timeout_s):
                await stream.read_into(part.data.cast("B"))
            if not is_finite(part):
                raise ProtocolViolationError("the state holds values that are not finite")
            digest.update(part.data.cast("B"))
        return digest.hexdigest()

    async def _serve(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            await receive_message(stream, StateRequest)
        async with self._giving:
            donation = await self._donate()
            if donation is None:
                await send_message(stream, StateRefusal(reason="no state to give yet"))
                return
            try:
                await self._give(stream, donation)
            finally:
                donation.release()

    async def _give(self, stream: Stream, donation: Donation) -> None:
        vector = donation.vector
        offer = StateOffer(
            elements=len(vector),
            step=donation.step,
            samples=donation.samples,
            digest=await self._digest(vector),
        )
        await send_message(stream, offer)
        for chunk in self._chunks(len(vector)):
            async with self._clock.timeout(self._timing.stall_timeout_s):
                await stream.write(vector[chunk.start : chunk.stop].data.cast("B"))

    async def _digest(self, vector: Vector) -> str:
        """Of the whole vector. Gigabytes take seconds, in which heartbeats and rounds have to go on."""
        digest = blake3()
        for chunk in self._chunks(len(vector)):
            digest.update(vector[chunk.start : chunk.stop].data.cast("B"))
            await self._clock.sleep(0)
        return digest.hexdigest()

    def _chunks(self, elements: int) -> list[Slice]:
        return Slice(0, elements).chunks(self._timing.chunk_bytes // ELEMENT_BYTES)
