"""Small trees of class folders with generated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n03")


def photo(width: int, height: int, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A smooth picture, as photos are: JPEG keeps it nearly as it is."""
    coarse = np.random.RandomState(seed).randint(0, 256, size=(4, 4, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def write_tree(root: Path, *, training: int = 4, validation: int = 2, classes: tuple[str, ...] = CLASSES) -> Path:
    """`training` and `validation` images a class, of different sizes."""
    for split, count in (("train", training), ("val", validation)):
        for place, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 100 * place + number
                photo(40 + 7 * number, 60 - 5 * number, seed=seed).save(folder / f"{name}_{number}.JPEG", quality=95)
    return root
