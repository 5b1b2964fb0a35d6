"""ResNet-18 and ResNet-50 (He et al. 2016) in the form that is trained today.

Owns the architecture and its initialisation: the stride of a bottleneck sits in its 3x3 convolution, and the last
normalisation of each block starts at zero, so that every block starts as the identity (Goyal et al. 2017).
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

ResNetName: TypeAlias = Literal["resnet18", "resnet50"]
RESNET_NAMES: tuple[ResNetName, ...] = get_args(ResNetName)


def build_resnet(name: ResNetName, *, classes: int) -> ResNet:
    """11.7 or 25.6 million parameters with 1,000 classes; images of any size from 32 pixels on."""
    if name == "resnet18":
        return ResNet(BasicBlock, depths=(2, 2, 2, 2), classes=classes)
    return ResNet(Bottleneck, depths=(3, 4, 6, 3), classes=classes)


class ConvNorm(nn.Sequential):
    """Convolution that keeps the side but for its stride, and batch normalisation."""

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, stride: int = 1, scale: float = 1.0
    ) -> None:
        """scale: what the normalisation multiplies by at the start."""
        convolution = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False)
        normalisation = nn.BatchNorm2d(channels_out)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.constant_(normalisation.weight, scale)
        convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
        super().__init__(convolution, normalisation)


class Block(nn.Module):
    """A residual block: the rectified sum of its input and what its branch finds."""

    expansion: int
    """Channels out for each channel of width."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, branch: nn.Sequential) -> None:
        super().__init__()
        self.branch = branch
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else ConvNorm(channels_in, channels_out, kernel=1, stride=stride)
        self.rectifier = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H/stride, W/stride]."""
        total: Tensor = self.rectifier(self.branch(features) + self.shortcut(features))
        return total


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, *, stride: int) -> None:
        branch = nn.Sequential(
            ConvNorm(channels_in, width, kernel=3, stride=stride),
            nn.ReLU(inplace=True),
            ConvNorm(width, width, kernel=3, scale=0.0),
        )
        super().__init__(channels_in, width, stride=stride, branch=branch)


class Bottleneck(Block):
    """A 3x3 convolution between two 1x1 convolutions that narrow and widen."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, *, stride: int) -> None:
        branch = nn.Sequential(
            ConvNorm(channels_in, width, kernel=1),
            nn.ReLU(inplace=True),
            ConvNorm(width, width, kernel=3, stride=stride),
            nn.ReLU(inplace=True),
            ConvNorm(width, width * self.expansion, kernel=1, scale=0.0),
        )
        super().__init__(channels_in, width * self.expansion, stride=stride, branch=branch)


class ResNet(nn.Module):
    """Images [B, 3, H, W] to logits [B, classes]."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], *, depths: tuple[int, int, int, int], classes: int
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(3, 64, kernel=7, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        channels, blocks = 64, []
        for stage, depth in enumerate(depths):
            width = 64 << stage
            for position in range(depth):
                blocks.append(block(channels, width, stride=2 if stage and not position else 1))
                channels = width * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not normalised."""
        features = self.blocks(self.stem(images)).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits
