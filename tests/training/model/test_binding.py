"""A model as one vector: what is in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossiptrain.errors import UsageError
from gossiptrain.training.model.binding import FlatModel


def small_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def vector_of(model: nn.Module) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    flat = FlatModel(model)
    vector = np.empty(flat.elements, np.float32)
    flat.copy_to(vector)
    return vector


def test_parameters_and_float_buffers_are_averaged_and_counters_are_not() -> None:
    model = small_model()
    expected = sum(p.numel() for p in model.parameters()) + 2 * 4  # running mean and variance, not the batch counter
    assert FlatModel(model).elements == expected


def test_a_vector_survives_the_way_there_and_back() -> None:
    source, target = small_model(1), small_model(2)
    FlatModel(target).copy_from(vector_of(source))
    assert vector_of(target).tobytes() == vector_of(source).tobytes()


def test_tied_parameters_are_one_tensor() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].register_parameter("weight", model[0].get_parameter("weight"))
    assert FlatModel(model).elements == 16


def test_frozen_parameters_are_not_sent_but_change_the_digest() -> None:
    def frozen_model(value: float) -> nn.Module:
        model = small_model()
        model.get_parameter("0.weight").requires_grad_(False).fill_(value)
        return model

    one, same, other = (FlatModel(frozen_model(value)) for value in (1.0, 1.0, 2.0))
    assert one.elements == FlatModel(small_model()).elements - 12
    assert one.digest == same.digest != other.digest


def test_a_model_with_nothing_to_average_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to average"):
        FlatModel(nn.ReLU())


def test_half_precision_models_travel_as_float32() -> None:
    model = nn.Linear(3, 3).to(torch.bfloat16)
    before = model.weight.detach().clone()
    flat = FlatModel(model)
    vector = np.empty(flat.elements, np.float32)
    flat.copy_to(vector)
    flat.copy_from(vector)
    assert torch.equal(model.weight, before)
