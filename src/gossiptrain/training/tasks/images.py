"""One image file to one square of pixels: decoding, cropping, resizing.

Owns the standard crops of ImageNet training and evaluation. Does not know data sets, batches or threads. Decoding and
resizing leave Python to others while they run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gossiptrain.errors import DataCorruptError

SCALE = (0.08, 1.0)
"""Share of the area that a random crop covers (Szegedy et al. 2015)."""
RATIO = (3 / 4, 4 / 3)
"""Width by height of a random crop."""
EVALUATION_SHARE = 224 / 256
"""Share of the shorter side that the centre crop covers: resize to 256, crop 224."""
CROP_TRIES = 10


@dataclass(frozen=True)
class Crop:
    """The part of an image that is shown, in pixels of the whole image, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False


ChooseCrop: TypeAlias = Callable[[int, int], Crop]
"""From the width and height of an image to the crop."""


def random_crop(width: int, height: int, *, random: Random) -> Crop:
    """A crop of random area, shape and place, mirrored every second time."""
    mirrored = random.random() < 0.5
    for _ in range(CROP_TRIES):
        area = width * height * random.uniform(*SCALE)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - high)
            return Crop(left, top, wide, high, mirrored)
    # A very long image: the largest crop in the middle whose shape is allowed.
    wide, high = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    wide, high = max(1, wide), max(1, high)
    return Crop((width - wide) // 2, (height - high) // 2, wide, high, mirrored)


def centre_crop(width: int, height: int) -> Crop:
    """The middle square that evaluation looks at."""
    side = max(1, round(min(width, height) * EVALUATION_SHARE))
    return Crop((width - side) // 2, (height - side) // 2, side, side)


def load_pixels(path: Path, *, size: int, choose: ChooseCrop) -> NDArray[np.uint8]:
    """Decodes an image of any colour mode, crops it and resizes the crop: uint8 [size, size, 3], RGB.

    Raises DataCorruptError, naming the file, where it cannot be read.
    """
    try:
        with Image.open(path) as image:
            crop = choose(*image.size)
            return _render(image, crop, size)
    # Pillow reports broken files in all these ways, SyntaxError for a broken PNG among them.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataCorruptError(
            f"{path} cannot be read as an image: {error}",
            cause="The file is truncated, damaged or not an image.",
            remedy="Fetch it again, or remove it on every peer.",
        ) from error


def _render(image: Image.Image, crop: Crop, size: int) -> NDArray[np.uint8]:
    width, height = image.size
    if min(crop.width, crop.height) >= 2 * size:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, in about that share of the time.
        image.draft(None, (width * size // crop.width, height * size // crop.height))
    across, down = image.size[0] / width, image.size[1] / height
    box = (
        crop.left * across,
        crop.top * down,
        (crop.left + crop.width) * across,
        (crop.top + crop.height) * down,
    )
    resized = _rgb(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(resized)
    return pixels[:, ::-1] if crop.mirrored else pixels


def _rgb(image: Image.Image) -> Image.Image:
    """Greyscale, CMYK, palettes and transparency become plain RGB."""
    if image.mode == "P":  # a palette may hold transparency, which RGB alone would warn about
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
