"""The mean of a model over its last rounds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.smooth import Smooth


def constant(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def smooth_over(model: nn.Module, *, rounds: int) -> Smooth:
    return Smooth(model, ModelBinding(model), rounds=rounds)


def test_it_is_the_mean_of_all_rounds_as_long_as_they_are_few() -> None:
    model = nn.Linear(3, 2)
    smooth = smooth_over(model, rounds=5)
    for value in (1.0, 2.0, 6.0):
        constant(model, value)
        smooth.note()
    assert torch.allclose(smooth.model().get_parameter("weight"), torch.tensor(3.0))
    assert torch.equal(model.weight, torch.full((2, 3), 6.0)), "what is trained stays as it is"


def test_rounds_long_ago_are_forgotten() -> None:
    model = nn.Linear(3, 2)
    smooth = smooth_over(model, rounds=2)
    for value in [100.0] + [1.0] * 20:
        constant(model, value)
        smooth.note()
    assert smooth.model().get_parameter("weight").mean().item() == pytest.approx(1.0, abs=1e-3)


def test_before_the_first_round_it_is_the_model_as_it_is() -> None:
    model = nn.Linear(3, 2)
    assert torch.equal(smooth_over(model, rounds=5).model().get_parameter("weight"), model.weight)


def test_statistics_are_in_it_and_what_is_done_with_a_copy_changes_nothing_else() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1).requires_grad_(False))
    smooth = smooth_over(model, rounds=5)
    for _ in range(2):
        model(torch.randn(16, 4))
        smooth.note()
    copied = smooth.model()
    mean, last = copied.get_buffer("1.running_mean"), model.get_buffer("1.running_mean")
    assert not torch.equal(mean, last)
    assert torch.equal(copied.get_parameter("2.weight"), model.get_parameter("2.weight"))
    constant(copied, 9.0)
    assert not torch.equal(smooth.model().get_parameter("0.weight"), copied.get_parameter("0.weight"))


def test_a_model_in_half_precision_has_a_copy_in_half_precision() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    smooth = smooth_over(model, rounds=5)
    for value in (1.0, 2.0):
        constant(model, value)
        smooth.note()
    assert torch.equal(smooth.model().get_parameter("weight"), torch.full((2, 3), 1.5, dtype=torch.bfloat16))
