"""The average of a group, how a peer takes it over, and the laws by which disagreement shrinks.

Owns the arithmetic. All vectors are one-dimensional float32 numpy arrays of one chunk or of the whole model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

WEIGHT_SPREAD = 4.0
"""No contribution weighs more than this many times the median of its group, or less than the inverse."""
FEW = 64
"""Values that are compared before all are."""


def clipped_weights(samples: Sequence[int]) -> list[float]:
    """Weights that sum to 1, proportional to the samples seen since the last round, clipped around their median.

    The clip bounds what a peer gains by claiming too much. Peers that have all seen nothing weigh the same.
    """
    middle = statistics.median(samples)
    clipped = [clipped_weight(count, middle) for count in samples]
    total = math.fsum(clipped)
    return [weight / total for weight in clipped]


def clipped_weight(samples: float, median_samples: float) -> float:
    """A peer's samples relative to the median, within `WEIGHT_SPREAD`; 1 where the median is zero or not known."""
    if median_samples <= 0:
        return 1.0
    return min(max(samples / median_samples, 1 / WEIGHT_SPREAD), WEIGHT_SPREAD)


def weighted_mean(
    parts: Sequence[Vector], weights: Sequence[float], out: Vector, *, scratch: Vector | None = None
) -> None:
    """Writes sum(weights[i] * parts[i]) into `out`, in float32 and in the order given, so that it is repeatable.

    The weights must sum to 1. Equal parts give exactly that part: whoever holds a model that others have just agreed on
    may average it once more with some of them, and still holds theirs. scratch: memory as long as `out`, for those who
    call this often.
    """
    if _are_equal(parts):
        np.copyto(out, parts[0])
        return
    np.multiply(parts[0], np.float32(weights[0]), out=out)
    scaled = np.empty_like(out) if scratch is None else scratch
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        np.multiply(part, np.float32(weight), out=scaled)
        out += scaled


def _are_equal(parts: Sequence[Vector]) -> bool:
    """A look at a few values tells parts apart that are not."""
    first, others = parts[0], parts[1:]
    return all(np.array_equal(part[:FEW], first[:FEW]) for part in others) and all(
        np.array_equal(part, first) for part in others
    )


def squared_distances(parts: Sequence[Vector], mean: Vector, *, scratch: Vector | None = None) -> float:
    """Sum over all parts of |part - mean|^2; the parts are added up in float64. scratch: as in `weighted_mean`."""
    difference = np.empty_like(mean) if scratch is None else scratch
    total = 0.0
    for part in parts:
        np.subtract(part, mean, out=difference)
        total += float(np.dot(difference, difference))
    return total


def squared_norm(vector: Vector) -> float:
    """|vector|^2."""
    return float(np.dot(vector, vector))


def relative_disagreement(*, squared_distance: float, squared_mean: float, members: int) -> float:
    """Root mean square distance of the members from their mean, relative to the root mean square of the mean."""
    if squared_mean <= 0:
        return 0.0 if squared_distance <= 0 else math.inf
    return math.sqrt(squared_distance / members / squared_mean)


def expected_contraction(*, peers: int, groups: int) -> float:
    """Expected factor by which one round of `groups` random disjoint groups shrinks the variance among `peers`.

    (groups - 1) / (peers - 1), exact for any random exchangeable partition; peers that stay away count as groups of
    one. Follows from E Var(mean of m) = variance / m * (N - m) / (N - 1), summed over the groups.
    """
    if peers < 2:
        return 0.0
    return (groups - 1) / (peers - 1)


def contraction_with_alpha(contraction: float, alpha: float) -> float:
    """The same factor where each peer goes only the share `alpha` of the way: rho + (1 - alpha)^2 (1 - rho)."""
    return contraction + (1 - alpha) ** 2 * (1 - contraction)
