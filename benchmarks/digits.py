"""Handwritten digits for own loops that benchmarks run: the samples, a small network, and one step of it.

Owns which samples nobody trains on. Does not know who trains, nor with whom.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

BATCH = 16


@dataclass(frozen=True)
class Digits:
    """All samples, of shape (samples, 64), and which of them are for training and which held out."""

    inputs: Tensor
    targets: Tensor
    training: Tensor
    test: Tensor

    @classmethod
    def load(cls) -> Digits:
        """One in five is held out."""
        pixels, labels = load_digits(return_X_y=True)
        is_test = torch.arange(len(labels)) % 5 == 0
        inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
        return cls(inputs, targets, (~is_test).nonzero().flatten(), is_test.nonzero().flatten())

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, draws: torch.Generator | None = None) -> None:
        """One step on a batch that is drawn by `draws`, or by torch's own generator."""
        batch = self.training[torch.randint(len(self.training), (BATCH,), generator=draws)]
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(self.inputs[batch]), self.targets[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def loss(self, model: nn.Module) -> float:
        """On the samples that are held out."""
        with torch.inference_mode():
            return float(functional.cross_entropy(model(self.inputs[self.test]), self.targets[self.test]))

    def accuracy(self, model: nn.Module) -> float:
        """The share of the samples that are held out of which the model knows the class."""
        with torch.inference_mode():
            found = model(self.inputs[self.test]).argmax(dim=1) == self.targets[self.test]
        return float(found.float().mean())


def network() -> nn.Module:
    """With 2,410 parameters."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
