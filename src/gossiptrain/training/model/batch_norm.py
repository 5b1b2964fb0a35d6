"""The running statistics of a merged model.

Owns their estimation anew: means and variances of the activations were collected while each peer's parameters were
others, so they do not fit the merged ones (Izmailov et al. 2018 found the same for averages over time). Does not know
where the batches come from.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_running_statistics(model: nn.Module) -> bool:
    """Whether the model has layers that collect statistics while it is trained."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules())


@torch.no_grad()
def estimate_running_statistics(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Replaces the running statistics by those over `inputs`, batches of equal weight; nothing else changes.

    Where there are no inputs the old statistics are lost. Where an input or the model raises, nothing has changed.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
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
