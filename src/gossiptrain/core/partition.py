"""Slices of the flat vector: who reduces what, in which chunks.

Owns offsets and lengths, in elements. Does not know what the elements are or how they travel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass


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


def equal_slices(elements: int, owners: int) -> list[Slice]:
    """`elements` divided into one contiguous slice per owner; lengths differ by at most one, some may be empty."""
    bounds = [elements * index // owners for index in range(owners + 1)]
    return [Slice(start, stop) for start, stop in itertools.pairwise(bounds)]
