"""The gradients of many perceptrons at once, written out as batched matrix products.

Owns forward and backward pass of linear layers with rectifiers between them under cross-entropy. In small networks most
of a step is not arithmetic but calls: here they are fewest, and results go straight to where they are needed. Does not
know optimizers and peers' data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from gossiptrain.simulate.perceptron_code import activate, answer, both_passes, hold_back, sgd_stretch
from gossiptrain.simulate.stack import Stack

FEW_PEERS = 11
"""With so many at a time calls no longer take most of the time, and their tensors still fit in a core's cache."""
MANY_PEERS = 16
"""From here on numpy pays, on processors on which it multiplies faster than torch."""
SMALL_PRODUCT = 64**3
"""Multiplications in a product of two matrices up to which numpy's library uses one thread, whatever it is told."""


@functools.cache
def numpy_multiplies_faster() -> bool:
    """Whether it does so with small matrices on this computer: torch's library knows Intel's processors, and on AMD's
    took more than twice as long as numpy's."""
    information = Path("/proc/cpuinfo")
    return information.exists() and "AuthenticAMD" in information.read_text()


def shards_for(peers: int, *, threads: int) -> int:
    """Into how many parts, each a stack of its own, to divide the peers whom so many threads train, one part after the
    other."""
    if numpy_multiplies_faster() and peers >= MANY_PEERS * threads:
        return threads
    return threads * math.ceil(peers / threads / FEW_PEERS)


class StackedSgd:
    """The state of an SGD that steps for all peers of a stack, outside of its optimizer."""

    def __init__(self, stack: Stack, optimizer: SGD) -> None:
        self.values = [[values.detach()] for values, _ in stack.groups]
        self.gradients = [[values.grad] for values, _ in stack.groups if values.grad is not None]
        self.momenta = [[torch.zeros_like(values)] for (values,) in self.values]
        self.weight_decays = [float(group["weight_decay"]) for group in optimizer.param_groups]
        self.momentum = float(optimizer.param_groups[0]["momentum"])
        self.nesterov = bool(optimizer.param_groups[0]["nesterov"])

    @classmethod
    def of(cls, stack: Stack, optimizer: Optimizer) -> Self | None:
        """None where the optimizer does more than `sgd_stretch`, or has no momentum, which that needs."""
        if type(optimizer) is not SGD or not all(group["momentum"] for group in optimizer.param_groups):
            return None
        names = ("momentum", "nesterov", "dampening", "maximize")
        rules = {tuple(group[name] for name in names) for group in optimizer.param_groups}
        if len(rules) > 1 or any(group["dampening"] or group["maximize"] for group in optimizer.param_groups):
            return None
        return cls(stack, optimizer)


def are_perceptrons(model: nn.Module) -> bool:
    """Whether models like this one can be trained by `Perceptrons`."""
    if not isinstance(model, nn.Sequential) or type(model) is not nn.Sequential or len(model) % 2 == 0:
        return False
    linear, between = list(model)[::2], list(model)[1::2]
    if {type(module) for module in linear} != {nn.Linear} or {type(module) for module in between} - {nn.ReLU}:
        return False
    learns = all(parameter.requires_grad for parameter in model.parameters())
    return learns and all(module.bias is not None for module in linear)


