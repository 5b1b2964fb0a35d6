"""The arithmetic of the slice that a member reduces for its group.

Owns the weighted mean of each chunk and what is known of the disagreement when all chunks are done. Does not know
where contributions come from, nor how far from the own values they may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gossiptrain.core.averaging import Vector, squared_norm, weighted_mean
from gossiptrain.core.guards import LARGEST, clip_around, is_sound
from gossiptrain.core.movement import Radii
from gossiptrain.core.partition import Slice
from gossiptrain.swarm.coding import Coding

ENORMOUS = 1e150


@dataclass(frozen=True)
class Clip:
    """own: the place of this member among all, around whose values the contributions of others are clipped."""

    own: int
    radii: Radii


class Reduction:
    """Adds up chunks. `squared_distance` and `squared_mean` grow with every chunk."""

    def __init__(self, coding: Coding, weights: Sequence[float], *, longest: int, clip: Clip | None = None) -> None:
        """longest: elements of the longest chunk. clip: None where contributions count as they are."""
        self._coding = coding
        self._weights = weights
        self._clip = clip
        self._scratch = np.empty(longest, np.float32)
        self.squared_distance = 0.0
        """Sum over all members of |contribution - mean|^2."""
        self.squared_mean = 0.0

    def add(self, chunk: Slice, parts: Sequence[Vector]) -> bool:
        """Computes the mean of a chunk from the contributions of all members, in their order, and keeps it.

        False where a contribution is not sound; the mean then holds nothing of use. The sum of squares that is needed
        anyway tells, without another look at every value.
        """
        scratch = self._scratch[: len(chunk)]
        mean = self._coding.mean_place(chunk)
        if self._clip is not None and not _clipped(chunk, parts, self._clip, scratch):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            weighted_mean(parts, self._weights, mean, scratch=scratch)
            squared_distance = self._coding.squared_distances(chunk, parts, scratch)
            if not squared_distance <= LARGEST**2 and not all(map(is_sound, parts)):
                return False
            self._coding.keep_mean(chunk)
            self.squared_distance += _bounded(squared_distance)
            self.squared_mean += _bounded(squared_norm(self._coding.kept(chunk)))
        return True


def _clipped(chunk: Slice, parts: Sequence[Vector], clip: Clip, scratch: Vector) -> bool:
    """Clips the parts of others in place; says whether all were sound."""
    radius, own = clip.radii.of(chunk), parts[clip.own]
    others = (part for place, part in enumerate(parts) if place != clip.own)
    return all(clip_around(own, part, radius, scratch=scratch) for part in others)


def _bounded(sum_of_squares: float) -> float:
    """Squares of finite values beyond 1e19 overflow; what is reported stays a number."""
    return sum_of_squares if math.isfinite(sum_of_squares) else ENORMOUS
