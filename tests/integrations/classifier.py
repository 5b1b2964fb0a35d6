"""A small problem that peers learn in the loops of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ModelT = TypeVar("ModelT", bound=nn.Module)

INPUTS = torch.randn(64, 8, generator=torch.Generator().manual_seed(7))
TARGETS = (INPUTS.sum(dim=1) > 0).long()


def seeded(make: Callable[[], ModelT], seed: int) -> ModelT:
    """A model whose first parameters follow from the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def parameters_of(model: Any) -> Tensor:
    """All of them, one after the other."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
