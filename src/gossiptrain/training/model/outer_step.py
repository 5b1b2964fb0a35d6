"""How far an outer step goes: at once, and by its momentum later.

Owns the settings of it and what follows from them for a round. Does not know parameters, nor who takes the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Scale: TypeAlias = float | Tensor
"""One number for all, or a column with one number for each peer."""


@dataclass(frozen=True)
class OuterStep:
    """`z = phi + a d + b m` and `m = mu m + d`, with d for what was learnt in a round."""

    immediate: Scale
    """a"""
    remembered: Scale
    """b"""
    momentum: Scale
    """mu"""


@dataclass(frozen=True)
class OuterSettings:
    """Of the outer step: how far, how long and how soon.

    learning_rate, momentum: lr and mu, as of Nesterov's method. What is learnt in one round moves the model by
    lr / (1 - mu) times as much in the long run. immediate: how many times as much at once, `immediate discount` in
    quasi-hyperbolic momentum (Ma and Yarats 2019). None: as in Nesterov's method, lr (1 + mu), and see `step`.
    """

    learning_rate: float
    momentum: float
    immediate: float | None = None

    def __str__(self) -> str:
        step = self.step()
        return f"lr {self.learning_rate:g} momentum {self.momentum:g} immediate {step.immediate:g}"

    def step(self, horizon: Scale = 1.0, *, caution: Scale = 0.0) -> OuterStep:
        """The outer step after a round of `horizon` times the usual inner steps.

        caution: 1 where no more moves a peer at once than it has learnt, unless the settings say how much does: what
        only it has seen is carried on until its average is there.
        """
        learning_rate, momentum = self.rescaled(horizon)
        if self.immediate is None:
            immediate = learning_rate * (1 + momentum)
            immediate = immediate - caution * _beyond_one(immediate)
        else:
            # With no more than the gain at once, so that nothing is taken back later.
            immediate = min(self.immediate, self.learning_rate / (1 - self.momentum))
        return OuterStep(immediate, learning_rate - immediate * (1 - momentum), momentum)

    def rescaled(self, horizon: Scale) -> tuple[Scale, Scale]:
        """Learning rate and momentum for a round of `horizon` times the usual inner steps, 1 at most.

        mu_h = mu^h and lr_h = lr (1 - mu_h) / (1 - mu): the momentum forgets at the same pace in samples, and a steady
        drift is followed at the same speed. A longer round, after one that was missed, counts as a usual one: what was
        learnt in it is larger anyway, and a larger step of it too would take peers apart.
        """
        momentum = self.momentum ** (horizon.clamp(max=1.0) if isinstance(horizon, Tensor) else min(horizon, 1.0))
        return self.learning_rate * (1 - momentum) / (1 - self.momentum), momentum


def _beyond_one(scale: Scale) -> Scale:
    return (scale - 1).clamp(min=0) if isinstance(scale, Tensor) else max(0.0, scale - 1)
