"""A living model as one flat float32 vector, and back.

Owns which tensors of a model are averaged and where each lies in the vector. Trained parameters are averaged, and
persistent floating-point buffers such as the statistics of batch normalisation. Frozen parameters must be equal
everywhere, and so must buffers that are not finite when training begins, such as a mask of minus infinity: the
fingerprint checks both. Every use looks the tensors up anew, so they may be replaced and moved; what cannot be followed
is refused in words. Does not know what is done with the vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import TensorSpec, model_digest
from gossiptrain.core.partition import Slice
from gossiptrain.errors import UsageError
from gossiptrain.training.model.survey import FoundTensor, survey


@dataclass
class BoundTensor:
    """A tensor of the model and its place in the flat vector. found: where it was when the binding was used last."""

    spec: TensorSpec
    place: Slice
    found: FoundTensor

    @property
    def tensor(self) -> Tensor:
        """Its memory; changing it in place changes the model."""
        return self.found.tensor

    @property
    def trained(self) -> bool:
        """A parameter; otherwise a buffer, such as a running mean."""
        return self.found.is_parameter

    def view(self, vector: Tensor, *, begins_at: int = 0) -> Tensor:
        """This tensor's part of a flat vector, in the tensor's shape. begins_at: element of the model at which the
        vector begins, where it is that of a fragment."""
        return vector[self.place.start - begins_at : self.place.stop - begins_at].view(self.spec.shape)


class ModelBinding:
    """Moves a model's averaged tensors to and from flat vectors of length `elements`, in place and without gaps."""

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer] = (), *, compares_frozen: bool = True) -> None:
        """optimizers: those that train the model. compares_frozen: whether the values of frozen parameters are part of
        the digest, and not only their names. Raises UsageError for what cannot be averaged."""
        self._model = model
        self._optimizers = optimizers
        self.tensors: list[BoundTensor] = []
        self._fixed: list[FoundTensor] = []
        """Frozen parameters, and buffers that are not finite."""
        offset = 0
        for found in survey(model):
            if not (found.requires_grad if found.is_parameter else _is_finite(found.tensor)):
                self._fixed.append(found)
                continue
            spec = _spec_of(found)
            place = Slice(offset, offset + spec.elements)
            self.tensors.append(BoundTensor(spec, place, found))
            offset += spec.elements
        self.elements = offset
        if not self.elements:
            raise UsageError(
                "This model has nothing to average.",
                cause="No parameter requires a gradient and there is no persistent floating-point buffer.",
                remedy="Unfreeze the parameters that are to be trained before gossip() is called.",
            )
        fixed = [
            (_spec_of(found), _content_digest(found.tensor))
            if compares_frozen
            else (TensorSpec(found.names[0], (), ""), b"")
            for found in self._fixed
        ]
        self.digest = model_digest((bound.spec for bound in self.tensors), fixed)
        for optimizer in optimizers:
            self._refuse_foreign(optimizer, self._everything)

    @property
    def all_trained(self) -> bool:
        """Whether no parameter is frozen."""
        return not any(found.is_parameter for found in self._fixed)

    @property
    def precisions(self) -> frozenset[torch.dtype]:
        """Of all that is averaged."""
        return frozenset(bound.tensor.dtype for bound in self.tensors)

    @property
    def _everything(self) -> list[FoundTensor]:
        return [*(bound.found for bound in self.tensors), *self._fixed]

    def refresh(self) -> None:
        """Finds out where each tensor is now; call it before each use of `tensors`.

        Devices and precisions may have changed. Raises UsageError where tensors came, went, changed their shape or
        are trained only now, and where the optimizer does not train this model any more.
        """
        now = survey(self._model)
        by_names = {found.names: found for found in now}
        if by_names.keys() != {found.names for found in self._everything}:
            raise _other_tensors(self._everything, now)
        for bound in self.tensors:
            bound.found = by_names[bound.found.names]
            if tuple(bound.tensor.shape) != bound.spec.shape:
                raise _changed(
                    f"{bound.spec.name} had the shape {list(bound.spec.shape)} when gossip() was called and has "
                    f"{list(bound.tensor.shape)} now."
                )
        for known in self._fixed:
            if known.is_parameter and by_names[known.names].requires_grad:
                raise _unfrozen(known.names[0])
        for optimizer in self._optimizers:
            self._refuse_foreign(optimizer, now)

    def _refuse_foreign(self, optimizer: Optimizer, found: Sequence[FoundTensor]) -> None:
        own = {id(tensor) for each in found for tensor in each.objects}
        if any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
            return
        raise UsageError(
            f"The optimizer {type(optimizer).__name__} trains no parameter of this model.",
            cause="It was made for another model, or the model's parameters were replaced after it was made: "
            "load_state_dict(..., assign=True) does that.",
            remedy="Make the optimizer from the parameters of the very model that gossip() is given, after loading.",
        )

    @torch.no_grad()
    def copy_to(self, vector: Vector) -> None:
        """Writes the current values into `vector`, float32 of length `elements`."""
        self.refresh()
        flat = torch.from_numpy(vector)
        for bound in self.tensors:
            bound.view(flat).copy_(bound.tensor)

    @torch.no_grad()
    def copy_from(self, vector: Vector) -> None:
        """Replaces all values by those of `vector`."""
        self.refresh()
        flat = torch.from_numpy(vector)
        for bound in self.tensors:
            bound.tensor.copy_(bound.view(flat))


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> frozenset[str]:
    """The names of those floating-point tensors that hold NaN or infinity."""
    return frozenset(name for name, tensor in tensors if tensor.is_floating_point() and not _is_finite(tensor))


def _is_finite(tensor: Tensor) -> bool:
    """In float32, in which values travel."""
    return bool(tensor.float().isfinite().all())


def _spec_of(found: FoundTensor) -> TensorSpec:
    tensor = found.tensor
    return TensorSpec(found.names[0], tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _content_digest(tensor: Tensor) -> bytes:
    return hashlib.sha256(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data).digest()


def _other_tensors(known: Sequence[FoundTensor], now: Sequence[FoundTensor]) -> UsageError:
    before = [name for found in known for name in found.names]
    after = [name for found in now for name in found.names]
    for name in before:
        if name not in after:
            return _changed(f"The model had a tensor {name} when gossip() was called and has none now.")
    for name in after:
        if name not in before:
            return _changed(f"The model has a tensor {name}, which it had not when gossip() was called.")
    tied = sorted({found.names for found in known} ^ {found.names for found in now}, key=len)
    names = " and ".join(tied[-1])
    return _changed(f"Whether {names} share their memory has changed since gossip() was called.")


def _changed(what: str) -> UsageError:
    return UsageError(
        what,
        cause="The model was rebuilt, or loaded with assign=True, inside of the `with` block.",
        remedy="Change the model before gossip() is called, in the same way on all peers.",
    )


def _unfrozen(name: str) -> UsageError:
    return UsageError(
        f"The parameter {name} was frozen when gossip() was called and requires a gradient now.",
        cause="Frozen parameters are not averaged, so each peer would train its own.",
        remedy="Unfreeze it before gossip() is called (with learning rate 0 where it shall not move yet), or end the "
        "`with` block and call gossip() again.",
    )
