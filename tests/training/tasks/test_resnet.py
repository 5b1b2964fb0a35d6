"""ResNets: the published sizes, and a start at the identity."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossiptrain.training.tasks.resnet import RESNET_NAMES, Block, ResNetName, build_resnet


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)])
def test_sizes_are_the_published_ones(name: ResNetName, parameters: int) -> None:
    model = build_resnet(name, classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("name", RESNET_NAMES)
def test_images_of_any_size_become_logits(name: ResNetName) -> None:
    model = build_resnet(name, classes=7).eval()
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 64, 64)).shape == (2, 7)
        assert model(torch.randn(1, 3, 32, 48)).shape == (1, 7)


@pytest.mark.parametrize("name", RESNET_NAMES)
def test_every_branch_starts_at_zero(name: ResNetName) -> None:
    blocks = [module for module in build_resnet(name, classes=2).modules() if isinstance(module, Block)]
    features = torch.randn(1, 64, 8, 8)
    assert len(blocks) == (8 if name == "resnet18" else 16)
    with torch.inference_mode():
        assert torch.equal(blocks[0].branch(features), torch.zeros_like(blocks[0].branch(features)))
        for block in blocks:
            scales = [m.weight for m in block.branch.modules() if isinstance(m, nn.BatchNorm2d)]
            assert not scales[-1].any()
            assert all((scale == 1).all() for scale in scales[:-1])


def test_convolutions_keep_colours_last_in_memory() -> None:
    weights = [m.weight for m in build_resnet("resnet18", classes=2).modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
