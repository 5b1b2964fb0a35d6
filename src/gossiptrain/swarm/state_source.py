"""One donor, as a joiner sees it: what it offers, and its chunks, each checked when it arrives.

Owns the joiner's side of one stream: how far ahead chunks are asked for, how long the donor may be silent, and that
nothing is believed that is too large, too far ahead, not finite or not what was offered. Does not know other donors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from gossiptrain.core.averaging import Vector
from gossiptrain.core.guards import is_sound
from gossiptrain.core.partition import Slice
from gossiptrain.net.framing import ProtocolViolationError, receive_one_of, send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.messages import Waiting
from gossiptrain.swarm.state import STATE
from gossiptrain.swarm.state_chunks import DIGEST_BYTES, ELEMENT_BYTES, Chunking, digest_of
from gossiptrain.swarm.state_messages import ChunkRequest, StateOffer, StateRefusal, StateRequest
from gossiptrain.swarm.timeouts import PIECE_BYTES

LONGEST_LINE_S = 120.0
"""How long a joiner waits for its turn at one donor."""
AHEAD_S = 0.5
"""Chunks are asked for ahead for so long at the speed at which they arrive, so that the donor never waits for a
request; a slow one is asked for little that others then have to wait for."""
LEAST_AHEAD = 2
MOST_AHEAD = 16
SOON_SHARE = 1 / 8
"""Of the time that a link may stand still: of a donor whose last chunk took longer, less than a chunk is expected in
that time, as its link may be slow or its user may have set a limit."""


@dataclass(frozen=True)
class Offer:
    """What a donor can give."""

    step: int
    average: str
    members: frozenset[PeerId]
    digests: tuple[bytes, ...]
    """Of all chunks."""


class StateSource:
    """A donor that has made its offer."""

    def __init__(self, admission: Admission, stream: Stream, chunking: Chunking, offer: Offer) -> None:
        self.donor = stream.remote
        self.offer = offer
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._stream = stream
        self._chunking = chunking
        self._chunk: Vector = np.empty(chunking.chunk_elements, np.float32)
        self._asked: deque[int] = deque()
        self._first_asked_s = 0.0
        self._comes_soon = False
        self.received = 0
        """Chunks."""

    @property
    def is_idle(self) -> bool:
        """Whether it is asked for nothing at the moment."""
        return not self._asked

    @property
    def has_room(self) -> bool:
        """Whether it is worth asking for one more chunk now."""
        elapsed_s = self._clock.now() - self._first_asked_s
        if not self.received or elapsed_s <= 0:
            return len(self._asked) < LEAST_AHEAD
        return len(self._asked) < min(max(LEAST_AHEAD, AHEAD_S * self.received / elapsed_s), MOST_AHEAD)

    async def ask(self, index: int) -> None:
        """Asks for one more chunk."""
        if not self.received and not self._asked:
            self._first_asked_s = self._clock.now()
        self._asked.append(index)
        async with self._clock.timeout(self._timing.stall_timeout_s):
            await send_message(self._stream, ChunkRequest(index=index))

    async def receive(self) -> tuple[int, Vector]:
        """The next chunk that it was asked for, as it was offered; to be used before the next one is received.

        Raises ProtocolViolationError where it is something else, StreamClosedError or TimeoutError where nothing comes.
        """
        index = self._asked[0]
        values = self._chunk[: len(self._chunking.chunk(index))]
        begun_s, stall_s = self._clock.now(), self._timing.stall_timeout_s
        most_bytes = self._timing.chunk_bytes if self._comes_soon else min(self._timing.chunk_bytes, PIECE_BYTES)
        for piece in Slice(0, len(values)).chunks(most_bytes // ELEMENT_BYTES):
            async with self._clock.timeout(stall_s):
                await self._stream.read_into(values[piece.start : piece.stop].data.cast("B"))
        self._comes_soon = self._clock.now() - begun_s < SOON_SHARE * stall_s
        if digest_of(values) != self.offer.digests[index]:
            raise ProtocolViolationError("a chunk of the state that arrived is not the one that was offered")
        if not is_sound(values):
            raise ProtocolViolationError("the state holds values that are not finite, or larger than any model's")
        self._asked.popleft()
        self.received += 1
        return index, values


@asynccontextmanager
async def opened(
    admission: Admission,
    donor: PeerId,
    chunking: Chunking,
    *,
    most_steps: int,
    average: str = "",
    fragment: int = 0,
    moments: bool = False,
) -> AsyncIterator[StateSource]:
    """Asks a donor for an offer of a fragment, or of its moments, and for nothing but `average` where that is given.

    Raises UnreachableError where it makes none, ProtocolViolationError where it cannot be one, TimeoutError.
    """
    clock = admission.transport.clock
    async with clock.timeout(admission.opening_s(donor)):
        stream = await admission.stream(donor, STATE, bulk_bytes=chunking.elements * ELEMENT_BYTES)
    try:
        async with clock.timeout(LONGEST_LINE_S):
            request = StateRequest(
                chunk_elements=chunking.chunk_elements, average=average, fragment=fragment, moments=moments
            )
            message = await _ask_for_offer(stream, request, admission)
        if message.elements != chunking.elements:
            raise ProtocolViolationError(
                f"{message.elements} values are offered where {chunking.elements} are expected"
            )
        if message.step > most_steps:
            raise ProtocolViolationError("the donor claims to be far ahead of what most peers say")
        if average and message.average != average:
            raise ProtocolViolationError("another state is offered than the one that was asked for")
        digests = await _read_digests(stream, admission, count=chunking.count)
        offer = Offer(message.step, message.average, frozenset(map(PeerId, message.members)), digests)
        yield StateSource(admission, stream, chunking, offer)
    finally:
        stream.abort()


async def _read_digests(stream: Stream, admission: Admission, *, count: int) -> tuple[bytes, ...]:
    digests = bytearray(count * DIGEST_BYTES)
    for piece in Slice(0, len(digests)).chunks(admission.timing.chunk_bytes):
        async with admission.transport.clock.timeout(admission.timing.stall_timeout_s):
            await stream.read_into(memoryview(digests)[piece.start : piece.stop])
    return tuple(bytes(digests[start : start + DIGEST_BYTES]) for start in range(0, len(digests), DIGEST_BYTES))


async def _ask_for_offer(stream: Stream, request: StateRequest, admission: Admission) -> StateOffer:
    """A donor may say nothing for so long before another one is asked; it says four times as often that it lives."""
    clock, silence_s = admission.transport.clock, 2 * admission.timing.probe_timeout_s
    async with clock.timeout(silence_s):
        await send_message(stream, request)
    while True:
        async with clock.timeout(silence_s):
            answer = await receive_one_of(stream, Waiting, StateOffer, StateRefusal)
        if isinstance(answer, StateRefusal):
            raise UnreachableError(f"the donor does not give its state: {answer.reason}")
        if isinstance(answer, StateOffer):
            return answer
