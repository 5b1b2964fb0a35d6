"""A data set as a tree of folders: `train/<class>/*.JPEG` and `val/<class>/*.JPEG`.

Owns the reading of the tree and its checks. Does not open the images.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossiptrain.errors import DataCorruptError, DataMissingError

Split: TypeAlias = Literal["train", "val"]
FOLDER_NAMES = ("imagenet", "imagenet-1k", "ILSVRC2012", "imagenet-mini")
"""How folders are called in which ImageNet is looked for."""
IMAGE_ENDINGS = (".jpeg", ".jpg", ".png", ".webp")
MAX_NAMED = 5
"""So many names stand in a message; the rest is counted."""


@dataclass(frozen=True)
class ClassSet:
    """How many classes there are, and a digest of their names: peers with other classes learn another task."""

    count: int
    digest: str

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Self:
        """The set of these class names."""
        return cls(len(names), blake2b("\n".join(names).encode(), digest_size=4).hexdigest())


@dataclass(frozen=True)
class ClassFolders:
    """A checked tree. classes: the sorted names of the class folders; a label is a place in them."""

    root: Path
    classes: tuple[str, ...]

    @property
    def class_set(self) -> ClassSet:
        """What peers must agree on."""
        return ClassSet.of(self.classes)

    def images(self, split: Split) -> ImageFiles:
        """All images of a split, sorted by class and name. Raises DataCorruptError for a class without images."""
        files: list[str] = []
        sizes: list[int] = []
        for name in self.classes:
            found = sorted(_image_names(self.root / split / name))
            if not found:
                raise DataCorruptError(
                    f"{self.root / split / name} holds no images.",
                    cause=f"Images end in {', '.join(IMAGE_ENDINGS)}.",
                    remedy="Complete the data set, or remove the class from train and val.",
                )
            files.extend(found)
            sizes.append(len(found))
        return ImageFiles(self.root / split, self.classes, files, np.repeat(np.arange(len(sizes)), sizes))


@dataclass(frozen=True)
class ImageFiles:
    """The images of one split, by number. labels [N] int64."""

    folder: Path
    classes: tuple[str, ...]
    names: list[str]
    labels: NDArray[np.int64]

    @cached_property
    def _folders(self) -> list[str]:
        return [os.fspath(self.folder / name) for name in self.classes]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Where image `index` is."""
        return Path(self._folders[self.labels[index]], self.names[index])


def is_class_tree(folder: Path) -> bool:
    """Whether `folder` looks like such a tree: it may still be incomplete."""
    return (folder / "train").is_dir()


def read_class_folders(root: Path) -> ClassFolders:
    """Checks that train and val have the same classes. Raises DataMissingError, DataCorruptError."""
    if not (root / "val").is_dir():
        raise DataMissingError(
            f"{root} is incomplete: there is a folder train, and no folder val.",
            remedy="Put the validation images there, in one folder a class.",
        )
    training, validation = _class_names(root / "train"), _class_names(root / "val")
    if len(training) < 2:
        raise DataCorruptError(
            f"{root / 'train'} holds {len(training)} class folders; at least two are needed.",
            remedy="Sort the images into one folder a class: train/<class>/*.JPEG.",
        )
    if training != validation:
        raise DataCorruptError(
            f"The class folders of train and val in {root} differ: "
            + "; ".join(
                f"only in {split}: {_some(names)}"
                for split, names in (
                    ("train", sorted(set(training) - set(validation))),
                    ("val", sorted(set(validation) - set(training))),
                )
                if names
            ),
            cause="A part of the data set was not unpacked, or the validation images are not sorted into classes.",
            remedy="Make both sides hold the same class folders.",
        )
    return ClassFolders(root, tuple(training))


def _class_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataCorruptError(f"{folder} cannot be read: {error.strerror}.") from error


def _image_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if e.name.lower().endswith(IMAGE_ENDINGS) and not e.name.startswith(".")]
    except OSError as error:
        raise DataCorruptError(f"{folder} cannot be read: {error.strerror}.") from error


def _some(names: list[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
