"""What every task answers: its model, its recipe, its data.

Owns the interface between a task and the trainer. Does not know the trainer, peers or the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from gossiptrain.training.tasks.batches import Batch, TrainingBatches
from gossiptrain.training.tasks.evaluation import EvaluationSet
from gossiptrain.training.tasks.recipe import Recipe, StepSchedule
from gossiptrain.training.tasks.sampling import Share


class Task(ABC):
    """One thing to learn: a classifier, its data and its recipe."""

    name: str
    """As on the command line: one of TASK_NAMES."""
    recipe: Recipe
    inputs: ClassVar[str]
    """What the model is to be given, in words, for those who use it elsewhere."""
    class_names: ClassVar[tuple[str, ...]] = ()
    """What its outputs stand for, in order; empty where these are no classes, or the user's own."""
    vocabulary: ClassVar[Literal["bytes"] | None] = None
    """What its tokens stand for, where it takes and tells tokens."""

    @property
    def variant(self) -> dict[str, Any]:
        """The arguments with which `task_named` builds this task again; fit for JSON and TOML."""
        return {}

    @property
    @abstractmethod
    def description(self) -> str:
        """What peers must agree on, in short: part of the run's fingerprint."""

    @abstractmethod
    def build_model(self, seed: int) -> nn.Module:
        """A new model on the CPU. Equal seeds give equal parameters, whatever random numbers were drawn before."""

    @abstractmethod
    def open_training(
        self, *, data_dir: Path | None, share: Share, batch: int, device: torch.device
    ) -> TrainingBatches:
        """The training batches of one peer.

        Raises DataMissingError, DataCorruptError; UsageError where the batch is larger than the share.
        """

    @abstractmethod
    def open_evaluation(self, *, data_dir: Path | None, device: torch.device) -> EvaluationSet:
        """The held-out samples. Raises DataMissingError, DataCorruptError."""

    def build_optimizer(self, model: nn.Module, *, learning_rate: float) -> Optimizer:
        """The optimizer of the recipe with a peak learning rate; see `Recipe.learning_rate_for`."""
        return self.recipe.build_optimizer(model, learning_rate=learning_rate)

    def build_schedule(self, optimizer: Optimizer, *, total_steps: int) -> StepSchedule:
        """The learning rate over a run of `total_steps`. `move_to(step)` puts a late peer at its place."""
        return self.recipe.build_schedule(optimizer, total_steps=total_steps)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The training loss in nats, mean over the batch: a scalar with a gradient."""
        return functional.cross_entropy(model(batch.inputs), batch.targets, label_smoothing=self.recipe.label_smoothing)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws torch's random numbers from `seed` in the body, on the CPU, and leaves the global state as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also seed the accelerators, whose state is not restored here.
        torch.default_generator.manual_seed(seed)
        yield
