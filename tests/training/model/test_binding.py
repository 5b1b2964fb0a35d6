"""A model as one vector: what is in it, and that it is the living model whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossiptrain.errors import UsageError
from gossiptrain.training.model.binding import ModelBinding


def small_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def vector_of(model: nn.Module) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    binding = ModelBinding(model)
    vector = np.empty(binding.elements, np.float32)
    binding.copy_to(vector)
    return vector


def test_parameters_and_float_buffers_are_averaged_and_counters_are_not() -> None:
    model = small_model()
    expected = sum(p.numel() for p in model.parameters()) + 2 * 4  # running mean and variance, not the batch counter
    assert ModelBinding(model).elements == expected


def test_a_vector_survives_the_way_there_and_back() -> None:
    source, target = small_model(1), small_model(2)
    ModelBinding(target).copy_from(vector_of(source))
    assert vector_of(target).tobytes() == vector_of(source).tobytes()


def test_tied_parameters_are_one_tensor() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].register_parameter("weight", model[0].get_parameter("weight"))
    assert ModelBinding(model).elements == 16


def test_frozen_parameters_are_not_sent_but_change_the_digest() -> None:
    def frozen_model(value: float) -> nn.Module:
        model = small_model()
        model.get_parameter("0.weight").requires_grad_(False).fill_(value)
        return model

    one, same, other = (ModelBinding(frozen_model(value)) for value in (1.0, 1.0, 2.0))
    named, otherwise = (ModelBinding(frozen_model(value), compares_frozen=False) for value in (1.0, 2.0))
    assert named.digest == otherwise.digest != one.digest
    assert one.elements == ModelBinding(small_model()).elements - 12
    assert one.digest == same.digest != other.digest


def test_a_model_with_nothing_to_average_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to average"):
        ModelBinding(nn.ReLU())


def test_half_precision_models_travel_as_float32() -> None:
    model = nn.Linear(3, 3).to(torch.bfloat16)
    before = model.weight.detach().clone()
    binding = ModelBinding(model)
    vector = np.empty(binding.elements, np.float32)
    binding.copy_to(vector)
    binding.copy_from(vector)
    assert torch.equal(model.weight, before)


# The model goes on living after it was bound.


def put(model: nn.Module, value: float) -> None:
    """Has every averaged tensor hold `value`."""
    binding = ModelBinding(model)
    binding.copy_from(np.full(binding.elements, value, np.float32))


def values_of(binding: ModelBinding) -> set[float]:
    vector = np.empty(binding.elements, np.float32)
    binding.copy_to(vector)
    return set(vector.tolist())


class Statistic(nn.Module):
    """A parameter, and a buffer that each forward pass replaces, as code outside of torch often does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.mean = nn.Buffer(torch.zeros(2))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = self.mean * 0.5 + inputs  # type: ignore[assignment]  # nn.Buffer is no class of its own
        return self.weight * inputs


def converted(model: nn.Module) -> None:
    model.to(torch.float64)


def converted_and_back(model: nn.Module) -> None:
    model.to(torch.float64).to(torch.float32)


def loaded_by_assignment(model: nn.Module) -> None:
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)


def given_new_memory(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter)


def flattened(model: nn.Module) -> None:
    """What RNNs do in each forward pass on CUDA: all weights become parts of one memory."""
    memory = torch.zeros(sum(parameter.numel() for parameter in model.parameters()))
    start = 0
    for parameter in model.parameters():
        parameter.data = memory[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()


@pytest.mark.parametrize("change", [converted, converted_and_back, loaded_by_assignment, given_new_memory, flattened])
@pytest.mark.parametrize("make", [small_model, lambda: nn.LSTM(3, 4)], ids=["layers", "rnn"])
def test_a_model_whose_tensors_are_replaced_is_followed(
    make: Callable[[], nn.Module], change: Callable[[nn.Module], None]
) -> None:
    model = make()
    binding = ModelBinding(model)
    change(model)
    put(model, 7.0)
    assert values_of(binding) == {7.0}, "what the model holds is seen"
    binding.copy_from(np.full(binding.elements, 3.0, np.float32))
    assert values_of(ModelBinding(model)) == {3.0}, "what is written arrives in the model"


def test_a_buffer_that_the_model_replaces_is_followed() -> None:
    model = Statistic()
    binding = ModelBinding(model)
    model(torch.ones(2))
    assert values_of(binding) == {0.0, 1.0}
    binding.copy_from(np.full(4, 3.0, np.float32))
    assert model.mean.tolist() == [3.0, 3.0]
    model(torch.ones(2))
    assert values_of(binding) == {3.0, 2.5}


def test_a_compiled_model_is_the_plain_one() -> None:
    model = Statistic()
    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, nn.Module)
    binding = ModelBinding(compiled)
    assert binding.digest == ModelBinding(Statistic()).digest
    put(compiled, 1.0)
    assert compiled(torch.ones(2)).tolist() == [1.0, 1.0]
    binding.copy_from(np.full(4, 3.0, np.float32))
    assert compiled(torch.ones(2)).tolist() == [3.0, 3.0]
    assert model.mean.tolist() == [2.5, 2.5]


