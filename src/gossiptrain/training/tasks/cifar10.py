"""CIFAR-10: 50,000 + 10,000 photos of 32x32 pixels in ten classes.

Owns the choice of source, the recipe and the model's place in it. The whole set is one uint8 tensor on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gossiptrain.errors import DataMissingError, UsageError
from gossiptrain.training.tasks.augment import CropAndFlip, Normalise
from gossiptrain.training.tasks.batches import TensorBatches
from gossiptrain.training.tasks.cifar_arrays import ImageArrays, Split
from gossiptrain.training.tasks.cifar_files import ARCHIVE_URL, FOLDER, is_cifar_folder, read_folder
from gossiptrain.training.tasks.cifar_hub import load_from_hub
from gossiptrain.training.tasks.convnet import ConvNet, ConvNetShape
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet
from gossiptrain.training.tasks.locate import cache_folder, data_root, find_folder
from gossiptrain.training.tasks.recipe import Recipe
from gossiptrain.training.tasks.sampling import SampleOrder, Share
from gossiptrain.training.tasks.task import Task, seeded
from gossiptrain.training.tasks.vgg import Vgg11
from gossiptrain.wrong_values import one_of

NORMALISE = Normalise(mean=(0.4914, 0.4822, 0.4465), deviation=(0.2470, 0.2435, 0.2616))
AUGMENT = CropAndFlip(NORMALISE, shift=4, hole=8)
EVALUATION_BATCH = 200
Cifar10ModelName: TypeAlias = Literal["small", "tiny", "small-groups", "tiny-groups", "vgg11"]
SHAPES: Mapping[Cifar10ModelName, ConvNetShape | None] = MappingProxyType(
    {
        "small": ConvNetShape(stem=24, widths=(80, 160, 256)),
        "tiny": ConvNetShape(stem=8, widths=(16, 32, 64)),
        "small-groups": ConvNetShape(stem=24, widths=(80, 160, 256), in_groups=True),
        "tiny-groups": ConvNetShape(stem=8, widths=(16, 32, 64), in_groups=True),
        "vgg11": None,
    }
)
"""2,263,000, 122,504 and 9,225,610 parameters. In those in groups nothing depends on which classes are together in a
batch, which matters where peers see different ones. Tiny takes a tenth of the time: for computers without a GPU."""


class Cifar10Task(Task):
    """A small residual network or VGG-11 on CIFAR-10."""

    name = "cifar10"
    recipe = Recipe(
        batch=64,
        epochs=30,
        learning_rate=0.05,
        every_steps=25,
        strategy="step-mix",
        weight_decay=5e-4,
        label_smoothing=0.1,
        warmup=0.02,
    )
    inputs = f"{NORMALISE}; 32x32 pixels"
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(self, *, model: Cifar10ModelName = "small") -> None:
        """Raises UsageError for a variant that does not exist."""
        if model not in SHAPES:
            raise UsageError(f"There is no model {model!r} for cifar10.", remedy=one_of(str(model), tuple(SHAPES)))
        self.model = model
        self.shape = SHAPES[model]

    @property
    def variant(self) -> dict[str, Any]:
        """The size of the model."""
        return {"model": self.model}

    @property
    def description(self) -> str:
        """What peers must agree on."""
        return f"cifar10/convnet {self.shape}" if self.shape else f"cifar10/{self.model}"

    def build_model(self, seed: int) -> nn.Module:
        """The network of this variant."""
        with seeded(seed):
            return ConvNet(self.shape) if self.shape else Vgg11()

    def open_training(self, *, data_dir: Path | None, share: Share, batch: int, device: torch.device) -> TensorBatches:
        """Batches with random crops, mirroring and cut-outs."""
        arrays = load_cifar10(data_dir, "train")
        order = SampleOrder(share.indices(arrays.labels), seed=share.identity_seed, batch=batch)
        return TensorBatches(*_on(device, arrays), order=order, augment=AUGMENT)

    def open_evaluation(self, *, data_dir: Path | None, device: torch.device) -> TensorEvaluationSet:
        """The test set as it is: one view of each image."""
        arrays = load_cifar10(data_dir, "test")
        return TensorEvaluationSet(*_on(device, arrays), batch=EVALUATION_BATCH, prepare=NORMALISE)


def load_cifar10(data_dir: Path | None, split: Split) -> ImageArrays:
    """One split, from the folder that the user named, else from the cache or the hub.

    Raises DataMissingError, DataCorruptError.
    """
    root = data_root(data_dir)
    folder = find_folder(root, [FOLDER], is_it=is_cifar_folder) if root else None
    if folder is not None:
        return read_folder(folder, split)
    if data_dir is not None:
        raise DataMissingError(
            f"CIFAR-10 is not in {root}.",
            cause=f"Looked for the files of {FOLDER} there and in {Path(data_dir, FOLDER)}.",
            remedy=f"Unpack {ARCHIVE_URL} there, or leave --data-dir out to have it downloaded.",
        )
    return load_from_hub(split, cache=cache_folder("cifar10"))


def _on(device: torch.device, arrays: ImageArrays) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(arrays.images).to(device), torch.from_numpy(arrays.labels).to(device)
