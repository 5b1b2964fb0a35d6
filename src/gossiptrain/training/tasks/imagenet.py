"""ImageNet, or any photos that are sorted into class folders.

Owns the variants (network, image size, classes), the recipe, and where the tree is looked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gossiptrain.errors import DataCorruptError, DataMissingError, UsageError
from gossiptrain.training.tasks.class_folders import (
    FOLDER_NAMES,
    ClassFolders,
    ClassSet,
    is_class_tree,
    read_class_folders,
)
from gossiptrain.training.tasks.image_batches import NORMALISE, Decoder, ImageBatches, ImageEvaluationSet
from gossiptrain.training.tasks.locate import DATA_VARIABLE, data_root, find_folder
from gossiptrain.training.tasks.recipe import Recipe
from gossiptrain.training.tasks.resnet import RESNET_NAMES, ResNetName, build_resnet
from gossiptrain.training.tasks.sampling import SampleOrder, Share
from gossiptrain.training.tasks.task import Task, seeded
from gossiptrain.wrong_values import one_of

IMAGE_SIZES = range(32, 513)
EVALUATION_BATCH = 64


class ImageNetTask(Task):
    """A ResNet on class folders of photos."""

    name = "imagenet"
    recipe = Recipe(
        batch=64,
        epochs=90,
        learning_rate=0.025,
        every_steps=50,
        nesterov=False,
        weight_decay=1e-4,
        label_smoothing=0.1,
        warmup=5 / 90,
        decay="cosine",
    )
    inputs = f"{NORMALISE}; the centre of a photo, as large as the images in training or somewhat larger"

    def __init__(self, *, model: ResNetName, image_size: int, classes: ClassSet) -> None:
        """image_size: side of the training images in pixels. Raises UsageError for a variant that does not exist."""
        if model not in RESNET_NAMES:
            raise UsageError(
                f"There is no model {model!r} for imagenet.", remedy=one_of(str(model), tuple(RESNET_NAMES))
            )
        if image_size not in IMAGE_SIZES:
            raise UsageError(f"The image size is {image_size} pixels.", remedy="Choose one from 32 to 512.")
        self.model = model
        self.image_size = image_size
        self.classes = classes

    @property
    def variant(self) -> dict[str, Any]:
        """Network, image size and classes."""
        return {
            "model": self.model,
            "image_size": self.image_size,
            "classes": self.classes.count,
            "class_digest": self.classes.digest,
        }

    @property
    def description(self) -> str:
        """What peers must agree on."""
        return f"imagenet/{self.model}/{self.image_size}/{self.classes.count} classes {self.classes.digest}"

    def build_model(self, seed: int) -> nn.Module:
        """ResNet-18 or ResNet-50 with one output a class."""
        with seeded(seed):
            return build_resnet(self.model, classes=self.classes.count)

    def open_training(self, *, data_dir: Path | None, share: Share, batch: int, device: torch.device) -> ImageBatches:
        """Batches of random crops, decoded by threads while the device works."""
        files = self._tree(data_dir).images("train")
        order = SampleOrder(share.indices(files.labels), seed=share.identity_seed, batch=batch)
        return ImageBatches(Decoder(files, size=self.image_size, device=device), order=order)

    def open_evaluation(self, *, data_dir: Path | None, device: torch.device) -> ImageEvaluationSet:
        """The centre crops of all validation images."""
        files = self._tree(data_dir).images("val")
        decoder = Decoder(files, size=self.image_size, device=device)
        return ImageEvaluationSet(decoder, samples=len(files), batch=EVALUATION_BATCH)

    def _tree(self, data_dir: Path | None) -> ClassFolders:
        tree = find_class_folders(data_dir)
        if tree.class_set != self.classes:
            raise DataCorruptError(
                f"{tree.root} holds other classes than this run: {tree.class_set.count} with digest "
                f"{tree.class_set.digest}, not {self.classes.count} with digest {self.classes.digest}.",
                cause="The names of the class folders are part of the task: all peers must have the same.",
                remedy="Name the data of this run with --data-dir.",
            )
        return tree


def imagenet_task(
    *,
    data_dir: Path | None = None,
    model: ResNetName = "resnet18",
    image_size: int = 224,
    classes: int | None = None,
    class_digest: str = "",
) -> ImageNetTask:
    """The task in a variant; without `classes` the class folders of the data are counted.

    Raises UsageError, DataMissingError, DataCorruptError.
    """
    class_set = find_class_folders(data_dir).class_set if classes is None else ClassSet(classes, class_digest)
    return ImageNetTask(model=model, image_size=image_size, classes=class_set)


def find_class_folders(data_dir: Path | None) -> ClassFolders:
    """The tree of class folders that the user named. Raises DataMissingError, DataCorruptError."""
    root = data_root(data_dir)
    folder = find_folder(root, FOLDER_NAMES, is_it=is_class_tree) if root else None
    if folder is None:
        looked = f"{root} and its subfolders {', '.join(FOLDER_NAMES)}" if root else "no folder, as none was named"
        raise DataMissingError(
            "No class folders of images were found.",
            cause=f"Looked for train/<class>/*.JPEG in {looked}.",
            remedy=f"Name the folder that holds train and val with --data-dir or {DATA_VARIABLE}. ImageNet itself "
            "cannot be downloaded for you: its owners ask each user to accept their terms.",
        )
    return read_class_folders(folder)
