"""How a joiner takes over the parameters: from several donors at once, complete or not at all.

Owns the course of a download. The first donor that makes an offer says what the state is; where that is an average,
other members of its round are asked for the same chunks. Chunks that have arrived stay when a donor dies, or is seen to
give what nobody else holds: whoever comes next is asked for what its own state has different. Does not know in which
order donors are to be asked, nor what the joiner does with the parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from gossiptrain.core.averaging import Vector
from gossiptrain.net.framing import Message
from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.corroboration import Comparison
from gossiptrain.swarm.state_chunks import ELEMENT_BYTES, Chunking, Share, WantedChunks, equal_chunks
from gossiptrain.swarm.state_source import StateSource, opened

MOST_HELPERS = 3
"""Donors that are asked at the same time, beside the first."""

OpenSource = Callable[[PeerId, str], AbstractAsyncContextManager[StateSource]]
"""Asks a donor for an average by its digest, or for whatever it has to give."""


class UnlikeOthersError(ConnectionError):
    """A donor's parameters are far from those of others, which are near each other."""


class ReceivedState(Message):
    """Where the donor stood whose state it is."""

    donor: PeerId
    step: int
    seconds: float
    size_bytes: int
    donors: int = 1
    """How many have given parts of it."""

    def followed_by(self, other: ReceivedState) -> ReceivedState:
        """Together with a fragment that has arrived after it."""
        return other.model_copy(
            update={
                "seconds": self.seconds + other.seconds,
                "size_bytes": self.size_bytes + other.size_bytes,
                "donors": max(self.donors, other.donors),
            }
        )


class Download:
    """The parameters, or a fragment, on their way into one vector. Where they are not complete, it may not be used."""

    def __init__(
        self,
        admission: Admission,
        into: Vector,
        *,
        fragment: int = 0,
        moments: bool = False,
        comparison: Comparison | None = None,
    ) -> None:
        """moments: whether the second moments of that fragment are wanted, and not its parameters. comparison: with
        what others hold; None: what a donor gives is believed."""
        self._admission = admission
        self._fragment = fragment
        self._moments = moments
        self._comparison = comparison
        self._clock = admission.transport.clock
        self._into = into
        self._chunking = Chunking.of(len(into), chunk_bytes=admission.timing.chunk_bytes)
        self._digests: Sequence[bytes] = ()
        """Of the state that is being taken over."""
        self._here: set[int] = set()
        """Chunks that have arrived of it."""
        self._givers: set[PeerId] = set()

    async def run(
        self, donors: Sequence[PeerId], *, most_steps: int, failed: Callable[[PeerId, OSError], None]
    ) -> ReceivedState | None:
        """Takes the state over from the first of `donors` that gives it, helped by others; None where none does.

        most_steps: that a donor may have made. failed: is told who did not do its part, by a ConnectionError or
        TimeoutError. May be called again, and goes on then. There is no limit to how long it takes while anything
        arrives.
        """
        started_s = self._clock.now()
        gone: set[PeerId] = set()

        def note(donor: PeerId, error: OSError) -> None:
            gone.add(donor)
            failed(donor, error)

        def open_source(donor: PeerId, average: str) -> AbstractAsyncContextManager[StateSource]:
            return opened(
                self._admission,
                donor,
                self._chunking,
                most_steps=most_steps,
                average=average,
                fragment=self._fragment,
                moments=self._moments,
            )

        for donor in donors:
            if donor in gone:
                continue
            try:
                async with open_source(donor, "") as first:
                    able = first.offer.members - gone - {donor}
                    helpers = iter([peer for peer in donors if peer in able])
                    await _Course(self, first, helpers, open_source=open_source, failed=note).run()
            except (ConnectionError, TimeoutError) as error:
                note(donor, error)
                continue
            if len(self._here) < self._chunking.count:
                continue
            if await self._is_refuted([other for other in donors if other not in {donor, *gone}], open_source):
                note(donor, UnlikeOthersError(f"{donor} gave parameters that are unlike those of others"))
                continue
            seconds = self._clock.now() - started_s
            return self._received(donor, step=first.offer.step, seconds=seconds)
        return None

    async def _is_refuted(self, others: Sequence[PeerId], open_source: OpenSource) -> bool:
        if self._comparison is None or len(others) < 2 or len(self._givers) > 2:
            return False
        within_s = 2 * self._admission.timing.dial_timeout_s

        async def ask(other: PeerId, index: int) -> Vector | None:
            try:
                async with self._clock.timeout(within_s), open_source(other, "") as source:
                    await source.ask(index)
                    _, values = await source.receive()
                    return values.copy()
            except (ConnectionError, TimeoutError):
                return None

        return await self._comparison.refutes(self._into, self._chunking, others, ask=ask)

    def _received(self, donor: PeerId, *, step: int, seconds: float) -> ReceivedState:
        size_bytes = len(self._into) * ELEMENT_BYTES
        return ReceivedState(
            donor=donor, step=step, seconds=seconds, size_bytes=size_bytes, donors=max(1, len(self._givers))
        )

    def begin(self, digests: Sequence[bytes]) -> WantedChunks:
        """From now on these chunks are taken over; those that are here already stay."""
        if self._digests:
            self._here &= equal_chunks(self._digests, digests)
        self._digests = digests
        return WantedChunks(index for index in range(self._chunking.count) if index not in self._here)

    def put(self, index: int, values: Vector, *, giver: PeerId) -> None:
        """A chunk has arrived and is as it should be."""
        chunk = self._chunking.chunk(index)
        self._into[chunk.start : chunk.stop] = values
        self._here.add(index)
        self._givers.add(giver)


