"""VGG-11 without normalisation: what it computes, and that it learns."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gossiptrain.training.model.batch_norm import has_running_statistics
from gossiptrain.training.tasks.vgg import Vgg11


def test_it_has_eight_convolutions_and_one_linear_layer_and_no_statistics() -> None:
    model = Vgg11()
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.Conv2d) == 8
    assert kinds.count(nn.Linear) == 1
    assert not has_running_statistics(model)


def test_images_become_logits_and_each_image_has_its_own() -> None:
    model = Vgg11(width=0.125)
    images = torch.randn(4, 3, 32, 32)
    logits = model(images)
    assert logits.shape == (4, 10)
    assert torch.allclose(model(images[:1]), logits[:1], atol=1e-5)


def test_signals_keep_their_size_through_all_layers() -> None:
    torch.manual_seed(0)
    features = Vgg11(width=0.25).features(torch.randn(16, 3, 32, 32))
    assert 0.1 < features.square().mean().sqrt() < 10


def test_it_learns_a_few_images_by_heart() -> None:
    torch.manual_seed(0)
    model = Vgg11(width=0.125)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (model(images).argmax(dim=1) == labels).all()
