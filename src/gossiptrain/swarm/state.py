"""How a peer that arrives late takes over the current parameters: complete, or not at all.

Owns the transfer of one flat vector from a donor to a joiner, with its length, digest and finiteness checked before
anybody looks at it. Does not know where the donor's vector comes from nor what the joiner does with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from gossiptrain.core.averaging import Vector
from gossiptrain.core.guards import is_finite
from gossiptrain.core.partition import Slice
from gossiptrain.net.framing import Message, ProtocolViolationError, receive_message, receive_one_of, send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.intake import as_count
from gossiptrain.swarm.messages import StateOffer, StateRefusal, StateRequest, Waiting

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
LONGEST_SNAPSHOT_S = 30.0
"""How long a donor waits for the snapshot, which its trainer takes after the inner step that it is in."""
LONGEST_LINE_S = 120.0
"""How long a joiner waits for its turn at one donor."""
MOST_IN_LINE = 8
"""Joiners that one donor has at a time; the next one is told to ask another peer, or later."""


class ReceivedState(Message):
    """Where the donor stood."""

    donor: PeerId
    step: int
    samples: int
    seconds: float
    size_bytes: int


class Fetch(Protocol):
    """Fills `into` with the parameters of `donor`, which may have made `most_steps` at most.

    Raises ConnectionError or TimeoutError where it does not give any; `into` may not be used then.
    """

    async def __call__(self, donor: PeerId, into: Vector, *, most_steps: int) -> ReceivedState:
        """There is no limit to how long it takes while the parameters arrive."""


class StateServer:
    """Gives the own state to joiners, one after the other, and fetches that of others."""

    def __init__(self, admission: Admission, donate: Donate) -> None:
        self._admission = admission
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._donate = donate
        self._giving = asyncio.Lock()
        self._in_line = 0

    async def open(self) -> None:
        """From now on gives the state to members that ask for it."""
        await self._admission.serve(STATE, self._serve)

    async def fetch(self, donor: PeerId, into: Vector, *, most_steps: int) -> ReceivedState:
        """See `Fetch`."""
        started_s = self._clock.now()
        async with self._clock.timeout(self._admission.opening_s(donor)):
            stream = await self._admission.stream(donor, STATE, bulk_bytes=into.nbytes)
            await send_message(stream, StateRequest())
        try:
            async with self._clock.timeout(LONGEST_LINE_S):
                offer = await self._offer(stream)
            if offer.elements != len(into):
                raise ProtocolViolationError(f"{offer.elements} values are offered where {len(into)} are expected")
            if offer.step > most_steps:
                raise ProtocolViolationError("the donor claims to be far ahead of what most peers say")
            digest = await self._receive(stream, into)
        finally:
            stream.abort()
        if digest != offer.digest:
            raise ProtocolViolationError("the state that arrived is not the one that was offered")
        seconds = self._clock.now() - started_s
        size_bytes = len(into) * ELEMENT_BYTES
        return ReceivedState(
            donor=donor, step=offer.step, samples=offer.samples, seconds=seconds, size_bytes=size_bytes
        )

    @property
    def _silence_s(self) -> float:
        """How long a donor may say nothing before another one is asked: it says four times as often that it lives."""
        return 2 * self._timing.probe_timeout_s

    async def _offer(self, stream: Stream) -> StateOffer:
        while True:
            async with self._clock.timeout(self._silence_s):
                answer = await receive_one_of(stream, Waiting, StateOffer, StateRefusal)
            if isinstance(answer, StateRefusal):
                raise UnreachableError(f"the donor does not give its state: {answer.reason}")
            if isinstance(answer, StateOffer):
                return answer

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
        if self._in_line >= MOST_IN_LINE:
            await send_message(stream, StateRefusal(reason="too many newcomers ask at once"))
            return
        self._in_line += 1
        ready = asyncio.Event()
        waiting = asyncio.create_task(self._say_waiting(stream, until=ready))
        try:
            async with self._giving:
                await self._serve_next(stream, ready, waiting)
        finally:
            waiting.cancel()
            self._in_line -= 1

    async def _serve_next(self, stream: Stream, ready: asyncio.Event, waiting: asyncio.Task[None]) -> None:
        donation = await self._snapshot()
        try:
            digest = await self._digest(donation.vector) if donation is not None else ""
            ready.set()
            await waiting
            if donation is None:
                await send_message(stream, StateRefusal(reason="it has none to give yet"))
            else:
                await self._give(stream, donation, digest)
        finally:
            if donation is not None:
                donation.release()

    async def _say_waiting(self, stream: Stream, *, until: asyncio.Event) -> None:
        while not until.is_set():
            await send_message(stream, Waiting())
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(self._timing.probe_timeout_s / 2):
                    await until.wait()

    async def _snapshot(self) -> Donation | None:
        try:
            async with self._clock.timeout(LONGEST_SNAPSHOT_S):
                return await self._donate()
        except TimeoutError:
            return None

    async def _digest(self, vector: Vector) -> str:
        digest = blake3()
        for chunk in self._chunks(len(vector)):
            digest.update(vector[chunk.start : chunk.stop].data.cast("B"))
            await self._clock.sleep(0)  # heartbeats and rounds go on meanwhile
        return digest.hexdigest()

    async def _give(self, stream: Stream, donation: Donation, digest: str) -> None:
        vector = donation.vector
        step, samples = as_count(donation.step), as_count(donation.samples)
        await send_message(stream, StateOffer(elements=len(vector), step=step, samples=samples, digest=digest))
        for chunk in self._chunks(len(vector)):
            async with self._clock.timeout(self._timing.stall_timeout_s):
                await stream.write(vector[chunk.start : chunk.stop].data.cast("B"))

    def _chunks(self, elements: int) -> list[Slice]:
        return Slice(0, elements).chunks(self._timing.chunk_bytes // ELEMENT_BYTES)
