"""Slices of the flat vector: who reduces what, in which chunks.

Owns offsets and lengths, in elements. Does not know what the elements are or how they travel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gossiptrain.core.modular import BLOCK

CHUNKS_A_SLICE = 16
"""A slice is cut into so many chunks at least, so that the means of one travel while the next still arrive: of what a
link carries in an exchange, about 1/16 is the time in which the last means wait for the last contributions."""
LEAST_CHUNK = 32 << 10
"""Chunks are not cut shorter than this for that: each costs some 0.1 ms."""
SMALL_GROUP = 16
"""In groups of so many members everyone owns a slice, however short it is."""
LEAST_SLICE = 16 << 10
"""Elements of a slice that is worth the streams to its owner in a larger group: one from each other member."""
LEAST_OWNERS = 4
"""Of a vector that is too short for that. A small model in a group of 64 takes 250 streams then instead of 4,000."""


@dataclass(frozen=True)
class Slice:
    """Elements `start` to `stop`, excluding `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def chunks(self, chunk_elements: int) -> list[Slice]:
        """The slice cut into pieces of `chunk_elements`; the last one may be shorter."""
        return list(self._cut(chunk_elements))

    def _cut(self, chunk_elements: int) -> Iterator[Slice]:
        for start in range(self.start, self.stop, chunk_elements):
            yield Slice(start, min(start + chunk_elements, self.stop))


def chunk_length(elements: int, *, owners: int, most: int) -> int:
    """Elements in a chunk of a vector that is cut among so many owners; the same for everybody who has the vector.

    Whole blocks of int8, where it is free to be.
    """
    fitting = elements // (CHUNKS_A_SLICE * owners)
    return min(most, max(LEAST_CHUNK, fitting - fitting % BLOCK))


def slices_by_speed(elements: int, speeds: Sequence[int]) -> list[Slice]:
    """One contiguous slice per owner, so that all owners, whose links have these relative speeds, end together.

    Owner i of k sends its contributions to the slices of others, elements - s_i, and the means of its own slice to
    k - 1 others: elements + (k - 2) s_i in all, and receives as much. All end at the same time t where s_i is
    (t speed_i - elements) / (k - 2); an owner too slow for that reduces nothing. With two owners slices do not matter.
    Slices of equal owners differ by at most one element. Everybody who is given the same speeds finds the same slices.
    Where the vector is too short for all of a large group, only the fastest own a slice, and of equals the first.
    """
    is_small = len(speeds) <= SMALL_GROUP
    most_owners = len(speeds) if is_small else max(LEAST_OWNERS, elements // LEAST_SLICE)
    shares = _shares(speeds, most_owners) if len(speeds) > 2 else [Fraction(1)] * len(speeds)
    whole = sum(shares)
    bounds = [0, *(int(elements * share / whole) for share in itertools.accumulate(shares))]
    return [Slice(start, stop) for start, stop in itertools.pairwise(bounds)]


def _shares(speeds: Sequence[int], most_owners: int) -> list[Fraction]:
    """The lengths of the slices, relative to their sum. In whole numbers, lest rounding differ between computers."""
    others = len(speeds) - 2
    owners = sorted(range(len(speeds)), key=lambda owner: (-speeds[owner], owner))[:most_owners]
    while True:
        # The sum of all slices is one model: t sum(speeds) - r = k - 2, for the r owners that reduce anything.
        end = Fraction(others + len(owners), sum(speeds[owner] for owner in owners))
        if end * speeds[owners[-1]] > 1 or len(owners) == 1:
            reducing = set(owners)
            return [max(Fraction(0), end * speed - 1) * (owner in reducing) for owner, speed in enumerate(speeds)]
        owners.pop()
