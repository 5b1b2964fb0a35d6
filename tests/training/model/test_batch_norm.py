"""The running statistics of a merged model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gossiptrain.training.model.batch_norm import estimate_running_statistics, has_running_statistics


def batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [3 + 2 * torch.randn(64, 4, generator=generator) for _ in range(count)]


def layer_of(model: nn.Sequential) -> nn.BatchNorm1d:
    layer = model[0]
    assert isinstance(layer, nn.BatchNorm1d)
    return layer


def model() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_only_models_that_collect_statistics_have_them() -> None:
    assert has_running_statistics(model())
    assert not has_running_statistics(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.GroupNorm(2, 4)))


def test_the_statistics_become_those_of_the_inputs_whatever_they_were() -> None:
    trained = model()
    running_mean, running_var = layer_of(trained).running_mean, layer_of(trained).running_var
    assert running_mean is not None
    assert running_var is not None
    running_mean.fill_(1000.0)
    inputs = batches(20)
    estimate_running_statistics(trained, inputs)
    everything = torch.stack(inputs)
    torch.testing.assert_close(running_mean, everything.mean(dim=(0, 1)))
    torch.testing.assert_close(running_var, everything.var(dim=1).mean(dim=0))


def test_nothing_else_changes() -> None:
    trained = model().train()
    trained[1].eval()
    before = {name: parameter.clone() for name, parameter in trained.named_parameters()}
    estimate_running_statistics(trained, batches(3))
    assert layer_of(trained).momentum == 0.1
    assert [module.training for module in trained] == [True, False, True]
    for name, parameter in trained.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_where_an_input_cannot_be_read_nothing_has_changed() -> None:
    trained = model().train()
    estimate_running_statistics(trained, batches(2))
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}

    def damaged() -> Iterator[torch.Tensor]:
        yield 100 * batches(1)[0]
        raise OSError("a bad image")

    with pytest.raises(OSError, match="a bad image"):
        estimate_running_statistics(trained, damaged())
    assert layer_of(trained).momentum == 0.1
    assert all(module.training for module in trained.modules())
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name
