"""A model as one flat float32 vector, and back.

Owns which tensors of a model are averaged and where each lies in the vector. Parameters that are trained and
floating-point buffers (such as BatchNorm statistics) are averaged; integer buffers are each peer's own; frozen
parameters must be equal everywhere, which the fingerprint checks; a tensor with several names counts once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import TensorSpec, model_digest
from gossiptrain.core.partition import Slice
from gossiptrain.errors import UsageError


@dataclass(frozen=True)
class _Placed:
    spec: TensorSpec
    tensor: Tensor
    place: Slice


class FlatModel:
    """Moves a model's averaged tensors to and from flat vectors of length `elements`, in place and without gaps."""

    def __init__(self, model: nn.Module) -> None:
        self._placed: list[_Placed] = []
        frozen: list[tuple[TensorSpec, bytes]] = []
        offset = 0
        for name, tensor, averaged in _tensors_once(model):
            spec = TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            if not averaged:
                frozen.append((spec, _content_digest(tensor)))
                continue
            self._placed.append(_Placed(spec, tensor, Slice(offset, offset + spec.elements)))
            offset += spec.elements
        self.elements = offset
        if not self.elements:
            raise UsageError(
                "This model has nothing to average.",
                cause="No parameter requires a gradient and there is no floating-point buffer.",
                remedy="Unfreeze the parameters that are to be trained before gossip() is called.",
            )
        self.digest = model_digest((placed.spec for placed in self._placed), frozen)

    @torch.no_grad()
    def copy_to(self, vector: Vector) -> None:
        """Writes the current values into `vector`, float32 of length `elements`."""
        flat = torch.from_numpy(vector)
        for placed in self._placed:
            flat[placed.place.start : placed.place.stop].copy_(placed.tensor.reshape(-1))

    @torch.no_grad()
    def copy_from(self, vector: Vector) -> None:
        """Replaces all values by those of `vector`."""
        flat = torch.from_numpy(vector)
        for placed in self._placed:
            placed.tensor.copy_(flat[placed.place.start : placed.place.stop].view(placed.spec.shape))

    @torch.no_grad()
    def add_delta(self, average: Vector, snapshot: Vector, *, alpha: float) -> None:
        """The delta rule: x += alpha * (average - snapshot), computed in float32, tensor by tensor.

        What was learnt since the snapshot stays. A tensor that still equals the snapshot becomes exactly the average
        where alpha is 1, so that peers that stood still end bitwise equal.
        """
        flat_average, flat_snapshot = torch.from_numpy(average), torch.from_numpy(snapshot)
        for placed in self._placed:
            place = slice(placed.place.start, placed.place.stop)
            current = placed.tensor
            target = flat_average[place].to(current.device).view(placed.spec.shape)
            base = flat_snapshot[place].to(current.device).view(placed.spec.shape)
            # In place where the model is float32 itself: no memory beyond the model, and half the time.
            moved = current if current.dtype == torch.float32 else current.float()
            moved.sub_(base)
            if alpha != 1.0:
                moved.add_(base, alpha=1.0 - alpha)
            moved.add_(target, alpha=alpha)
            if moved is not current:
                current.copy_(moved)


def _tensors_once(model: nn.Module) -> list[tuple[str, Tensor, bool]]:
    """(name, tensor, whether it is averaged) for every distinct tensor that averaging is about, in a fixed order."""
    found: list[tuple[str, Tensor, bool]] = []
    for name, parameter in model.named_parameters():
        found.append((name, parameter.detach(), parameter.requires_grad))
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            found.append((name, buffer.detach(), True))
    for name, tensor, averaged in found:
        if averaged and not tensor.is_floating_point():
            raise UsageError(f"The parameter {name} has type {tensor.dtype}; only floating-point tensors are averaged.")
    return found


def _content_digest(tensor: Tensor) -> bytes:
    raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(raw.tobytes()).digest()
