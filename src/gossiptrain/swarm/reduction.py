"""The arithmetic of the slice that a member reduces for its group.

Owns the weighted mean of each chunk and what is known of the disagreement when all chunks are done. Does not know
where contributions come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gossiptrain.core.averaging import Vector, squared_distances, squared_norm, weighted_mean
from gossiptrain.core.partition import Slice
from gossiptrain.swarm.coding import Coding


class Reduction:
    """Adds up chunks. `squared_distance` and `squared_mean` grow with every chunk."""

    def __init__(self, coding: Coding, weights: Sequence[float], *, longest: int) -> None:
        """longest: elements of the longest chunk."""
        self._coding = coding
        self._weights = weights
        self._scratch = np.empty(longest, np.float32)
        self.squared_distance = 0.0
        """Sum over all members of |contribution - mean|^2."""
        self.squared_mean = 0.0

    def add(self, chunk: Slice, parts: Sequence[Vector]) -> None:
        """Computes the mean of a chunk from the contributions of all members, in their order, and keeps it."""
        scratch = self._scratch[: len(chunk)]
        mean = self._coding.mean_place(chunk)
        weighted_mean(parts, self._weights, mean, scratch=scratch)
        self.squared_distance += squared_distances(parts, mean, scratch=scratch)
        self._coding.keep_mean(chunk)
        self.squared_mean += squared_norm(self._coding.kept(chunk))
