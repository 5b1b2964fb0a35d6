"""The gradients of all peers in one step.

Owns the three ways of finding them and which of them suits a model. All write into the stack's gradients and give the
loss of each peer. Does not know optimizers and peers' data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from gossiptrain.simulate.perceptron import Perceptrons, are_perceptrons
from gossiptrain.simulate.stack import Stack
from gossiptrain.training.tasks.batches import Batch
from gossiptrain.training.tasks.task import Task


class Gradients(Protocol):
    """A way of finding gradients.

    models: those that find them, whose layers say how they normalise.
    """

    @property
    def models(self) -> Sequence[nn.Module]: ...

    def __call__(self, inputs: Tensor, targets: Tensor, moving: Sequence[bool]) -> Tensor:
        """inputs, targets [peers, batch, ...] to the mean training loss of each peer [peers], without a gradient.

        moving: who takes this step; of others loss and gradient may be anything.
        """


def has_manual_backward(model: nn.Module, task: Task) -> bool:
    """Whether `perceptron` has a backward pass by hand for this model, the fastest way."""
    return type(task).loss is Task.loss and are_perceptrons(model)


def gradients_for(stack: Stack, task: Task) -> Gradients:
    """The fastest way for this model and device."""
    if has_manual_backward(stack.template, task):
        return Perceptrons.of(stack, label_smoothing=task.recipe.label_smoothing)
    # Under vmap convolutions become grouped ones, for which CPUs have no good code. GPUs want few and large calls.
    return Sequential(stack, task) if stack.device.type == "cpu" else Vmapped(stack, task)


class Sequential:
    """One peer after the other, each with a model whose tensors are its row of the stack."""

    def __init__(self, stack: Stack, task: Task) -> None:
        self._stack = stack
        self._task = task
        self.models = [self._model_of(peer) for peer in range(stack.peers)]

    def _model_of(self, peer: int) -> nn.Module:
        model = copy.deepcopy(self._stack.template).train()
        for name, parameter in model.named_parameters():
            if name in self._stack.parameters:
                parameter.data = self._stack.parameters[name].detach()[peer]
                parameter.grad = self._stack.gradient(name)[peer]
        for name, buffer in model.named_buffers():
            if name in self._stack.buffers:
                buffer.data = self._stack.buffers[name][peer]
        return model

    def __call__(self, inputs: Tensor, targets: Tensor, moving: Sequence[bool]) -> Tensor:
        """See `Gradients`."""
        self._stack.zero_gradients()
        losses = inputs.new_zeros(self._stack.peers, dtype=torch.float32)
        for peer, model in enumerate(self.models):
            if moving[peer]:
                loss = self._task.loss(model, Batch(inputs[peer], targets[peer]))
                loss.backward()  # type: ignore[no-untyped-call]
                losses[peer] = loss.detach()
        return losses


class Vmapped:
    """All peers in one call of each operation, by `torch.func.vmap`."""

    def __init__(self, stack: Stack, task: Task) -> None:
        self._stack = stack
        self._template = stack.template.train()
        self.models = (self._template,)
        self._task = task
        self._losses: Callable[..., Tensor] = vmap(self._loss, randomness="different")

    def _loss(self, tensors: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        model = _Standing(self._template, tensors)
        return self._task.loss(model, Batch(inputs, targets))

    def __call__(self, inputs: Tensor, targets: Tensor, moving: Sequence[bool]) -> Tensor:
        """See `Gradients`."""
        stack = self._stack
        stack.zero_gradients()
        losses = self._losses({**stack.parameters, **stack.buffers}, inputs, targets)
        # Each loss depends on one peer's parameters alone, so the sum gives each peer its own gradient.
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()


class _Standing(nn.Module):
    """A model with other tensors in the place of its own."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self._model = (model,)  # not as a part of this one
        self._tensors = tensors

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = functional_call(self._model[0], self._tensors, (inputs,))
        return answer
