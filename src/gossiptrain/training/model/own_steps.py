"""What the last own steps of a peer say of the next one: how long is usual, and whether they keep their direction.

Owns that history and the sums over parameters that it needs. All of it follows from a peer's own values. Does not know
groups, rules, nor when rounds take place.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

REMEMBERED = 8
"""Steps by whose median length is told what is usual: a few long ones do not move it."""
FEWEST = 3
"""Before so many are known every length is usual; and until all are, the longest of them, as learning rates rise."""
MOST = 3.0
"""Times the usual length that a step may have. One that has gone astray between two rounds is eight times as long or
more (`docs/algorithms.md`)."""


@dataclass(frozen=True)
class Alignment:
    """How what was learnt in a round and the momentum lie to each other: sums over all parameters."""

    product: float
    learnt_squared: float
    momentum_squared: float

    def shortened(self, share: float) -> Alignment:
        """Where only this share of what was learnt counts."""
        return replace(self, product=share * self.product, learnt_squared=share**2 * self.learnt_squared)


class StepLengths:
    """Of what a peer has learnt by itself in each of its last rounds."""

    def __init__(self, usual: float = 0.0) -> None:
        """usual: as an earlier process has known it; 0 where none has."""
        self._lengths: deque[float] = deque([usual] * FEWEST if usual > 0 else (), maxlen=REMEMBERED)

    @property
    def usual(self) -> float:
        """The median, or the longest of the first ones; 0 where too few are known."""
        if len(self._lengths) < FEWEST:
            return 0.0
        return statistics.median(self._lengths) if len(self._lengths) == REMEMBERED else max(self._lengths)

    def share_of(self, length: float, *, horizon: float) -> float:
        """The share of a step of this length that counts; the step is noted.

        horizon: its inner steps, relative to those of a usual round. Shorter ones are no example of what is usual, and
        longer ones may be as much longer.
        """
        if not 0 < length < math.inf:
            return 1.0
        usual, times = self.usual, max(1.0, horizon)
        limit = MOST * usual * times if usual > 0 else math.inf
        if horizon >= 0.5:
            self._lengths.append(min(length, limit) / times)
        return min(1.0, limit / length)


@dataclass
class StepHistory:
    """Of one peer. grown_rounds: through which its outer step has grown, in usual ones. against: rounds running whose
    learning went against the momentum."""

    lengths: StepLengths = field(default_factory=StepLengths)
    grown_rounds: float = 0.0
    against: int = 0


@dataclass(frozen=True)
class StepShares:
    """What counts in the next outer step. learnt: share of what was learnt. grown, kept: shares of the momentum that
    move the model and that are not forgotten."""

    learnt: float = 1.0
    grown: float = 1.0
    kept: float = 1.0


@torch.no_grad()
def products_of(local: Tensor, shared: Tensor, momentum: Tensor) -> Tensor:
    """Of one tensor, before its next outer step: what `Alignment` holds, as a tensor of three in float64."""
    pairs = [(first.reshape(-1), second.reshape(-1)) for first, second in _pairs(local - shared, momentum)]
    # A seventh of the time that a sum in float64 takes, and for a sign and a ratio the digits are enough.
    return torch.stack([torch.dot(first, second) for first, second in pairs]).double()


@torch.no_grad()
def products_of_rows(local: Tensor, shared: Tensor, momentum: Tensor) -> Tensor:
    """The same for each row of matrices that hold one peer in each: [peers, 3]."""
    pairs = _pairs(local - shared, momentum)
    return torch.stack([torch.linalg.vecdot(first, second, dim=1) for first, second in pairs], dim=1).double()


def _pairs(learnt: Tensor, momentum: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    return (learnt, momentum), (learnt, learnt), (momentum, momentum)
