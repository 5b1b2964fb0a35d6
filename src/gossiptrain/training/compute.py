"""Where and in which precision the arithmetic of training is done.

Owns the choice of device and precision, and one optimizer step in them. Does not know tasks or peers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from gossiptrain.errors import UsageError
from gossiptrain.training.settings import Precision


def chosen_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first accelerator that is there, else the CPU. Raises UsageError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        if "Expected one of" in reason:  # and then come thirty names, most of which nobody here can use
            reason = "there is no such kind of device."
        raise _unusable(name, reason) from error
    if device.type == "meta":
        raise _unusable(name, "it computes nothing.")
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it means that an allocation failed: Python's, numpy's, or torch's on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Of the CPU's allocator torch has no class of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _unusable(name: str, reason: str) -> UsageError:
    return UsageError(
        f"The device {name!r} cannot be used: {reason}", remedy="Use --device cpu, cuda, cuda:1, mps, or auto."
    )


class MixedPrecision:
    """Runs forward and backward passes in the chosen precision; parameters stay as they are."""

    def __init__(self, device: torch.device, precision: Precision) -> None:
        """auto: bfloat16 where the GPU is made for it, float16 on older ones, float32 on the CPU."""
        if precision == "auto":
            on_cuda = device.type == "cuda"
            precision = "fp32" if not on_cuda else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        if precision == "fp16" and device.type == "cpu":
            raise UsageError("float16 needs a GPU.", remedy="Use --precision bf16 or fp32 on the CPU.")
        self.precision = precision
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def forward(self) -> AbstractContextManager[Any]:
        """The context in which the loss is computed."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self._device.type, dtype=dtype)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Goes one optimizer step down the gradient of `loss`.

        Each call is one step for whoever counts by the optimizer's hooks; one whose float16 gradients overflow changes
        nothing.
        """
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._scaler.is_enabled():
            self._step_scaled(optimizer)
        else:
            optimizer.step()

    def _step_scaled(self, optimizer: torch.optim.Optimizer) -> None:
        """Fused optimizers skip what overflows inside of their step; for all others the scaler leaves the step out."""
        steps: list[None] = []
        hook = optimizer.register_step_post_hook(lambda *told: steps.append(None))
        self._scaler.step(optimizer)
        hook.remove()
        if not steps:
            optimizer.zero_grad(set_to_none=True)
            optimizer.step()  # without gradients, so that nothing changes but the count
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on exactly."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
