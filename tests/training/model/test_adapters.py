"""What averaging the two matrices of an adapter apart costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossiptrain.training.model.adapters import AdapterPairs
from gossiptrain.training.model.binding import ModelBinding


class Adapted(nn.Module):
    """Two adapters as PEFT names them, and something beside them."""

    def __init__(self) -> None:
        super().__init__()
        for layer in ("query", "value"):
            first, second = nn.Linear(6, 2, bias=False), nn.Linear(2, 5, bias=False)
            matrices = {"lora_A": nn.ModuleDict({"default": first}), "lora_B": nn.ModuleDict({"default": second})}
            self.add_module(layer, nn.ModuleDict(matrices))
        self.head = nn.Linear(3, 3)


def vector_of(model: nn.Module) -> torch.Tensor:
    binding = ModelBinding(model)
    flat = torch.zeros(binding.elements)
    binding.copy_to(flat.numpy())
    return flat


def matrix(model: nn.Module, name: str) -> torch.Tensor:
    return model.get_parameter(f"{name}.default.weight")


def products(model: nn.Module) -> torch.Tensor:
    layers = ("query", "value")
    return torch.cat(
        [(matrix(model, f"{layer}.lora_B") @ matrix(model, f"{layer}.lora_A")).flatten() for layer in layers]
    )


def test_of_two_peers_it_is_exactly_what_the_average_of_products_differs_by() -> None:
    one, other, mean = Adapted(), Adapted(), Adapted()
    average = (vector_of(one) + vector_of(other)) / 2
    ModelBinding(mean).copy_from(average.numpy())
    pairs = AdapterPairs(ModelBinding(one).tensors)
    with torch.no_grad():
        difference = (products(one) + products(other)) / 2 - products(mean)
        expected = float(difference.norm() / products(mean).norm())
    assert len(pairs) == 2
    for own in (one, other):
        assert pairs.bilinear_error(vector_of(own).numpy(), average.numpy()) == pytest.approx(expected, rel=1e-4)


def test_equal_peers_lose_nothing_and_adapters_that_do_nothing_yet_have_no_error() -> None:
    model = Adapted()
    pairs = AdapterPairs(ModelBinding(model).tensors)
    own = vector_of(model).numpy()
    assert pairs.bilinear_error(own, own) == 0.0
    for layer in ("query", "value"):
        nn.init.zeros_(matrix(model, f"{layer}.lora_B"))
    assert pairs.bilinear_error(own, vector_of(model).numpy()) is None


def test_a_model_without_adapters_has_no_pairs() -> None:
    assert len(AdapterPairs(ModelBinding(nn.Linear(3, 3)).tensors)) == 0
