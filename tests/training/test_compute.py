"""The choice of device and precision, and one optimizer step in them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from gossiptrain.errors import UsageError
from gossiptrain.training.compute import MixedPrecision, chosen_device
from gossiptrain.training.settings import Precision

CPU = torch.device("cpu")


def trained(precision: MixedPrecision, *, steps: int = 20) -> tuple[nn.Module, list[float]]:
    """A small regression after so many steps, and its losses."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.randn(64, 4)
    targets = inputs.sum(dim=1, keepdim=True)
    losses = []
    for _ in range(steps):
        with precision.forward():
            loss = functional.mse_loss(model(inputs).float(), targets)
        precision.step(loss, optimizer)
        losses.append(loss.item())
    return model, losses


def test_the_cpu_can_always_be_had() -> None:
    assert chosen_device("cpu") == CPU


def test_auto_takes_the_accelerator_that_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert chosen_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "", "cuda:999", "meta", "CPU "])
def test_a_device_that_cannot_be_used_is_refused_by_name_with_the_ones_that_can(name: str) -> None:
    with pytest.raises(UsageError, match=f"The device '{name}' cannot be used") as caught:
        chosen_device(name)
    assert "--device cpu" in caught.value.remedy
    assert "\n" not in caught.value.what


def test_on_the_cpu_auto_is_full_precision() -> None:
    assert MixedPrecision(CPU, "auto").precision == "fp32"


def test_float16_needs_a_gpu_and_the_message_says_so() -> None:
    with pytest.raises(UsageError, match="float16 needs a GPU") as caught:
        MixedPrecision(CPU, "fp16")
    assert "bf16" in caught.value.remedy


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_fall_and_parameters_stay_in_full_precision(precision: Precision) -> None:
    model, losses = trained(MixedPrecision(CPU, precision))
    assert losses[-1] < 0.1 * losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_bfloat16_computes_in_bfloat16() -> None:
    layer = nn.Linear(4, 1)
    with MixedPrecision(CPU, "bf16").forward():
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with MixedPrecision(CPU, "fp32").forward():
        assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_a_step_forgets_the_gradients_of_the_step_before() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    precision = MixedPrecision(CPU, "fp32")
    for expected in (-1.0, -2.0):
        precision.step(weight.sum(), optimizer)
        assert weight.item() == expected


def test_the_state_of_full_precision_is_nothing_and_can_be_restored() -> None:
    precision = MixedPrecision(CPU, "fp32")
    assert precision.state() == {}
    precision.restore(precision.state())
    precision.restore({"scale": 1024.0})  # Of a run on a GPU: it does not matter here.


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_overflows_is_a_step_that_changes_nothing(fused: bool) -> None:
    precision = MixedPrecision(CPU, "fp32")
    precision._scaler = torch.amp.GradScaler("cpu", init_scale=4.0)  # as with float16, which only a GPU computes in
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9, fused=fused)
    counted: list[None] = []
    optimizer.register_step_post_hook(lambda *told: counted.append(None))
    for factor, expected in ((1.0, 0.5), (float("inf"), 0.5), (1.0, -0.45), (1.0, -1.805)):
        precision.step(weight.sum() * factor, optimizer)
        assert weight.item() == pytest.approx(expected)
    assert len(counted) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_float16_scales_its_gradients_and_goes_on_with_the_same_scale() -> None:
    precision = MixedPrecision(torch.device("cuda"), "fp16")
    weight = nn.Parameter(torch.zeros(1, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for _ in range(3):
        precision.step(weight.sum() * float("inf"), optimizer)
    assert weight.item() == 0.0, "steps whose gradients overflow are skipped"
    continued = MixedPrecision(torch.device("cuda"), "fp16")
    continued.restore(precision.state())
    assert continued.state() == precision.state()
