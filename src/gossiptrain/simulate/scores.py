"""How models do on held-out data: the merged one, and every peer's own.

Owns merging and the model that takes turns in being each of them. Does not know training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from gossiptrain.simulate.results import Score
from gossiptrain.training.model.batch_norm import estimate_running_statistics, has_running_statistics
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.tasks.evaluation import EvaluationSet


class Scorer:
    """Evaluates rows of matrices laid out as by `training.model.binding`."""

    def __init__(self, model: nn.Module, held_out: EvaluationSet, *, inputs: Callable[[], Iterable[Tensor]]) -> None:
        """model: on the device; its values are lost. inputs: batches for running statistics, asked for when needed."""
        self._model = model
        self._flat = ModelBinding(model)
        self._held_out = held_out
        self._inputs = inputs

    def copy(self) -> Scorer:
        """Another one, for another thread."""
        return Scorer(copy.deepcopy(self._model), self._held_out, inputs=self._inputs)

    def of_row(self, row: Tensor, *, samples: int | None = None) -> Score:
        """A model as it is [elements]. samples: at most so many."""
        self._load(row)
        return self._score(samples)

    def of_mean(self, matrix: Tensor, *, samples: int | None = None, anew: bool = False) -> Score:
        """The exact mean of all rows [peers, elements].

        samples: at most so many. anew: whether running statistics are estimated anew.
        """
        self._load(matrix.mean(dim=0, dtype=torch.float64).float())
        if anew and has_running_statistics(self._model):
            estimate_running_statistics(self._model, self._inputs())
        return self._score(samples)

    def _load(self, row: Tensor) -> None:
        self._flat.copy_from(row.cpu().contiguous().numpy())

    def _score(self, samples: int | None) -> Score:
        found = self._held_out.evaluate(self._model, samples=samples)
        return Score(found.loss, found.accuracy)
