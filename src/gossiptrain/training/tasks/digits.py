"""Handwritten digits, 8x8 pixels: 1,797 samples that come with scikit-learn, so nothing is downloaded.

Owns the split into 987 training and 810 test samples, the small network and its recipe. So large a test set leaves a
peer that sees one quarter clearly worse than peers that learn from all of them together.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gossiptrain.errors import DataMissingError
from gossiptrain.training.tasks.batches import TensorBatches
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet
from gossiptrain.training.tasks.recipe import Recipe
from gossiptrain.training.tasks.sampling import SampleOrder, Share, deal
from gossiptrain.training.tasks.task import Task, seeded

TEST_TWENTIETHS = 9
"""Nine of twenty equal parts of the data are the test set."""


class Digits(NamedTuple):
    """pixels [N, 64] float32 in 0..1, labels [N] int64."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]


class DigitsTask(Task):
    """A perceptron with two hidden layers on the digits of scikit-learn."""

    name = "digits"
    recipe = Recipe(batch=32, epochs=1000, learning_rate=0.05, every_steps=100, weight_decay=1e-3)
    inputs = "[N, 64] float32: 8 rows of 8 pixels, from 0 (paper) to 1 (ink)"
    class_names = tuple("0123456789")

    @property
    def description(self) -> str:
        """What peers must agree on."""
        return "digits/mlp 64-128-64-10"

    def build_model(self, seed: int) -> nn.Module:
        """17,226 parameters."""
        with seeded(seed):
            return nn.Sequential(
                nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
            )  # fmt: skip

    def open_training(self, *, data_dir: Path | None, share: Share, batch: int, device: torch.device) -> TensorBatches:
        """The whole set in memory; `data_dir` is not needed."""
        training = load_split().training
        order = SampleOrder(share.indices(training.labels), seed=share.identity_seed, batch=batch)
        return TensorBatches(*_on(device, training), order=order)

    def open_evaluation(self, *, data_dir: Path | None, device: torch.device) -> TensorEvaluationSet:
        """The whole test set in one batch; `data_dir` is not needed."""
        test = load_split().test
        return TensorEvaluationSet(*_on(device, test), batch=len(test.labels))


class Split(NamedTuple):
    """The two halves of the data."""

    training: Digits
    test: Digits


@cache
def load_split() -> Split:
    """The data, split in the same way everywhere, with the same mix of classes on both sides."""
    samples = read_samples(Path(str(distribution("scikit-learn").locate_file(""))))
    pixels, labels = (samples[:, :-1] / 16).astype(np.float32), samples[:, -1].astype(np.int64)
    parts = deal(labels, 20)
    test, training = np.concatenate(parts[:TEST_TWENTIETHS]), np.concatenate(parts[TEST_TWENTIETHS:])
    return Split(Digits(pixels[training], labels[training]), Digits(pixels[test], labels[test]))


def read_samples(packages: Path) -> NDArray[np.float64]:
    """[N, 65]: one row for each sample, 64 pixels of 0 to 16 and the label, from the folder where packages lie.

    The file is read without scikit-learn, because importing that takes longer than many a run of this task.
    Raises DataMissingError if the file is not there.
    """
    path = packages / "sklearn/datasets/data/digits.csv.gz"
    if not path.is_file():
        raise DataMissingError(
            f"scikit-learn's digits are not at {path}.",
            cause="scikit-learn is not installed completely, or keeps them elsewhere in this version.",
            remedy="Install it anew: pip install --force-reinstall scikit-learn",
        )
    return np.loadtxt(path, delimiter=",")


def _on(device: torch.device, digits: Digits) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(digits.pixels).to(device), torch.from_numpy(digits.labels).to(device)
