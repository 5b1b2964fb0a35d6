"""Several checkpoints of one model as one: their mean, and how far they are apart.

Owns the arithmetic on whole state dicts. Does not know where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gossiptrain.errors import CheckpointMismatchError


@dataclass(frozen=True)
class Merged:
    """The mean of several state dicts; of integer tensors the first one's.

    disagreement: root mean square distance of all from the mean, relative to the root mean square of the mean.
    """

    state: dict[str, Tensor]
    disagreement: float


def merge(states: Sequence[dict[str, Tensor]]) -> Merged:
    """Merges state dicts of equal names and shapes. Raises CheckpointMismatchError where they are not."""
    first = states[0]
    for other in states[1:]:
        if {name: tensor.shape for name, tensor in first.items()} != {n: t.shape for n, t in other.items()}:
            raise CheckpointMismatchError("These checkpoints are of different models and cannot be merged.")
    mean: dict[str, Tensor] = {}
    squared_distance = squared_mean = 0.0
    for name, tensor in first.items():
        if not tensor.is_floating_point():
            mean[name] = tensor
            continue
        stacked = torch.stack([state[name].double() for state in states])
        middle = stacked.mean(dim=0)
        squared_distance += float((stacked - middle).square().sum())
        squared_mean += float(middle.square().sum())
        mean[name] = middle.to(tensor.dtype)
    disagreement = math.sqrt(squared_distance / len(states) / squared_mean) if squared_mean else 0.0
    return Merged(mean, disagreement)
