"""Fragments: parts of the flat vector, of which a round carries one, in turn.

Streaming DiLoCo (Douillard et al. 2025, arXiv 2501.18512): where each of P fragments has rounds of its own, P times as
often as the whole model had, as many bytes travel, but a round, the memory that it takes, and the copies for which an
inner step waits are P times smaller. Owns where the fragments end, and which one a round carries. Does not know
tensors, nor what is done with a fragment.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from gossiptrain.config import MOST_FRAGMENTS
from gossiptrain.core.partition import Slice

LARGEST_ELEMENTS = 32 << 20
"""Up to 128 MiB in float32 a model travels whole where nothing else is asked for: to copy so much takes about as long
as a step may wait unnoticed."""


@dataclass(frozen=True)
class Fragments:
    """How a model is cut, the same for all peers of a run. lengths: of the fragments, in their order in the vector."""

    lengths: tuple[int, ...]

    @classmethod
    def of(cls, tensors: Sequence[int], count: int | None = None) -> Fragments:
        """Cuts a vector between tensors of these lengths, so that the longest fragment is as short as can be.

        count: how many fragments there are at most; None: as many as it takes for `LARGEST_ELEMENTS`, and no more than
        `MOST_FRAGMENTS`. No tensor is cut, so fragments are as long as the longest tensor at least.
        """
        if count is None:
            count = min(MOST_FRAGMENTS, -(-sum(tensors) // LARGEST_ELEMENTS))
        shortest, longest = max(tensors, default=0), sum(tensors)
        while shortest < longest:
            middle = (shortest + longest) // 2
            if len(_filled(tensors, middle)) <= count:
                longest = middle
            else:
                shortest = middle + 1
        return cls(_filled(tensors, longest))

    @property
    def count(self) -> int:
        """How many there are; P."""
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Elements of the longest one."""
        return max(self.lengths)

    def place(self, number: int) -> Slice:
        """Where a fragment lies in the flat vector."""
        start = sum(self.lengths[:number])
        return Slice(start, start + self.lengths[number])

    def of_element(self, element: int) -> int:
        """The number of the fragment in which an element of the flat vector lies."""
        return bisect.bisect_right(list(itertools.accumulate(self.lengths)), element)

    def of_round(self, run_key: str, number: int) -> int:
        """Which fragment a round of that number carries: each in turn, beginning at one that the run decides."""
        first = int.from_bytes(hashlib.sha256(run_key.encode()).digest()[:8], "big")
        return (first + number) % self.count

    def from_there_on(self, number: int) -> tuple[int, ...]:
        """All of them, beginning with this one."""
        return tuple((number + further) % self.count for further in range(self.count))


def _filled(tensors: Sequence[int], room: int) -> tuple[int, ...]:
    """Lengths of fragments that are filled one after the other, each with as many tensors as it has room for."""
    lengths = [0]
    for length in tensors:
        if lengths[-1] and lengths[-1] + length > room:
            lengths.append(0)
        lengths[-1] += length
    return tuple(lengths)
