"""The second moments of Adam, for joiners: how large gradients usually are, parameter by parameter.

Owns which optimizers keep them, how they lie beside the parameters in a flat vector, and what becomes of a new
optimizer that is given them. Does not know how they travel, nor when.

They travel without the correction for their beginning at zero (Kingma and Ba 2015), so whoever takes them may stand at
another step and have another beta: state = given * (1 - beta ** step). First moments begin at zero, and since the
number of steps says that they do not, a joiner's first steps are a tenth of the usual ones and grow within ten steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from gossiptrain.core.averaging import Vector
from gossiptrain.core.fragments import Fragments
from gossiptrain.core.guards import LARGEST
from gossiptrain.training.model.binding import BoundTensor, ModelBinding

KINDS = (Adam, AdamW)


@dataclass(frozen=True)
class _Kept:
    """A trained tensor of the model as its optimizer knows it."""

    bound: BoundTensor
    parameter: Tensor
    optimizer: Optimizer
    group: Mapping[str, Any]

    @property
    def state(self) -> dict[str, Any]:
        """Empty before its first step."""
        found: dict[str, Any] = self.optimizer.state.get(self.parameter, {})
        return found

    def remembered(self, step: float) -> float:
        """Share of the second moments that has been learnt after so many steps; they began at zero."""
        return float(1.0 - float(self.group["betas"][1]) ** step)


class SecondMoments:
    """Those of one model. Parameters that none of these optimizers trains have none, and neither have buffers."""

    def __init__(self, binding: ModelBinding, optimizers: Sequence[Optimizer], fragments: Fragments) -> None:
        self._binding = binding
        self._optimizers = [optimizer for optimizer in optimizers if isinstance(optimizer, KINDS)]
        self._fragments = fragments

    @property
    def are_missing(self) -> bool:
        """Whether there is an optimizer that keeps them and has made no step yet, nor been given any state."""
        return any(not kept.state for kept in self._kept())

    @torch.no_grad()
    def write(self, vector: Vector, *, fragment: int) -> bool:
        """Fills the first elements of `vector`, as many as the fragment has; zero where there are none. False where
        there are none at all."""
        length = self._fragments.lengths[fragment]
        flat = torch.from_numpy(vector)[:length].zero_()
        found = False
        for kept, place in self._in_fragment(flat, fragment):
            if "exp_avg_sq" in kept.state and float(kept.state["step"]) > 0:
                learnt = kept.state["exp_avg_sq"] / kept.remembered(float(kept.state["step"]))
                place.copy_(learnt.clamp_(max=LARGEST))
                found = True
        return found

    @torch.no_grad()
    def read(self, vector: Vector, *, fragment: int, step: int) -> bool:
        """Goes on from what another peer's `write` has filled, as if so many steps had been made. Says whether any of
        it was taken: nothing where one of the values is negative, or not finite.

        Where the optimizer has a state already it stays, and where the other peer had nothing, which reads as zeros:
        with them a step would be several times the usual one.
        """
        flat = torch.from_numpy(vector)[: self._fragments.lengths[fragment]]
        if not bool((flat >= 0).all()) or not bool(flat.isfinite().all()):
            return False
        taken = False
        for kept, place in self._in_fragment(flat, fragment):
            if not kept.state and bool(place.any()):
                kept.optimizer.state[kept.parameter] = _state_of(kept, place, step=max(1, step))
                taken = True
        return taken

    def _in_fragment(self, flat: Tensor, fragment: int) -> Iterator[tuple[_Kept, Tensor]]:
        start = self._fragments.place(fragment).start
        for kept in self._kept():
            if self._fragments.of_element(kept.bound.place.start) == fragment:
                yield kept, kept.bound.view(flat, begins_at=start)

    def _kept(self) -> Iterator[_Kept]:
        if not self._optimizers:
            return
        self._binding.refresh()
        trained = {
            id(parameter): (optimizer, group, parameter)
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for bound in self._binding.tensors:
            for tensor in bound.found.objects:
                if id(tensor) in trained and tuple(tensor.shape) == bound.spec.shape:
                    optimizer, group, parameter = trained[id(tensor)]
                    yield _Kept(bound, parameter, optimizer, group)
                    break


def _state_of(kept: _Kept, given: Tensor, *, step: int) -> dict[str, Any]:
    """As Adam itself makes it in its first step, and keeps it."""
    parameter, group = kept.parameter, kept.group
    on_device = bool(group.get("fused") or group.get("capturable"))
    second = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    second.copy_(given).mul_(kept.remembered(step))
    state = {
        "step": torch.tensor(float(step), dtype=torch.float32, device=parameter.device if on_device else "cpu"),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": second,
    }
    if group.get("amsgrad"):
        state["max_exp_avg_sq"] = second.clone()
    return state
