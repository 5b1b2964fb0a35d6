"""Random crops, mirroring and cut-outs of whole batches, on any device.

Owns the augmentation of small images that are held as one tensor. Random numbers are drawn on the CPU, so a seed means
the same images on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalise:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] with mean 0 and deviation 1 a channel, colours last in memory."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __str__(self) -> str:
        return (
            f"[N, 3, height, width] float32: red, green and blue from 0 to 1, less {self.mean} and then divided by "
            f"{self.deviation}"
        )

    def __call__(self, images: Tensor) -> Tensor:
        """One multiplication and one addition; the layout is kept, so convolutions need not reorder."""
        scale = torch.tensor([1 / (255 * d) for d in self.deviation], device=images.device)
        shift = torch.tensor([-m / d for m, d in zip(self.mean, self.deviation, strict=True)], device=images.device)
        return torch.addcmul(shift, images, scale).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class CropAndFlip:
    """Moves each image by up to `shift` pixels each way, mirrors half of them, and blanks a square of `hole` pixels.

    What moves in at an edge is the image reflected there. hole: 0 for none.
    """

    normalise: Normalise
    shift: int
    hole: int = 0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [B, H, W, 3] to float32 [B, 3, H, W]."""
        size, height, width = images.shape[:3]
        moves = torch.randint(-self.shift, self.shift + 1, (2, size, 1), generator=generator)
        mirrored = torch.rand((size, 1), generator=generator) < 0.5
        rows = reflect(torch.arange(height) + moves[0], height)
        columns = reflect(torch.arange(width) + moves[1], width)
        columns = torch.where(mirrored, width - 1 - columns, columns)
        # Which byte of the batch each pixel comes from: one gather does crop and mirror at once.
        pixels = (torch.arange(size) * height).view(-1, 1, 1) + rows.view(size, height, 1)
        pixels = (pixels * width + columns.view(size, 1, width)).flatten().to(images.device, non_blocking=True)
        inputs = self.normalise(images.flatten(0, 2).index_select(0, pixels).view(images.shape))
        return self._punched(inputs, generator) if self.hole else inputs

    def _punched(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        size, _, height, width = inputs.shape
        top = torch.randint(0, height - self.hole + 1, (size, 1), generator=generator)
        left = torch.randint(0, width - self.hole + 1, (size, 1), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        in_rows = (rows >= top) & (rows < top + self.hole)
        in_columns = (columns >= left) & (columns < left + self.hole)
        hole = (in_rows.view(size, 1, height, 1) & in_columns.view(size, 1, 1, width)).to(inputs.device)
        return inputs.masked_fill_(hole, 0.0)  # in place: the layout stays


def reflect(positions: Tensor, length: int) -> Tensor:
    """Positions up to `length - 1` beyond either end, reflected at the ends: -1 is 1, and `length` is `length - 2`."""
    last = length - 1
    return last - (last - positions.abs()).abs()
