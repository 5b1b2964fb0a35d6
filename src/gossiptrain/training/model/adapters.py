"""Low-rank adapters (LoRA): pairs of matrices of which only the product means anything.

Owns which tensors of a model are such pairs, and what averaging both apart costs. Does not know what a round is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gossiptrain.core.averaging import Vector
from gossiptrain.training.model.binding import BoundTensor

FIRST, SECOND = "lora_A", "lora_B"
"""By these words PEFT names the two: the second, of out x rank, times the first, of rank x in, is added to a weight."""


class AdapterPairs:
    """The pairs of a model whose tensors are averaged."""

    def __init__(self, tensors: Sequence[BoundTensor]) -> None:
        by_name = {bound.spec.name: bound for bound in tensors if len(bound.spec.shape) == 2}
        self._pairs = [
            (bound, by_name[name.replace(FIRST, SECOND)])
            for name, bound in by_name.items()
            if FIRST in name and name.replace(FIRST, SECOND) in by_name
        ]

    def __len__(self) -> int:
        return len(self._pairs)

    @torch.no_grad()
    def bilinear_error(self, snapshot: Vector, average: Vector) -> float | None:
        """How far the product of the averages is from the average of the products, as this peer's share of it tells.

        |(B_i - B)(A_i - A)| / |B A| in Frobenius norms over all pairs, for this peer's A_i and B_i and the averages A
        and B: mean(B_i A_i) - B A is the mean of such terms over the members (Singhal et al., FedEx-LoRA,
        arXiv:2410.09432). snapshot, average: flat vectors of the whole model. None where the products are zero.
        """
        own, mean = torch.from_numpy(snapshot), torch.from_numpy(average)
        error = size = 0.0
        for first, second in self._pairs:
            a, b = first.view(mean), second.view(mean)
            error += _squared_norm_of_product(second.view(own) - b, first.view(own) - a)
            size += _squared_norm_of_product(b, a)
        return float((error / size) ** 0.5) if size > 0.0 else None


def _squared_norm_of_product(left: Tensor, right: Tensor) -> float:
    """Of the Frobenius norm, by rank x rank products: tr(R' L' L R) is the sum over (L' L) * (R R')."""
    return max(0.0, float(((left.T @ left).double() * (right @ right.T).double()).sum()))