def test_parameters_that_share_memory_move_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model.get_parameter("1.weight").data = model.get_parameter("0.weight").data
    binding = ModelBinding(model)
    assert binding.elements == 4
    binding.copy_from(np.full(4, 3.0, np.float32))
    assert model.get_parameter("1.weight").flatten().tolist() == [3.0] * 4


# What is not averaged, and what must be equal everywhere.


class Masked(nn.Module):
    """A parameter, a causal mask as it is often made, and a table that can be made anew."""

    def __init__(self, size: int = 3, *, persistent: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        mask = torch.full((size, size), -torch.inf).triu(1)
        self.mask = nn.Buffer(mask, persistent=persistent)
        self.table = nn.Buffer(torch.arange(100.0), persistent=False)


def test_a_mask_of_minus_infinity_is_compared_and_not_averaged() -> None:
    binding = ModelBinding(Masked())
    assert [bound.spec.name for bound in binding.tensors] == ["weight"]
    assert binding.digest == ModelBinding(Masked()).digest
    assert binding.digest != ModelBinding(Masked(4)).digest
    other = Masked()
    other.mask[0, 0] = -torch.inf
    assert binding.digest != ModelBinding(other).digest


def test_buffers_that_are_not_persistent_are_neither_averaged_nor_compared() -> None:
    other = Masked(5, persistent=False)
    other.table.fill_(1.0)
    assert ModelBinding(other).digest == ModelBinding(Masked(persistent=False)).digest


def test_a_value_that_float32_cannot_hold_is_not_finite() -> None:
    model = Masked()
    model.mask = nn.Buffer(torch.full((3, 3), -1e300, dtype=torch.float64))
    assert [bound.spec.name for bound in ModelBinding(model).tensors] == ["weight"]


# What cannot be followed.


def unfrozen(model: nn.Module) -> None:
    model.get_parameter("0.weight").requires_grad_()


def enlarged(model: nn.Module) -> None:
    model.get_parameter("2.bias").data = torch.zeros(3)


def given_another_layer(model: nn.Module) -> None:
    model.append(nn.Linear(2, 2))  # type: ignore[operator]


def without_its_last_layer(model: nn.Module) -> None:
    del model[2]  # type: ignore[operator]


def tied(model: nn.Module) -> None:
    model.get_parameter("1.bias").data = model.get_parameter("1.weight").data


def made_complex(model: nn.Module) -> None:
    model.get_parameter("2.bias").data = torch.zeros(2, dtype=torch.cfloat)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unfrozen, "0.weight was frozen when gossip\\(\\) was called and requires a gradient now"),
        (enlarged, "2.bias had the shape \\[2\\] when gossip\\(\\) was called and has \\[3\\] now"),
        (given_another_layer, "has a tensor 3.weight, which it had not"),
        (without_its_last_layer, "had a tensor 2.weight when gossip\\(\\) was called and has none now"),
        (tied, "Whether 1.weight and 1.bias share their memory has changed"),
        (made_complex, "2.bias has the type complex64"),
    ],
)
def test_a_model_that_becomes_another_one_is_refused_when_it_is_used(
    change: Callable[[nn.Module], None], words: str
) -> None:
    model = small_model()
    model.get_parameter("0.weight").requires_grad_(False)
    binding = ModelBinding(model)
    change(model)
    with pytest.raises(UsageError, match=words) as caught:
        values_of(binding)
    assert caught.value.remedy


def test_parameters_may_be_frozen_for_a_while() -> None:
    """As the discriminator is while the generator learns."""
    model = small_model()
    binding = ModelBinding(model)
    model.requires_grad_(False)
    assert len(values_of(binding)) > 1
    model.requires_grad_()
    assert len(values_of(binding)) > 1


def test_an_optimizer_must_train_the_model() -> None:
    model, other = small_model(), small_model()
    own, foreign = (torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other))
    ModelBinding(model, [own])
    with pytest.raises(UsageError, match="SGD trains no parameter of this model"):
        ModelBinding(model, [own, foreign])


def test_an_optimizer_whose_parameters_are_no_longer_the_models_is_noticed() -> None:
    model = small_model()
    binding = ModelBinding(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    loaded_by_assignment(model)
    with pytest.raises(UsageError, match="SGD trains no parameter of this model") as caught:
        values_of(binding)
    assert "assign=True" in caught.value.cause
