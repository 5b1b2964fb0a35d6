"""How a donor gives its parameters to joiners: first the digests of all chunks, then the chunks that each one asks for.

Owns what is given to whom and for how long. Of a model in fragments one is given after the other. All that ask for the
same within a while are given the same, from one copy. Where the parameters begin with the last average that this peer
holds, the offer says so, and who else holds it: the joiner then has the members of that round give different chunks at
the same time. Does not know where the donor's vector comes from, nor what the joiner does with it.

Donors train on, so their parameters are never the same; but the average of a round is, in all members of its group,
and they have compared its digest. To give the average and not what was learnt since costs the joiner at most a round's
learning and the donor's trainer nothing. A mixture of slices of several donors' parameters would be a model that nobody
has trained, and nothing in it could be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gossiptrain.core.averaging import Vector
from gossiptrain.core.partition import Slice
from gossiptrain.net.framing import ProtocolViolationError, receive_message, send_message
from gossiptrain.net.transport import Clock, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.intake import as_count
from gossiptrain.swarm.last_average import HeldAverage, LastAverage
from gossiptrain.swarm.messages import Waiting
from gossiptrain.swarm.state_chunks import ELEMENT_BYTES, MAX_CHUNKS, Chunking, digests_of
from gossiptrain.swarm.state_messages import ChunkRequest, StateOffer, StateRefusal, StateRequest
from gossiptrain.swarm.timeouts import LEAST_PIECE_BYTES

STATE = "/gossiptrain/state"


@dataclass(frozen=True)
class Donation:
    """The state that a donor gives: its parameters at one step boundary, or a fragment of them. Not changed while it is
    being sent."""

    vector: Vector
    step: int
    held: HeldAverage | None = None
    """The average that the vector begins with; None where others cannot have any of it."""
    release: Callable[[], None] = lambda: None
    """Called when the vector is not needed any more."""


Donate = Callable[[HeldAverage | None, int], Awaitable[Donation | None]]
"""Takes a copy of the average that is held, or where that is not what a joiner needs, or there is none, a fresh
snapshot of the fragment of this number; None where there is nothing to give now."""
DonateMoments = Callable[[int], Awaitable[Donation | None]]
"""Takes a copy of the second moments that the optimizer keeps of a fragment; None where it keeps none, or is silent."""
LONGEST_SNAPSHOT_S = 30.0
"""How long a donor waits for the snapshot, which its trainer takes after the inner step that it is in."""
MOST_IN_LINE = 8
"""Joiners that one donor has at a time; the next one is told to ask another peer, or later."""
SHARED_FOR_S = 30.0
"""How old a copy may be that is given to one more joiner. After that the next one waits until nobody needs it."""


@dataclass(frozen=True)
class _Part:
    """What a joiner asks for: the parameters of a fragment, or its second moments."""

    fragment: int
    moments: bool


@dataclass
class _Given:
    """What is being given, and to how many."""

    donation: Donation
    part: _Part
    taken_s: float
    users: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last of them has left, and the copy is let go of."""
    _chunking: Chunking | None = None
    _digests: Sequence[bytes] = ()
    _computing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def digests(self, chunking: Chunking, clock: Clock) -> Sequence[bytes]:
        """Of all chunks. They are kept for the next joiner, as most want chunks of the same length."""
        async with self._computing:
            if self._chunking != chunking:
                self._digests = await digests_of(self.donation.vector, chunking, clock)
                self._chunking = chunking
            return self._digests


@dataclass(frozen=True)
class _Offered:
    """What one joiner may ask for."""

    donation: Donation
    chunking: Chunking
    digests: Sequence[bytes]

    def message(self) -> StateOffer:
        held = self.donation.held
        return StateOffer(
            elements=self.chunking.elements,
            step=as_count(self.donation.step),
            average=held.digest if held is not None else "",
            members=held.members if held is not None else (),
        )


