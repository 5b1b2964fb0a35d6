"""The training data of all peers, in memory, and the batches that they draw from it.

Owns where the tasks' data lie and how one gathering serves all peers. Who sees what is for `split` to say. Does not
know models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gossiptrain.errors import UsageError
from gossiptrain.simulate import split
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.split import Indices
from gossiptrain.training.tasks.batches import Augment, Batch
from gossiptrain.training.tasks.sampling import seed_from
from gossiptrain.training.tasks.task import Task
from gossiptrain.training.tasks.text import TextTask
from gossiptrain.training.tasks.text_batches import stretches, windows
from gossiptrain.training.tasks.text_file import load_text

AT_ONCE = 16_384
"""Samples that are gathered in one call, of several steps: calls take longer than small gatherings."""


class Source(ABC):
    """Training samples of one task on the device, by number. changes: whether they are changed at random."""

    def __init__(self, samples: int, *, changes: bool) -> None:
        self.samples = samples
        self.changes = changes

    @abstractmethod
    def shares(self, settings: LearnSettings) -> list[Indices]:
        """The samples of each peer. Raises UsageError where there are too few."""

    @abstractmethod
    def gather(self, samples: Tensor, generators: Sequence[torch.Generator]) -> Batch:
        """The samples with the numbers [peers, batch] as inputs and targets [peers, batch, ...] on the device.

        generators: one for each peer, for what is changed at random; where nothing is, there may be any number of rows.
        """


class TensorSource(Source):
    """Classification: samples [n, ...] and targets [n] in two tensors."""

    def __init__(self, samples: Tensor, targets: Tensor, *, augment: Augment | None = None) -> None:
        super().__init__(len(targets), changes=augment is not None)
        self._samples = samples
        self._targets = targets
        self._augment = augment

    def shares(self, settings: LearnSettings) -> list[Indices]:
        """All classes for everyone, or by a Dirichlet distribution."""
        labels = self._targets.cpu().numpy()
        if settings.non_iid is None:
            return split.alike(labels, settings.peers)
        return split.dirichlet(labels, settings.peers, concentration=settings.non_iid, seed=settings.seed)

    def gather(self, samples: Tensor, generators: Sequence[torch.Generator]) -> Batch:
        """One indexing for all peers together."""
        chosen = samples.to(self._samples.device, non_blocking=True)
        targets = self._targets.index_select(0, chosen.flatten()).view(chosen.shape)
        inputs = self._samples.index_select(0, chosen.flatten())
        if self._augment is not None:
            pairs = zip(torch.split(inputs, chosen.shape[1]), generators, strict=True)
            # As one tensor again by its first dimension: so each peer's part keeps the layout that it has.
            inputs = torch.cat([self._augment(own, generator) for own, generator in pairs])
        return Batch(inputs.view(*chosen.shape, *inputs.shape[1:]), targets)


class TextSource(Source):
    """Windows of one text: a sample is a stretch in which a window begins, at a random place."""

    def __init__(self, text: Tensor, *, context: int) -> None:
        super().__init__(stretches(len(text), context), changes=True)
        self._text = text
        self._context = context

    def shares(self, settings: LearnSettings) -> list[Indices]:
        """Stretches from everywhere for everyone, or a part of the text for each."""
        if settings.non_iid is not None:
            return split.contiguous(self.samples, settings.peers)
        return split.alike(np.zeros(self.samples, dtype=np.int64), settings.peers)

    def gather(self, samples: Tensor, generators: Sequence[torch.Generator]) -> Batch:
        """Inputs and targets [peers, batch, context]."""
        offsets = [torch.randint(self._context, samples.shape[1:], generator=generator) for generator in generators]
        starts = samples * self._context + torch.stack(offsets)
        found = windows(self._text, starts.flatten(), context=self._context)
        return Batch(found.inputs.view(*samples.shape, -1), found.targets.view(*samples.shape, -1))


def source_of(task: Task, *, data_dir: Path | None, device: torch.device) -> Source:
    """The training data of a task. Raises UsageError for tasks whose data do not fit in memory, and DataError."""
    if task.name == "digits":
        from gossiptrain.training.tasks.digits import load_split

        digits = load_split().training
        return TensorSource(torch.from_numpy(digits.pixels).to(device), torch.from_numpy(digits.labels).to(device))
    if task.name == "cifar10":
        from gossiptrain.training.tasks.cifar10 import AUGMENT, load_cifar10

        images = load_cifar10(data_dir, "train")
        return TensorSource(
            torch.from_numpy(images.images).to(device), torch.from_numpy(images.labels).to(device), augment=AUGMENT
        )
    if isinstance(task, TextTask):
        return TextSource(torch.from_numpy(load_text(data_dir).training).to(device), context=task.shape.context)
    raise UsageError(
        f"The laboratory cannot hold the data of {task.name} in memory.", remedy="Use digits, cifar10 or text."
    )


class Draws:
    """What some peers draw: each from its own samples, by generators of its own."""

    def __init__(self, source: Source, shares: Sequence[Indices], *, batch: int, seeds: Sequence[int]) -> None:
        """shares, seeds: of each peer."""
        self._source = source
        self._batch = batch
        self._orders = [_Order(share, seed=seed) for share, seed in zip(shares, seeds, strict=True)]
        self._generators = [torch.Generator().manual_seed(seed_from("change", seed)) for seed in seeds]

    def plan(self, counts: Sequence[int]) -> Tensor:
        """Samples of the next `counts[i]` steps of each peer i: int64 [largest count, peers, batch].

        Behind its last step a peer has sample 0, which nobody learns from.
        """
        planned = np.zeros((max(counts), len(counts), self._batch), dtype=np.int64)
        for peer, (count, order) in enumerate(zip(counts, self._orders, strict=True)):
            planned[:count, peer] = order.take(count * self._batch).reshape(count, self._batch)
        return torch.from_numpy(planned)

    def gather(self, planned: Tensor) -> Iterator[Batch]:
        """The batches of planned steps [steps, peers, batch], one after the other, on the device."""
        for some in self.gather_several(planned):
            yield from map(Batch, some.inputs, some.targets)

    def gather_several(self, planned: Tensor) -> Iterator[Batch]:
        """The same as inputs and targets [steps, peers, batch, ...] of some steps at a time."""
        if self._source.changes:
            for samples in planned:
                found = self._source.gather(samples, self._generators)
                yield Batch(found.inputs.unsqueeze(0), found.targets.unsqueeze(0))
        elif len(planned):
            for some in torch.split(planned, max(1, AT_ONCE // planned[0].numel())):
                found = self._source.gather(some.flatten(0, 1), ())
                inputs = found.inputs.view(*some.shape, *found.inputs.shape[2:])
                yield Batch(inputs, found.targets.view(*some.shape, *found.targets.shape[2:]))


class _Order:
    """An endless row of samples: one permutation after the other, of which batches take their pieces."""

    def __init__(self, samples: Indices, *, seed: int) -> None:
        self._samples = samples
        self._random = np.random.default_rng(seed)
        self._left = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> Indices:
        missing = count - len(self._left)
        if missing > 0:
            # All that is needed at once: where a share is small, single permutations would cost more than training.
            epochs = np.tile(self._samples, (-(-missing // len(self._samples)), 1))
            self._left = np.concatenate([self._left, self._random.permuted(epochs, axis=1).ravel()])
        taken, self._left = self._left[:count], self._left[count:]
        return taken
