"""MNIST and data sets of its form: images and labels in IDX files, as LeCun et al. (1998) publish them.

Owns reading and checking of these files. Nothing is downloaded.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gossiptrain.errors import DataCorruptError, DataMissingError

UNSIGNED_BYTES = 0x08
SIDE = 28
MOST_VALUES = 1_000_000 * SIDE * SIDE


class IdxImages(NamedTuple):
    """pixels [N, 784] float32 in 0..1, labels [N] int64."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]


def read_idx_images(folder: Path, split: str) -> IdxImages:
    """The `train` or `t10k` half, packed or not. Raises DataMissingError, DataCorruptError."""
    pixels = _read(_find(folder, f"{split}-images-idx3-ubyte"), dimensions=3)
    labels = _read(_find(folder, f"{split}-labels-idx1-ubyte"), dimensions=1)
    if pixels.shape[1:] != (SIDE, SIDE) or len(pixels) != len(labels):
        raise DataCorruptError(
            f"{folder} holds {len(pixels)} images of {pixels.shape[1:]} pixels and {len(labels)} labels.",
            cause="The files do not belong together, or are of another data set.",
            remedy="Fetch all four of them anew.",
        )
    return IdxImages((pixels.reshape(len(pixels), -1) / 255).astype(np.float32), labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataMissingError(
        f"There is no {name} in {folder}, packed or not.",
        cause="The data set was not put there.",
        remedy="Fetch the four files of MNIST or Fashion-MNIST, and name their folder with --data-dir.",
    )


def _read(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4 + 4 * dimensions)
        if head[:4] != bytes((0, 0, UNSIGNED_BYTES, dimensions)) or len(head) != 4 + 4 * dimensions:
            raise DataCorruptError(f"{path} does not begin as an IDX file of {dimensions} dimensions does.")
        shape = [int(length) for length in np.frombuffer(head[4:], ">u4")]
        size = math.prod(shape)
        if size > MOST_VALUES:
            raise DataCorruptError(f"{path} claims {size:,} values.")
        values = file.read(size)
    if len(values) != size:
        raise DataCorruptError(f"{path} ends after {len(values):,} of {size:,} values.")
    return np.frombuffer(values, np.uint8).reshape(shape)
