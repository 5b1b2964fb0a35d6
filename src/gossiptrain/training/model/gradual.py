"""An outer step that begins as plain averaging and grows: for loops of which nobody knows how long they are.

Owns how much of the momentum moves the model in each round, when it is forgotten, and when it is shortened. All of it
follows from a peer's own values, for each peer by itself. Does not know groups, nor when rounds take place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossiptrain.config import StrategyName
from gossiptrain.training.model.strategies import ParameterState, StepMix

RAMP_ROUNDS = 10
"""Until the outer step is as long as it is meant to be."""
MOST_OF_LEARNT = 0.25
"""How many times as far as what was learnt in a round the momentum may move the model."""
ROUNDS_AGAINST = 2
"""So many rounds running whose learning goes against the momentum, and it is forgotten."""


@dataclass(frozen=True)
class Alignment:
    """How what was learnt in a round and the momentum lie to each other: sums over all parameters."""

    product: float
    learnt_squared: float
    momentum_squared: float


@dataclass
class Growth:
    """How far the outer step of one peer has grown. rounds: in usual ones. against: rounds running whose learning went
    against the momentum."""

    rounds: float = 0.0
    against: int = 0


class Gradual(StepMix):
    """Step-mix that begins as plain averaging, and whose outer step grows over `RAMP_ROUNDS` rounds.

        d = w (theta - phi);  m = kept m;  z = phi + a d + grown b m;  m = mu m + d

    The momentum is forgotten where what is learnt goes against it, and shortened where it would move the model by more
    than a part of what is learnt: so the model never goes much further than its own learning takes it.
    """

    name: ClassVar[StrategyName] = "gradual"

    def next_shares(self, growth: Growth, alignment: Alignment, *, horizon: float) -> tuple[float, float]:
        """`grown` and `kept` of a peer's next round, which is counted."""
        grown = min(1.0, growth.rounds / RAMP_ROUNDS)
        growth.rounds += min(1.0, horizon)
        growth.against = growth.against + 1 if alignment.product < 0 else 0
        if growth.against >= ROUNDS_AGAINST:
            growth.against = 0
            return grown, 0.0
        moved_squared = (grown * float(self.outer.step(horizon).remembered)) ** 2 * alignment.momentum_squared
        most_squared = MOST_OF_LEARNT**2 * alignment.learnt_squared
        return grown, (most_squared / moved_squared) ** 0.5 if moved_squared > most_squared else 1.0


@torch.no_grad()
def products_of(parameters: ParameterState) -> Tensor:
    """Of one tensor, before its next outer step: what `Alignment` holds, as a tensor of three in float64."""
    pairs = [(first.reshape(-1), second.reshape(-1)) for first, second in _pairs(parameters)]
    # A seventh of the time that a sum in float64 takes, and for a sign and a ratio the digits are enough.
    return torch.stack([torch.dot(first, second) for first, second in pairs]).double()


@torch.no_grad()
def products_of_rows(parameters: ParameterState) -> Tensor:
    """The same for each row of matrices that hold one peer in each: [peers, 3]."""
    return torch.stack([torch.linalg.vecdot(*pair, dim=1) for pair in _pairs(parameters)], dim=1).double()


def _pairs(parameters: ParameterState) -> tuple[tuple[Tensor, Tensor], ...]:
    (momentum,) = parameters.state
    learnt = parameters.local - parameters.shared
    return (learnt, momentum), (learnt, learnt), (momentum, momentum)
