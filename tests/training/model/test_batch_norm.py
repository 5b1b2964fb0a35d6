"""The running statistics of a merged model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gossiptrain.training.model.batch_norm import (
    FixedStatistics,
    estimate_running_statistics,
    has_running_statistics,
)


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


# Statistics that stay as they are.


def test_after_its_share_of_the_steps_a_model_goes_by_its_running_statistics_and_collects_none() -> None:
    trained = model().train()
    statistics = FixedStatistics([trained], share=0.5, total_steps=10)
    (inputs,) = batches(1)
    statistics.prepare(4)
    assert not statistics.are_fixed(4)
    trained(inputs)
    mean = layer_of(trained).running_mean
    assert mean is not None
    collected = mean.clone()
    assert collected.any()
    statistics.prepare(5)
    assert statistics.are_fixed(5)
    layer_of(trained)(1000 + inputs).sum().backward()
    assert torch.equal(mean, collected)
    assert layer_of(trained)(inputs).mean() > 0.5, "normalised by what was collected, not by the batch"
    assert layer_of(trained).weight.grad is not None, "scales go on learning"
    assert trained[1].training, "nothing else is told that training is over"


def test_an_evaluation_in_between_changes_nothing() -> None:
    trained = model().train()
    statistics = FixedStatistics([trained], share=0.5, total_steps=10)
    statistics.prepare(7)
    trained.eval()
    trained.train()
    statistics.prepare(8)
    assert not layer_of(trained).training


def test_without_a_share_or_layers_that_collect_nothing_is_ever_fixed() -> None:
    trained = model().train()
    statistics = FixedStatistics([trained], share=None, total_steps=10)
    statistics.prepare(10)
    assert layer_of(trained).training
    assert not statistics.are_fixed(10)
    assert not FixedStatistics([nn.Linear(4, 2)], share=0.5, total_steps=10).are_fixed(10)