class StateServer:
    """Gives the own state to joiners."""

    def __init__(
        self, admission: Admission, last_average: LastAverage, donate: Donate, donate_moments: DonateMoments
    ) -> None:
        self._admission = admission
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._piece_bytes = self._timing.chunk_bytes
        if admission.transport.upload_bytes_per_s < math.inf:
            # So that the own limit alone never makes a joiner look dead.
            self._piece_bytes = min(self._piece_bytes, LEAST_PIECE_BYTES)
        self._last_average = last_average
        self._donate = donate
        self._donate_moments = donate_moments
        self._taking = asyncio.Lock()
        self._given: _Given | None = None
        self._in_line = 0

    async def open(self) -> None:
        """From now on gives the state to members that ask for it."""
        await self._admission.serve(STATE, self._serve)

    async def _serve(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            request = await receive_message(stream, StateRequest)
        if self._in_line >= MOST_IN_LINE:
            await send_message(stream, StateRefusal(reason="too many newcomers ask at once"))
            return
        self._in_line += 1
        ready = asyncio.Event()
        waiting = asyncio.create_task(self._say_waiting(stream, until=ready))
        try:
            async with self._held_for(request) as given:
                offered = None if given is None else await self._offered(given, request.chunk_elements)
                ready.set()
                await waiting
                if offered is None:
                    await send_message(stream, StateRefusal(reason="it has none to give yet"))
                else:
                    await self._send_offer(stream, offered)
                    await self._give_chunks(stream, offered)
        finally:
            waiting.cancel()
            self._in_line -= 1

    async def _say_waiting(self, stream: Stream, *, until: asyncio.Event) -> None:
        while not until.is_set():
            await send_message(stream, Waiting())
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(self._timing.probe_timeout_s / 2):
                    await until.wait()

    @contextlib.asynccontextmanager
    async def _held_for(self, request: StateRequest) -> AsyncIterator[_Given | None]:
        """What this joiner is given; it stays as it is until the end of the block."""
        async with self._taking:
            given = await self._shared_or_fresh(request.average, _Part(request.fragment, request.moments))
            if given is not None:
                given.users += 1
        try:
            yield given
        finally:
            if given is not None:
                given.users -= 1
                if not given.users:
                    self._let_go(given)

    async def _shared_or_fresh(self, average: str, part: _Part) -> _Given | None:
        given = self._given
        if given is not None and average:
            return given if _is(given.donation, average) else None
        if given is not None and given.part != part and part.moments:
            return None  # Nobody has to wait for what it can do without.
        if given is not None and (given.part != part or self._clock.now() - given.taken_s > SHARED_FOR_S):
            await given.gone.wait()
            given = None
        if given is None:
            fragment = part.fragment
            donation = await (self._take_moments(fragment) if part.moments else self._take(average, fragment))
            given = self._given = _Given(donation, part, self._clock.now()) if donation is not None else None
        return given

    async def _take(self, average: str, fragment: int) -> Donation | None:
        if not average:
            # What all members of a round will hold in a moment is worth a short wait.
            await self._last_average.settle(within_s=self._timing.probe_timeout_s)
        held = self._last_average.now()
        if average and (held is None or held.digest != average):
            return None
        try:
            async with self._clock.timeout(LONGEST_SNAPSHOT_S):
                donation = await self._donate(held, fragment)
                if donation is not None and held is not None and not self._last_average.still(held):
                    # The next round has begun, and has written where the average was while it was copied.
                    donation.release()
                    donation = None if average else await self._donate(None, fragment)
        except TimeoutError:
            return None
        return donation

    async def _take_moments(self, fragment: int) -> Donation | None:
        try:
            async with self._clock.timeout(LONGEST_SNAPSHOT_S):
                return await self._donate_moments(fragment)
        except TimeoutError:
            return None

    def _let_go(self, given: _Given) -> None:
        self._given = None
        given.donation.release()
        given.gone.set()

    async def _offered(self, given: _Given, chunk_elements: int) -> _Offered:
        chunking = Chunking(len(given.donation.vector), chunk_elements)
        if chunking.count > MAX_CHUNKS:
            raise ProtocolViolationError("the state is asked for in too many chunks")
        return _Offered(given.donation, chunking, await given.digests(chunking, self._clock))

    async def _send_offer(self, stream: Stream, offered: _Offered) -> None:
        await send_message(stream, offered.message())
        digests = b"".join(offered.digests)
        for piece in Slice(0, len(digests)).chunks(self._piece_bytes):
            async with self._clock.timeout(self._timing.stall_timeout_s):
                await stream.write(digests[piece.start : piece.stop])

    async def _give_chunks(self, stream: Stream, offered: _Offered) -> None:
        """Until the joiner ends the stream. It has no need to ask for more chunks than there are."""
        vector, chunking = offered.donation.vector, offered.chunking
        for _ in range(chunking.count):
            async with self._clock.timeout(2 * self._timing.stall_timeout_s):
                request = await receive_message(stream, ChunkRequest)
            if request.index >= chunking.count:
                raise ProtocolViolationError("a chunk is asked for that was not offered")
            for piece in chunking.chunk(request.index).chunks(self._piece_bytes // ELEMENT_BYTES):
                async with self._clock.timeout(self._timing.stall_timeout_s):
                    await stream.write(vector[piece.start : piece.stop].data.cast("B"))


def _is(donation: Donation, average: str) -> bool:
    return donation.held is not None and donation.held.digest == average
