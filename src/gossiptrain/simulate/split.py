"""Which samples each peer sees.

Owns the divisions of a data set: all parts alike, classes in unequal shares, and a row cut into pieces. All are
functions of their arguments alone. Does not know what a sample is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossiptrain.errors import UsageError
from gossiptrain.training.tasks.sampling import deal, seed_from

Indices = NDArray[np.int64]


def alike(labels: Indices, parts: int) -> list[Indices]:
    """Parts of the same mix of classes, the very ones of `--share 1/PARTS` and so on. Raises UsageError."""
    _check(len(labels), parts)
    return deal(labels, parts)


def dirichlet(labels: Indices, parts: int, *, concentration: float, seed: int) -> list[Indices]:
    """Parts in which classes are mixed unequally (Hsu et al. 2019): each class is divided by its own draw from a
    Dirichlet distribution. Small concentrations leave each part few classes.

    The parts are disjoint, cover everything and differ in size; a part that would be empty gets one sample of the
    largest. Indices in rising order. Raises UsageError where there are fewer samples than parts.
    """
    _check(len(labels), parts)
    random = np.random.RandomState(seed_from("dirichlet", seed, parts, repr(concentration)) % 2**32)
    pieces: list[list[Indices]] = [[] for _ in range(parts)]
    for label in np.unique(labels):
        of_class = random.permutation(np.flatnonzero(labels == label))
        shares = random.dirichlet(np.full(parts, concentration))
        ends = np.rint(np.cumsum(shares)[:-1] * len(of_class)).astype(np.int64)
        for piece, found in zip(pieces, np.split(of_class, ends), strict=True):
            piece.append(found)
    whole = [np.concatenate(piece) for piece in pieces]
    for part in range(parts):
        if not len(whole[part]):
            largest = max(range(parts), key=lambda other: len(whole[other]))
            whole[part], whole[largest] = whole[largest][-1:], whole[largest][:-1]
    return [np.sort(part) for part in whole]


def contiguous(samples: int, parts: int) -> list[Indices]:
    """Neighbours stay together; the parts differ by at most one in size. Raises UsageError."""
    _check(samples, parts)
    return [part.astype(np.int64) for part in np.array_split(np.arange(samples), parts)]


def _check(samples: int, parts: int) -> None:
    if samples < parts:
        raise UsageError(
            f"{samples} training samples cannot be divided among {parts} peers.", remedy="Choose fewer --peers."
        )
