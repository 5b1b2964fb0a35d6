"""Robust ways to aggregate a group, which real peers do not use: the laboratory compares with them.

Owns their arithmetic. Each assumes that up to a quarter of the group lies. Does not know attacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from gossiptrain.core.averaging import Vector

AggregatorName: TypeAlias = Literal["median", "trimmed-mean", "krum"]
Matrix: TypeAlias = npt.NDArray[np.float32]


def liars_expected(members: int) -> int:
    """In a group of so many: a quarter of it, rounded up, but fewer than half."""
    return min(-(-members // 4), (members - 1) // 2)


def median(values: Matrix) -> Vector:
    """Of each coordinate of the members' values [members, elements] (Yin et al. 2018)."""
    return np.asarray(np.median(values, axis=0), np.float32)


def trimmed_mean(values: Matrix) -> Vector:
    """Of each coordinate, less as many of the largest and of the smallest as may be lies (Yin et al. 2018)."""
    cut = liars_expected(len(values))
    return np.asarray(np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0), np.float32)


def krum(values: Matrix) -> Vector:
    """The values of the member that is nearest to its nearest others (Blanchard et al. 2017)."""
    members = len(values)
    exact = values.astype(np.float64)
    squares = np.stack([np.square(exact - own).sum(axis=1) for own in exact])
    neighbours = max(1, members - liars_expected(members) - 2)
    # Each is its own nearest one, at no distance.
    scores = np.sort(squares, axis=1)[:, : neighbours + 1].sum(axis=1)
    return np.asarray(values[int(np.argmin(scores))], np.float32)


AGGREGATORS: dict[AggregatorName, Callable[[Matrix], Vector]] = {
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
}
