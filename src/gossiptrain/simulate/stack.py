"""The parameters and buffers of all peers, stacked: one tensor [peers, *shape] for each tensor of the model.

Owns their memory, their gradients' and the way to and from matrices with one peer in each row, laid out as
`training.model.binding` lays out a model. Does not know how gradients are found, nor what becomes of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossiptrain.errors import UsageError
from gossiptrain.training.model.binding import BoundTensor, ModelBinding


class Stack:
    """All peers begin at the values of one model, the template, and at its learning rates and weight decays.

    parameters, buffers: by name, [peers, *shape], float32. Each parameter is a leaf whose `grad` is there from the
    start and must be written in place.
    """

    def __init__(
        self, template: nn.Module, optimizer: Optimizer, *, peers: int, matrices_transposed: bool = False
    ) -> None:
        """optimizer: of the template. Raises UsageError for models that are not float32 throughout.

        Each peer's part of a tensor lies in memory as in the template. matrices_transposed: except matrices.
        """
        self.peers = peers
        self._matrices_transposed = matrices_transposed
        self.flat = ModelBinding(template)
        self.template = template
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.groups: list[tuple[Tensor, list[str]]] = []
        """For each group of the optimizer all its parameters in one leaf, and their names. Peers come first in each
        parameter, parameters in the leaf: rules that treat all elements alike do not notice."""
        placed = {id(tensor): name for name, tensor in template.named_parameters()}
        for found in self.flat.tensors:
            if found.tensor.dtype != torch.float32:
                raise UsageError(f"The laboratory trains float32 models; {found.spec.name} is {found.spec.dtype}.")
            if not found.trained:
                self.buffers[found.spec.name] = found.tensor.expand(peers, *found.spec.shape).clone()
        for group in optimizer.param_groups:
            names = [placed[id(parameter)] for parameter in group["params"]]
            self.groups.append((self._stacked(group["params"], names), names))
        self.trained_elements = sum(len(found.place) for found in self.flat.tensors if found.trained)
        """The first so many columns of a matrix are parameters, the rest buffers."""

    @property
    def elements(self) -> int:
        """Columns of a matrix: the length of the model's flat vector."""
        return self.flat.elements

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.groups[0][0].device

    @torch.no_grad()
    def _stacked(self, originals: Sequence[Tensor], names: Sequence[str]) -> Tensor:
        elements = sum(original.numel() for original in originals)
        values = torch.empty(self.peers * elements, device=originals[0].device)
        values.grad = torch.zeros_like(values)
        start = 0
        for name, original in zip(names, originals, strict=True):
            place = slice(start, start + self.peers * original.numel())
            stacked = self._view(values[place], original)
            stacked.copy_(original)
            stacked.requires_grad_()
            stacked.grad = self._view(values.grad[place], original)
            self.parameters[name] = stacked
            start = place.stop
        return values

    def _view(self, memory: Tensor, original: Tensor) -> Tensor:
        """`memory` as [peers, *shape]."""
        transposed = self._matrices_transposed and original.ndim == 2
        strides = (1, original.shape[0]) if transposed else _dense_strides(original)
        return memory.as_strided((self.peers, *original.shape), (original.numel(), *strides), memory.storage_offset())

    def gradient(self, name: str) -> Tensor:
        """Where the gradient of a parameter is to be written: [peers, *shape]."""
        return _gradient(self.parameters[name])

    def zero_gradients(self) -> None:
        """For ways of finding gradients that add to what is there."""
        for values, _ in self.groups:
            assert values.grad is not None
            values.grad.zero_()

    @torch.no_grad()
    def clip_gradients(self, norm: float) -> None:
        """Shortens each peer's whole gradient to `norm`, by the rule of `torch.nn.utils.clip_grad_norm_`."""
        gradients = [_gradient(parameter) for parameter in self.parameters.values()]
        squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
        share = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(share.view(-1, *(1,) * (gradient.ndim - 1)))

    def row_of(self, peer: int) -> list[list[Tensor]]:
        """The parameters of one peer, as leaves with gradients in the same memory, by group of the optimizer."""
        found = []
        for _, names in self.groups:
            leaves = []
            for name in names:
                leaf = self.parameters[name].detach()[peer].requires_grad_()
                leaf.grad = _gradient(self.parameters[name])[peer]
                leaves.append(leaf)
            found.append(leaves)
        return found

    @torch.no_grad()
    def matrix(self) -> Tensor:
        """A copy of all values: [peers, elements]."""
        return torch.cat([self._of(placed).reshape(self.peers, -1) for placed in self.flat.tensors], dim=1)

    @torch.no_grad()
    def put(self, matrix: Tensor) -> None:
        """Replaces all values by those of a matrix [peers, elements]."""
        for placed in self.flat.tensors:
            own = self._of(placed)
            own.copy_(matrix[:, placed.place.start : placed.place.stop].view(own.shape))

    def _of(self, placed: BoundTensor) -> Tensor:
        return self.parameters[placed.spec.name] if placed.trained else self.buffers[placed.spec.name]


def _dense_strides(original: Tensor) -> tuple[int, ...]:
    """As `original` lies, channels last for example, if it has neither gaps nor overlaps."""
    return torch.empty_like(original, memory_format=torch.preserve_format).stride()


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
