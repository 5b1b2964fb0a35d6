"""An outer step that begins as plain averaging and grows: for loops of which nobody knows how long they are.

Owns how much of the momentum moves the model in each round, when it is forgotten, and when it is shortened. All of it
follows from a peer's own values, for each peer by itself. Does not know groups, nor when rounds take place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from gossiptrain.config import StrategyName
from gossiptrain.training.model.own_steps import Alignment, StepHistory, StepShares
from gossiptrain.training.model.strategies import StepMix

RAMP_ROUNDS = 10
"""Until the outer step is as long as it is meant to be."""
MOST_OF_LEARNT = 0.25
"""How many times as far as what was learnt in a round the momentum may move the model."""
ROUNDS_AGAINST = 2
"""So many rounds running whose learning goes against the momentum, and it is forgotten."""


class Gradual(StepMix):
    """Step-mix that begins as plain averaging, and whose outer step grows over `RAMP_ROUNDS` rounds.

        d = w (theta - phi);  m = kept m;  z = phi + a d + grown b m;  m = mu m + d

    The momentum is forgotten where what is learnt goes against it, and shortened where it would move the model by more
    than a part of what is learnt: so the model never goes much further than its own learning takes it.
    """

    name: ClassVar[StrategyName] = "gradual"

    def next_shares(self, history: StepHistory, alignment: Alignment, *, horizon: float) -> StepShares:
        """Of a peer's next round, which is counted."""
        shares = super().next_shares(history, alignment, horizon=horizon)
        grown = min(1.0, history.grown_rounds / RAMP_ROUNDS)
        history.grown_rounds += min(1.0, horizon)
        history.against = history.against + 1 if alignment.product < 0 else 0
        if history.against >= ROUNDS_AGAINST:
            history.against = 0
            return replace(shares, grown=grown, kept=0.0)
        moved_squared = (grown * float(self.outer.step(horizon).remembered)) ** 2 * alignment.momentum_squared
        most_squared = MOST_OF_LEARNT**2 * alignment.shortened(shares.learnt).learnt_squared
        kept = (most_squared / moved_squared) ** 0.5 if moved_squared > most_squared else 1.0
        return replace(shares, grown=grown, kept=kept)
