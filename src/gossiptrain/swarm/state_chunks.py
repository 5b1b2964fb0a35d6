"""The parameters for a joiner as chunks with a digest each, and which of them are still wanted.

Owns the length of a chunk, its digest, and who is asked for which chunk: each donor for the next one that nobody has
been asked for, so that the fast ones give more; and at the end, by those that have nothing else to do, for what a
slower one has not sent yet. Does not know streams, nor whether a donor lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from gossiptrain.core.averaging import Vector
from gossiptrain.core.partition import Slice
from gossiptrain.net.transport import Clock, PeerId

ELEMENT_BYTES = 4
MAX_CHUNKS = 4096
"""Of one state: what a joiner reads before it knows whether anything of it is true is 128 KiB."""
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Chunking:
    """How a state is cut."""

    elements: int
    chunk_elements: int

    @classmethod
    def of(cls, elements: int, *, chunk_bytes: int) -> Chunking:
        """Chunks of `chunk_bytes`; of a state that has too many of them, longer ones."""
        return cls(elements, max(1, chunk_bytes // ELEMENT_BYTES, -(-elements // MAX_CHUNKS)))

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-self.elements // self.chunk_elements)

    def chunk(self, index: int) -> Slice:
        """Where a chunk lies. The last one may be shorter."""
        start = index * self.chunk_elements
        return Slice(start, min(start + self.chunk_elements, self.elements))


def digest_of(values: Vector) -> bytes:
    """BLAKE3 over values as little-endian float32."""
    return blake3(values.data.cast("B")).digest()


async def digests_of(vector: Vector, chunking: Chunking, clock: Clock) -> list[bytes]:
    """Of all chunks. Heartbeats and rounds go on meanwhile."""
    digests = []
    for index in range(chunking.count):
        chunk = chunking.chunk(index)
        digests.append(digest_of(vector[chunk.start : chunk.stop]))
        await clock.sleep(0)
    return digests


@dataclass(frozen=True)
class Share:
    """What one donor can give of the state that is wanted: the chunks for which it has the same digests."""

    donor: PeerId
    chunks: Collection[int]
    from_the_end: bool = False
    """In which order it is asked for them. Of the vectors that a strategy keeps, the first is what rounds make equal:
    the donor whose state it is begins with what others may not have."""


class WantedChunks:
    """The chunks of one state that a joiner still wants."""

    def __init__(self, chunks: Iterable[int]) -> None:
        self._unasked = dict.fromkeys(chunks)
        self._asked: dict[int, list[PeerId]] = {}
        """Who is asked for each of the others, in the order in which they were first asked for."""
        self._changed = asyncio.Event()

    @property
    def all_here(self) -> bool:
        """Whether nothing is wanted any more."""
        return not self._unasked and not self._asked

    def next_for(self, share: Share, *, idle: bool) -> int | None:
        """A chunk to ask the donor for now, if there is one. idle: whether it is asked for nothing at the moment."""
        unasked = reversed(self._unasked) if share.from_the_end else iter(self._unasked)
        index = next((index for index in unasked if index in share.chunks), None)
        if index is None and idle:
            index = self._late_elsewhere(share)
        if index is not None:
            self._unasked.pop(index, None)
            self._asked.setdefault(index, []).append(share.donor)
        return index

    def _late_elsewhere(self, share: Share) -> int | None:
        """What another donor will send last of all; nobody is asked for a chunk for a third time."""
        for index in reversed(self._asked):
            donors = self._asked[index]
            if index in share.chunks and len(donors) == 1 and share.donor not in donors:
                return index
        return None

    def more_for(self, share: Share) -> bool:
        """Whether the donor may still be needed: others that were asked for what it has may die."""
        return any(index in share.chunks for wanted in (self._unasked, self._asked) for index in wanted)

    def arrived(self, index: int) -> bool:
        """Notes that a chunk is here. False where it was here already."""
        if self._asked.pop(index, None) is None:
            return False
        self._wake()
        return True

    def give_up(self, donor: PeerId) -> None:
        """What only this donor was asked for may be had from others."""
        for index, donors in list(self._asked.items()):
            if donor in donors:
                donors.remove(donor)
            if not donors:
                del self._asked[index]
                self._unasked[index] = None
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Returns when a chunk has arrived or a donor was given up."""
        await self._changed.wait()


def equal_chunks(own: Sequence[bytes], others: Sequence[bytes]) -> frozenset[int]:
    """The chunks that are the same in two states."""
    return frozenset(index for index, pair in enumerate(zip(own, others, strict=True)) if pair[0] == pair[1])
