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
class PlacedTensor:
    """A tensor of the model and its place in the flat vector."""

    spec: TensorSpec
    tensor: Tensor
    place: Slice
    trained: bool
    """A parameter; otherwise a buffer, such as a running mean."""

    def view(self, vector: Tensor) -> Tensor:
        """This tensor's part of a flat vector, in the tensor's shape."""
        return vector[self.place.start : self.place.stop].view(self.spec.shape)


class FlatModel:
    """Moves a model's averaged tensors to and from flat vectors of length `elements`, in place and without gaps."""

    def __init__(self, model: nn.Module) -> None:
        self.tensors: list[PlacedTensor] = []
        frozen: list[tuple[TensorSpec, bytes]] = []
        offset = 0
        for name, tensor, averaged, trained in _tensors_once(model):
            spec = TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            if not averaged:
                frozen.append((spec, _content_digest(tensor)))
                continue
            place = Slice(offset, offset + spec.elements)
            self.tensors.append(PlacedTensor(spec, tensor, place, trained=trained))
            offset += spec.elements
        self.elements = offset
        if not self.elements:
            raise UsageError(
                "This model has nothing to average.",
                cause="No parameter requires a gradient and there is no floating-point buffer.",
                remedy="Unfreeze the parameters that are to be trained before gossip() is called.",
            )
        self.digest = model_digest((placed.spec for placed in self.tensors), frozen)

    @torch.no_grad()
    def copy_to(self, vector: Vector) -> None:
        """Writes the current values into `vector`, float32 of length `elements`."""
        flat = torch.from_numpy(vector)
        for placed in self.tensors:
            placed.view(flat).copy_(placed.tensor)

    @torch.no_grad()
    def copy_from(self, vector: Vector) -> None:
        """Replaces all values by those of `vector`."""
        flat = torch.from_numpy(vector)
        for placed in self.tensors:
            placed.tensor.copy_(placed.view(flat))


def _tensors_once(model: nn.Module) -> list[tuple[str, Tensor, bool, bool]]:
    """(name, tensor, whether it is averaged, whether it is a parameter) for every distinct tensor, in a fixed order."""
    found: list[tuple[str, Tensor, bool, bool]] = []
    for name, parameter in model.named_parameters():
        found.append((name, parameter.detach(), parameter.requires_grad, True))
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            found.append((name, buffer.detach(), True, False))
    for name, tensor, averaged, _ in found:
        if averaged and not tensor.is_floating_point():
            raise UsageError(f"The parameter {name} has type {tensor.dtype}; only floating-point tensors are averaged.")
    return found


def _content_digest(tensor: Tensor) -> bytes:
    raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(raw.tobytes()).digest()
