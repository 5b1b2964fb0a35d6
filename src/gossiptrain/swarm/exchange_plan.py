"""What an attempt consists of for one member, before a byte has moved: who owns which chunks, who sends how much.

Owns the cut of the vector among the members, which follows from the attempt alone, so that all members cut alike. Pure:
does not know streams, codings or time.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossiptrain.core.partition import Slice, chunk_length, slices_by_speed
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.attempt import Attempt


@dataclass(frozen=True)
class ExchangePlan:
    """The chunks of every member's slice, as `me` sees them."""

    attempt: Attempt
    me: PeerId
    chunks: dict[PeerId, list[Slice]]
    """Of the slice that each member reduces, in the order in which they travel. Empty for one that reduces nothing."""
    longest: int
    """Elements of the longest chunk."""

    @classmethod
    def of(cls, attempt: Attempt, me: PeerId, *, elements: int, chunk_elements: int) -> ExchangePlan:
        """elements: of the flat vector. chunk_elements: most of one chunk."""
        slices = slices_by_speed(elements, attempt.speeds)
        length = chunk_length(elements, owners=len(attempt.members), most=chunk_elements)
        return cls(
            attempt,
            me,
            {peer: piece.chunks(length) for peer, piece in zip(attempt.members, slices, strict=True)},
            longest=min(length, max(map(len, slices))),
        )

    @property
    def others(self) -> list[PeerId]:
        """All members but this one, in their order."""
        return [peer for peer in self.attempt.members if peer != self.me]

    @property
    def own_chunks(self) -> list[Slice]:
        """What this member reduces."""
        return self.chunks[self.me]

    @property
    def owners(self) -> list[PeerId]:
        """The others that reduce something; nothing is sent to the rest."""
        return [peer for peer in self.others if self.chunks[peer]]

    @property
    def streams(self) -> int:
        """On which this member sends, and receives: one to each owner, and where it reduces one from each other."""
        return len(self.owners) + (len(self.others) if self.own_chunks else 0)

    def loads(self) -> dict[PeerId, int]:
        """Values that each other member sends in all: its contributions, and the means of its slice."""
        slices = {peer: sum(map(len, chunks)) for peer, chunks in self.chunks.items()}
        return {peer: sum(slices.values()) + (len(slices) - 2) * slices[peer] for peer in self.others}

    def reading_order(self, index: int) -> list[PeerId]:
        """In which order the contributions to the own chunk of that number are read.

        Another one first each time: whoever is read first is waited for, also for the sake of the rest.
        """
        first = index % max(1, len(self.others))
        return [*self.others[first:], *self.others[:first]]