class _Course:
    """One state on its way: from the donor that has offered it, and from others that hold the same."""

    def __init__(
        self,
        download: Download,
        first: StateSource,
        helpers: Iterator[PeerId],
        *,
        open_source: OpenSource,
        failed: Callable[[PeerId, OSError], None],
    ) -> None:
        self._download = download
        self._first = first
        self._helpers = helpers
        self._open_source = open_source
        self._failed = failed
        self._wanted = download.begin(first.offer.digests)

    async def run(self) -> None:
        """Until all chunks are here, or nobody is left who can give what is missing."""
        digests = self._first.offer.digests
        whole = Share(self._first.donor, range(len(digests)), from_the_end=True)
        tasks: set[asyncio.Task[object]] = {asyncio.create_task(self._take(self._first, whole))}
        tasks |= {asyncio.create_task(self._have_help()) for _ in range(MOST_HELPERS)}
        try:
            while tasks and not self._wanted.all_here:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _have_help(self) -> None:
        """From one of those who should hold the same, and from another one where that fails."""
        offer = self._first.offer
        for donor in self._helpers:
            try:
                async with self._open_source(donor, offer.average) as source:
                    share = Share(donor, equal_chunks(offer.digests, source.offer.digests))
                    if await self._take(source, share):
                        return
            except UnreachableError:
                continue  # It holds another average by now, or has too many joiners.
            except (ConnectionError, TimeoutError) as error:
                self._failed(donor, error)

    async def _take(self, source: StateSource, share: Share) -> bool:
        """Takes chunks from one donor while it may be needed. False where it did not do its part."""
        wanted = self._wanted
        try:
            while True:
                while source.has_room and (index := wanted.next_for(share, idle=source.is_idle)) is not None:
                    await source.ask(index)
                if not source.is_idle:
                    index, values = await source.receive()
                    if wanted.arrived(index):
                        self._download.put(index, values, giver=source.donor)
                elif wanted.more_for(share):
                    await wanted.changed()
                else:
                    return True
        except (ConnectionError, TimeoutError) as error:
            self._failed(source.donor, error)
            return False
        finally:
            wanted.give_up(source.donor)
