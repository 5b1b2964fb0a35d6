"""VGG-11 for 32x32 images, without normalisation layers (Simonyan and Zisserman 2015).

Owns the architecture. It has no statistics that depend on whose data went through it, which matters where every peer
has data of another kind, and it is what papers on such data measure.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
"""Channels of the convolutions; 0: a pooling that halves the side."""


class Vgg11(nn.Module):
    """Images [B, 3, 32, 32] to logits [B, classes]. A `width` of 1 is the published one."""

    def __init__(self, *, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in WIDTHS:
            if not channels:
                layers.append(nn.MaxPool2d(2))
                continue
            after = max(1, round(width * channels))
            convolution = nn.Conv2d(before, after, 3, padding=1)
            # Without normalisation signals must keep their size from layer to layer by themselves (He et al. 2015).
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
            layers += [convolution, nn.ReLU(inplace=True)]
            before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not normalised."""
        logits: Tensor = self.head(self.features(images).flatten(1))
        return logits
