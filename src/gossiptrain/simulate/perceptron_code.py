"""What perceptrons do in a step, as functions of tensors that need no Python while they run.

Owns the arithmetic of both passes and of SGD. Does not know whose tensors they are.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def without_lock(function: FunctionT) -> FunctionT:
    """Compiles a function of tensors by TorchScript, whose calls do not hold the interpreter's lock, so that threads do
    not wait for each other. It is deprecated; for interpreters that it does not know plain calls do the same."""
    if sys.version_info >= (3, 14):
        return function
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(function)  # type: ignore[no-any-return]


@without_lock
def activate(output: Tensor, bias: Tensor, rectify: bool) -> None:
    """What follows the product of a layer."""
    output.add_(bias)
    if rectify:
        output.relu_()


@without_lock
def answer(logits: Tensor, targets: Tensor, delta: Tensor, label_smoothing: float) -> Tensor:
    """logits [peers, batch, classes], which are changed, to the mean loss of each peer; `delta` is its gradient."""
    # Written out: for few classes torch's own softmax takes three times as long.
    right = targets.unsqueeze(2)
    logits.sub_(logits.amax(2, True))
    total = torch.exp(logits, out=delta).sum(2, True)
    delta.div_(total)
    told = logits.gather(2, right)
    if label_smoothing > 0.0:
        told = told.mul_(1.0 - label_smoothing).add_(logits.mean(2, True), alpha=label_smoothing)
        delta.sub_(label_smoothing / logits.size(2))
    delta.scatter_add_(2, right, torch.full_like(told, label_smoothing - 1.0)).mul_(1.0 / logits.size(1))
    return total.log_().sub_(told).mean([1, 2])


@without_lock
def hold_back(delta: Tensor, output: Tensor) -> None:
    """What a rectifier held back is 0 and learns nothing; what it let through is positive."""
    delta.mul_(output.sign())


@without_lock
def both_passes(
    inputs: Tensor,
    targets: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    weight_gradients: list[Tensor],
    bias_gradients: list[Tensor],
    outputs: list[Tensor],
    deltas: list[Tensor],
    label_smoothing: float,
) -> Tensor:
    """All of a step in one call; see `Perceptrons`."""
    last = len(weights) - 1
    entering = inputs
    for layer in range(len(weights)):
        torch.bmm(entering, weights[layer], out=outputs[layer])
        activate(outputs[layer], biases[layer], layer < last)
        entering = outputs[layer]
    losses = answer(outputs[last], targets, deltas[last], label_smoothing)
    for layer in range(last, -1, -1):
        entered = outputs[layer - 1] if layer > 0 else inputs
        torch.bmm(entered.transpose(1, 2), deltas[layer], out=weight_gradients[layer])
        torch.sum(deltas[layer], dim=[1], out=bias_gradients[layer])
        if layer > 0:
            torch.bmm(deltas[layer], weights[layer].transpose(1, 2), out=deltas[layer - 1])
            hold_back(deltas[layer - 1], entered)
    return losses


@without_lock
def sgd_stretch(
    inputs: Tensor,
    targets: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    weight_gradients: list[Tensor],
    bias_gradients: list[Tensor],
    outputs: list[Tensor],
    deltas: list[Tensor],
    label_smoothing: float,
    values: list[list[Tensor]],
    gradients: list[list[Tensor]],
    momenta: list[list[Tensor]],
    rates: list[list[float]],
    momentum: float,
    weight_decays: list[float],
    nesterov: bool,
) -> Tensor:
    """Several steps in one call: inputs, targets [steps, peers, batch, ...] to losses [steps, peers].

    values, gradients, momenta, weight_decays: of each group of parameters. rates: of each step for each group. The step
    of SGD is that of `torch.optim.SGD(fused=True)`. Momenta begin as zeros.
    """
    losses: list[Tensor] = []
    for step in range(inputs.size(0)):
        losses.append(
            both_passes(
                inputs[step],
                targets[step],
                weights,
                biases,
                weight_gradients,
                bias_gradients,
                outputs,
                deltas,
                label_smoothing,
            )
        )
        for group in range(len(values)):
            torch._fused_sgd_(
                values[group],
                gradients[group],
                momenta[group],
                weight_decay=weight_decays[group],
                momentum=momentum,
                lr=rates[step][group],
                dampening=0.0,
                nesterov=nesterov,
                maximize=False,
                is_first_step=False,
            )
    return torch.stack(losses)
