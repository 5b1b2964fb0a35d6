"""Loss and accuracy of a model on held-out data.

Owns the evaluation loop. Does not know data sets, nor when a trainer evaluates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gossiptrain.errors import DataCorruptError
from gossiptrain.training.tasks.batches import Batch, Prepare
from gossiptrain.training.tasks.sampling import SPLIT_SEED


@dataclass(frozen=True)
class Evaluation:
    """loss: mean cross-entropy in nats, without label smoothing. accuracy: share of right answers, 0 to 1.

    Both are over all answers; a sample may ask for several, as a text does for one at each character.
    """

    loss: float
    accuracy: float
    samples: int


class EvaluationSet(ABC):
    """Held-out samples, the same for all peers."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    @abstractmethod
    def batches(self, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """The named samples, in this order, on the device. Raises DataCorruptError where one cannot be read."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """Paths of files that could not be read so far, and were passed over."""
        return ()

    def evaluate(
        self, model: nn.Module, *, samples: int | None = None, after_batch: Callable[[], None] = lambda: None
    ) -> Evaluation:
        """Evaluates in eval mode and leaves every module in the mode it had.

        The model answers with logits [B, ..., classes] where the targets are [B, ...].
        samples: at most so many, always the same ones, drawn from all classes; None: all of them. after_batch: called
        after each batch; it must not change the model. Raises DataCorruptError where no sample can be read.
        """
        chosen = self._some(samples)
        loss = torch.zeros((), dtype=torch.float64)
        right = torch.zeros((), dtype=torch.int64)
        answers = seen = 0
        with eval_mode(model), torch.inference_mode():
            for batch in self.batches(chosen):
                logits = model(batch.inputs).float()
                # Kept on the device: asking for a number in every batch would make the device wait.
                loss = loss.to(logits.device) + functional.cross_entropy(
                    logits.flatten(0, -2), batch.targets.flatten(), reduction="sum"
                )
                right = right.to(logits.device) + (logits.argmax(dim=-1) == batch.targets).sum()
                answers += batch.targets.numel()
                seen += len(batch)
                after_batch()
        if not answers:
            raise DataCorruptError(f"None of the {len(chosen)} held-out samples can be read.")
        return Evaluation(loss.item() / answers, right.item() / answers, seen)

    def close(self) -> None:  # noqa: B027  most sets have nothing to free
        """Frees threads and memory. The set is not usable afterwards."""

    def _some(self, samples: int | None) -> NDArray[np.int64]:
        if samples is None or samples >= self.samples:
            return np.arange(self.samples)
        return np.sort(np.random.RandomState(SPLIT_SEED).permutation(self.samples)[: max(1, samples)])


class TensorEvaluationSet(EvaluationSet):
    """Held-out samples in one tensor on the device."""

    def __init__(self, samples: Tensor, targets: Tensor, *, batch: int, prepare: Prepare | None = None) -> None:
        """samples [N, ...] and targets [N] on the device; without `prepare` the samples are the inputs."""
        super().__init__(len(targets))
        self._samples = samples
        self._targets = targets
        self._batch = batch
        self._prepare = prepare

    def batches(self, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """The named samples, in this order, on the device."""
        for start in range(0, len(indices), self._batch):
            chosen = torch.from_numpy(indices[start : start + self._batch]).to(self._samples.device)
            inputs = self._samples[chosen]
            yield Batch(self._prepare(inputs) if self._prepare else inputs, self._targets[chosen])


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for the body; afterwards each module has its own mode again."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
