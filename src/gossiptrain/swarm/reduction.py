"""The arithmetic of the slice that a member reduces for its group.

Owns the weighted mean of each chunk and what is known of the disagreement when all chunks are done. Does not know
where contributions come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gossiptrain.core.averaging import Vector, squared_norm, weighted_mean
from gossiptrain.core.guards import is_finite
from gossiptrain.core.partition import Slice
from gossiptrain.swarm.coding import Coding

ENORMOUS = 1e150


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

    def add(self, chunk: Slice, parts: Sequence[Vector]) -> bool:
        """Computes the mean of a chunk from the contributions of all members, in their order, and keeps it.

        False where a contribution is not finite; the mean then holds nothing of use. The sum of squares that is needed
        anyway tells, without another look at every value.
        """
        scratch = self._scratch[: len(chunk)]
        mean = self._coding.mean_place(chunk)
        with np.errstate(over="ignore", invalid="ignore"):
            weighted_mean(parts, self._weights, mean, scratch=scratch)
            squared_distance = self._coding.squared_distances(chunk, parts, scratch)
            if not math.isfinite(squared_distance) and not all(map(is_finite, parts)):
                return False
            self._coding.keep_mean(chunk)
            self.squared_distance += _bounded(squared_distance)
            self.squared_mean += _bounded(squared_norm(self._coding.kept(chunk)))
        return True


def _bounded(sum_of_squares: float) -> float:
    """Squares of finite values beyond 1e19 overflow; what is reported stays a number."""
    return sum_of_squares if math.isfinite(sum_of_squares) else ENORMOUS
