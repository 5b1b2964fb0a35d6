"""The network for 32x32 images: size, shapes, and that it learns."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from gossiptrain.training.tasks.convnet import ConvNet, ConvNetShape

SHAPE = ConvNetShape(stem=8, widths=(16, 16, 16))


def test_images_become_logits() -> None:
    model = ConvNet(ConvNetShape(stem=4, widths=(8, 8)), classes=7)
    assert model(torch.randn(3, 3, 32, 32)).shape == (3, 7)
    assert model(torch.randn(2, 3, 48, 40)).shape == (2, 7)


def test_it_starts_undecided() -> None:
    """The first loss is close to that of guessing, so a high learning rate does no harm."""
    loss = functional.cross_entropy(ConvNet(SHAPE)(torch.randn(64, 3, 32, 32)), torch.arange(64) % 10)
    assert 2.1 < loss.item() < 2.5


def test_convolutions_keep_colours_last_in_memory() -> None:
    weights = [module.weight for module in ConvNet(SHAPE).modules() if isinstance(module, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_it_tolerates_mixed_precision() -> None:
    model = ConvNet(SHAPE)
    images = torch.randn(16, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = functional.cross_entropy(model(images), torch.arange(16) % 10)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(
        loss, functional.cross_entropy(model(images), torch.arange(16) % 10), atol=0.05, rtol=0.05
    )


def test_where_channels_are_normalised_in_groups_an_image_is_seen_by_itself() -> None:
    model = ConvNet(ConvNetShape(stem=8, widths=(16, 16, 16), in_groups=True)).train()
    images = torch.randn(6, 3, 32, 32)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-5)
    assert not list(model.buffers())