class Perceptrons:
    """All peers' networks Linear, ReLU, Linear, ..., Linear, each layer with a bias.

    Where products are many and small numpy multiplies, on processors on which it does so faster. It is fastest where
    weights are [inputs, outputs] in memory, so matrices should be transposed in the stack.
    """

    models: Sequence[nn.Module] = ()
    """None finds these gradients; and nothing is normalised here."""

    def __init__(self, stack: Stack, layers: list[tuple[str, str]], *, label_smoothing: float) -> None:
        """layers: names of weight and bias, first to last. Use `of`."""
        self._weights = [stack.parameters[weight].detach().transpose(1, 2) for weight, _ in layers]
        self._biases = [stack.parameters[bias].detach().unsqueeze(1) for _, bias in layers]
        self._weight_gradients = [stack.gradient(weight).transpose(1, 2) for weight, _ in layers]
        self._bias_gradients = [stack.gradient(bias) for _, bias in layers]
        self._label_smoothing = label_smoothing
        self._by_numpy = stack.device.type == "cpu" and stack.peers >= MANY_PEERS and numpy_multiplies_faster()
        self._outputs: list[Tensor] = []
        self._deltas: list[Tensor] = []

    @classmethod
    def of(cls, stack: Stack, *, label_smoothing: float) -> Self:
        """For a stack of models that are `are_perceptrons`."""
        names = [name for name, _ in stack.template.named_children()][::2]
        layers = [(f"{name}.weight", f"{name}.bias") for name in names]
        return cls(stack, layers, label_smoothing=label_smoothing)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, targets: Tensor, moving: Sequence[bool]) -> Tensor:
        """inputs [peers, batch, features], targets [peers, batch] to the mean loss of each peer; writes the gradients,
        also of those that do not move."""
        self._make_room(inputs)
        if self._by_numpy and inputs.shape[1] * max(weight[0].numel() for weight in self._weights) <= SMALL_PRODUCT:
            return self._both_passes_by_numpy(inputs, targets)
        return both_passes(
            inputs,
            targets,
            self._weights,
            self._biases,
            self._weight_gradients,
            self._bias_gradients,
            self._outputs,
            self._deltas,
            self._label_smoothing,
        )

    @torch.no_grad()
    def stretch(self, inputs: Tensor, targets: Tensor, sgd: StackedSgd, rates: list[list[float]]) -> Tensor:
        """Several steps of everyone in one call: inputs, targets [steps, peers, batch, ...] to losses [steps, peers].

        rates: of each step for each group of `sgd`.
        """
        self._make_room(inputs[0])
        return sgd_stretch(
            inputs,
            targets,
            self._weights,
            self._biases,
            self._weight_gradients,
            self._bias_gradients,
            self._outputs,
            self._deltas,
            self._label_smoothing,
            sgd.values,
            sgd.gradients,
            sgd.momenta,
            rates,
            sgd.momentum,
            sgd.weight_decays,
            sgd.nesterov,
        )

    @property
    def in_stretches(self) -> bool:
        """Whether several steps should be one call."""
        return not self._by_numpy

    def _make_room(self, inputs: Tensor) -> None:
        peers, batch = inputs.shape[:2]
        if not self._outputs or self._outputs[0].shape[1] != batch:
            self._outputs = [inputs.new_empty(peers, batch, weight.shape[2]) for weight in self._weights]
            self._deltas = [torch.empty_like(output) for output in self._outputs]

    def _both_passes_by_numpy(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """As `both_passes`."""
        last = len(self._weights) - 1
        entering = [inputs, *self._outputs]
        for layer, output in enumerate(self._outputs):
            _multiply(entering[layer], self._weights[layer], out=output)
            activate(output, self._biases[layer], layer < last)
        losses = answer(self._outputs[last], targets, self._deltas[last], self._label_smoothing)
        for layer in range(last, -1, -1):
            delta = self._deltas[layer]
            _multiply(entering[layer].transpose(1, 2), delta, out=self._weight_gradients[layer])
            torch.sum(delta, dim=1, out=self._bias_gradients[layer])
            if layer:
                # Its library is slowest where of two factors only the right one is transposed.
                turned = delta.transpose(1, 2).contiguous().transpose(1, 2)
                _multiply(turned, self._weights[layer].transpose(1, 2), out=self._deltas[layer - 1])
                hold_back(self._deltas[layer - 1], entering[layer])
        return losses


def _multiply(left: Tensor, right: Tensor, *, out: Tensor) -> None:
    np.matmul(left.numpy(), right.numpy(), out=out.numpy())
