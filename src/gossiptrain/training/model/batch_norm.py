"""The running statistics of batch normalisation, where several peers learn one model.

Owns their estimation anew for a merged model: means and variances of the activations were collected while each peer's
parameters were others, so they do not fit the merged ones (Izmailov et al. 2018 found the same for averages over time).
Owns their end, too, for peers with unlike data, whose own batches then no longer sway what they learn. Does not know
where batches come from, nor rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_running_statistics(model: nn.Module) -> bool:
    """Whether the model has layers that collect statistics while it is trained."""
    return bool(_layers_of(model))


class FixedStatistics:
    """From a step on, layers go by their running statistics in training, too, and collect none (Zhong et al. 2023).

    In rounds these are averaged like all buffers, so all peers soon normalise alike. Scales and shifts go on learning.
    """

    def __init__(self, models: Iterable[nn.Module], *, share: float | None, total_steps: int) -> None:
        """models: those that take the steps. share: of all steps, after which they are fixed; None: never."""
        self._from_step = math.inf if share is None else share * total_steps
        self._layers = [layer for model in models for layer in _layers_of(model)]

    def are_fixed(self, step: int) -> bool:
        """Whether a model that has come to this step has statistics that stay as they are."""
        return bool(self._layers) and step >= self._from_step

    def prepare(self, step: int) -> None:
        """Before each step: an evaluation in between may have had layers collect again."""
        if step >= self._from_step:
            for layer in self._layers:
                layer.training = False


def _layers_of(model: nn.Module) -> list[_BatchNorm]:
    """Those that collect statistics while the model is trained."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


@torch.no_grad()
def estimate_running_statistics(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Replaces the running statistics by those over `inputs`, batches of equal weight; nothing else changes.

    Where there are no inputs the old statistics are lost. Where an input or the model raises, nothing has changed.
    """
    layers = _layers_of(model)
    momenta = [layer.momentum for layer in layers]
    training = {module: module.training for module in model.modules()}
    before = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    model.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch then takes the mean over all batches
            layer.train()
        for batch in inputs:
            model(batch)
    except BaseException:
        for buffer, values in before:
            buffer.copy_(values)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in training.items():
            module.training = mode
