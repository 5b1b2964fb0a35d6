"""The endless stream of training batches, and the one for data sets that fit in memory.

Owns what the trainer sees of training data: the next batch, and a state from which the stream continues exactly. Does
not know data sets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.training.tasks.sampling import Cursor, SampleOrder, seed_from

Prepare: TypeAlias = Callable[[Tensor], Tensor]
"""Turns stored samples into what the model takes."""
Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Turns stored samples into randomly changed ones, drawing from the generator, which is on the CPU."""


@dataclass(frozen=True)
class Batch:
    """What one step learns from, on the device: inputs [batch, ...] float32 and targets [batch] int64.

    Of a text both are characters: [batch, context] int64.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


class TrainingBatches(ABC):
    """Endless training batches. Two streams of equal order and state give equal batches from then on."""

    def __init__(self, order: SampleOrder) -> None:
        self._order = order
        self._cursor = Cursor()

    @property
    def samples(self) -> int:
        """How many samples this peer sees."""
        return self._order.samples

    @property
    def damaged(self) -> tuple[str, ...]:
        """Paths of files that could not be read so far, and were passed over."""
        return ()

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the samples."""
        return self._order.samples // self._order.batch

    @abstractmethod
    def next(self) -> Batch:
        """The next batch, on the device. Raises DataCorruptError where a sample cannot be read."""

    def state(self) -> dict[str, int]:
        """Where the stream stands, fit for JSON. Randomness is derived from it, so there is nothing else to keep."""
        return {"epoch": self._cursor.epoch, "position": self._cursor.position, "samples": self.samples}

    def restore(self, state: Mapping[str, object]) -> None:
        """Continues behind the batch after which `state` was taken; the batch size may be another one.

        Raises CheckpointMismatchError where the state is not one of this stream.
        """
        epoch, position, samples = (state.get(name) for name in ("epoch", "position", "samples"))
        if samples != self.samples:
            raise CheckpointMismatchError(
                f"The checkpoint was made with {samples} training samples, and this peer now sees {self.samples}.",
                cause="The data set or the share is another one.",
                remedy="Resume with the data and the --share of the run.",
            )
        if not (isinstance(epoch, int) and isinstance(position, int) and epoch >= 0 and 0 <= position <= self.samples):
            raise CheckpointMismatchError("The checkpoint holds no valid data position.")
        self._cursor = Cursor(epoch, position)

    def close(self) -> None:  # noqa: B027  most streams have nothing to free
        """Frees threads and memory. The stream is not usable afterwards."""


class TensorBatches(TrainingBatches):
    """Batches out of one tensor on the device: no workers, no copies, one indexing per step."""

    def __init__(self, samples: Tensor, targets: Tensor, *, order: SampleOrder, augment: Augment | None = None) -> None:
        """samples [N, ...] and targets [N] on the device; without `augment` the samples are the inputs."""
        super().__init__(order)
        self._samples = samples
        self._targets = targets
        self._augment = augment

    def next(self) -> Batch:
        """The next batch, on the device."""
        draw, self._cursor = self._order.take(self._cursor)
        chosen = draw.samples.to(self._samples.device, non_blocking=True)
        inputs = self._samples[chosen]
        if self._augment is not None:
            seed = seed_from("augmentation", self._order.seed, draw.at.epoch, draw.at.position)
            inputs = self._augment(inputs, torch.Generator().manual_seed(seed))
        return Batch(inputs, self._targets[chosen])
