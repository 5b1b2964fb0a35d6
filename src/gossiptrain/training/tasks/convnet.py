"""A small, fast residual network for 32x32 images.

Owns the architecture. It follows the networks of the DAWNBench and airbench line: few layers, pooling early, a
maximum over all places at the end. Three stages, each halving the side, so most of the work is done on small maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMALISED_GROUPS = 8
LOGIT_SCALE = 0.125
"""Keeps the first answers mild: maxima of many places are large."""


@dataclass(frozen=True, kw_only=True)
class ConvNetShape:
    """Channels behind the first layer and behind each stage."""

    stem: int
    widths: tuple[int, ...]
    in_groups: bool = False
    """Whether channels are normalised in groups within each image (Wu and He 2018), not over the images of a batch."""

    def __str__(self) -> str:
        return "-".join(map(str, (self.stem, *self.widths))) + (" in groups" if self.in_groups else "")


class ConvNet(nn.Module):
    """Images [B, 3, 32, 32] to logits [B, classes]."""

    def __init__(self, shape: ConvNetShape, *, classes: int = 10) -> None:
        super().__init__()
        stem, widths = shape.stem, shape.widths
        self.stem = ConvUnit(3, stem)
        self.stages = nn.Sequential(
            *(Stage(before, after) for before, after in zip((stem, *widths), widths, strict=False))
        )
        if shape.in_groups:
            for unit in self.modules():
                if isinstance(unit, ConvUnit):
                    unit.normalisation = normalised_in_groups(unit.convolution.out_channels)
        self.head = nn.Linear(widths[-1], classes, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 4:  # the layout of the images, in which convolutions are fastest
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not normalised."""
        features: Tensor = self.stages(self.stem(images)).amax(dim=(2, 3))
        logits: Tensor = self.head(features) * LOGIT_SCALE
        return logits


def normalised_in_groups(channels: int) -> nn.GroupNorm:
    """Each image by itself, so that no peer's statistics are those of its classes alone."""
    return nn.GroupNorm(min(NORMALISED_GROUPS, channels), channels)


class Stage(nn.Module):
    """Halves the side, changes the width, then adds what two more layers find."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.enter = ConvUnit(channels_in, channels_out, pool=True)
        self.refine = nn.Sequential(ConvUnit(channels_out, channels_out), ConvUnit(channels_out, channels_out))

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H/2, W/2]."""
        entered: Tensor = self.enter(features)
        refined: Tensor = self.refine(entered)
        return entered + refined


class ConvUnit(nn.Module):
    """3x3 convolution, perhaps 2x2 pooling, batch normalisation, rectifier.

    Pooling comes first: normalisation and rectifier then have a quarter of the work.
    """

    def __init__(self, channels_in: int, channels_out: int, *, pool: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)
        self.normalisation: nn.Module = nn.BatchNorm2d(channels_out)
        self.pool = pool

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H, W], or half of H and W."""
        found: Tensor = self.convolution(features)
        if self.pool:
            found = functional.max_pool2d(found, 2)
        return functional.relu(self.normalisation(found), inplace=True)
