"""CIFAR-10 as two arrays, and the places it may come from.

Owns the form of the data in memory and one order of samples that does not depend on the source, so that `--share 1/4`
names the same images for a peer that read the official folder and for one that downloaded. Does not know file formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossiptrain.errors import DataCorruptError

Split: TypeAlias = Literal["train", "test"]
CLASSES = 10
SIDE_PIXELS = 32


@dataclass(frozen=True)
class ImageArrays:
    """images [N, 32, 32, 3] uint8, RGB; labels [N] int64, 0 to 9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def checked_arrays(images: NDArray[np.uint8], labels: NDArray[np.int64], *, source: Path) -> ImageArrays:
    """The arrays in the order that all sources share. Raises DataCorruptError, naming `source`, where they are off."""
    if images.dtype != np.uint8 or images.shape != (len(labels), SIDE_PIXELS, SIDE_PIXELS, 3):
        raise DataCorruptError(f"{source} does not hold 32x32 RGB images: {images.dtype} of shape {images.shape}.")
    if labels.shape != (len(images),) or not len(labels) or labels.min() < 0 or labels.max() >= CLASSES:
        raise DataCorruptError(f"{source} does not hold one label from 0 to 9 for each image.")
    order = np.argsort([_content(image, label) for image, label in zip(images, labels, strict=True)], kind="stable")
    return ImageArrays(images[order], labels[order].astype(np.int64))


def _content(image: NDArray[np.uint8], label: np.int64) -> bytes:
    """Sorting by this mixes the classes, too: neighbours have nothing in common."""
    return blake2b(image.tobytes() + bytes([label]), digest_size=8).digest()
