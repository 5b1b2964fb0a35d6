"""The mean of a model over its last rounds, to look at.

Owns that mean, in the host's memory, and copies of the model that hold it. What is trained and shown to others is never
touched by it: fed back, such a mean is worse than none. Does not know when rounds take place.
"""

from __future__ import annotations

import copy

import numpy as np
from torch import nn

from gossiptrain.training.model.binding import ModelBinding

USUAL_ROUNDS = 5


class Smooth:
    """The mean over about so many rounds: each round's model weighs as much as one of them."""

    def __init__(self, model: nn.Module, binding: ModelBinding, *, rounds: int) -> None:
        """binding: of the model."""
        self._model = model
        self._binding = binding
        self._rounds = rounds
        self._mean = np.zeros(binding.elements, np.float32)
        self._now = np.empty(binding.elements, np.float32)
        self.noted = 0
        """Rounds that are in it."""

    def note(self) -> None:
        """Takes in the model as it is after a round."""
        self._binding.copy_to(self._now)
        self.noted += 1
        self._now -= self._mean
        self._mean += self._now / min(self.noted, self._rounds)

    def model(self) -> nn.Module:
        """A copy of the model that holds the mean; before the first round as the model is. It is nobody's but the
        caller's: training it changes nothing else."""
        copied = copy.deepcopy(self._model)
        if self.noted:
            ModelBinding(copied, compares_frozen=False).copy_from(self._mean)
        return copied
