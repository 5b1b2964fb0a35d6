"""Several processes that train one model together, with DDP, as one peer.

Owns what they say to each other: only the first of them takes part in the swarm, and all hold what it holds after each
step of the optimizer. Does not know the swarm, nor how the processes were started. A model whose parameters are cut
among the processes, as by FSDP, cannot be shared like this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from gossiptrain.errors import GossipError, UsageError
from gossiptrain.training.gossip import unwrapped

FIRST = 0


class SeveralProcesses:
    """This process among those of its peer. All of them call the same of its methods in the same order."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        """optimizer: after whose steps the processes agree. Raises UsageError for a model that is cut among them."""
        if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
            raise UsageError(
                "The parameters of this model are cut among several processes, as FSDP does it.",
                cause="A peer of several processes needs the whole model in each of them.",
                remedy="Use DistributedDataParallel, or let each process be a peer of its own.",
            )
        self._model = model
        self._optimizer = optimizer
        self._changes: Callable[[], int] = lambda: 0
        self._seen = 0
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    @classmethod
    def of(cls, model: nn.Module, optimizers: Sequence[Optimizer]) -> Self | None:
        """None where this process trains the model alone."""
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() < 2:
            return None
        return cls(model, unwrapped(optimizers[-1]))

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that takes part in the swarm."""
        return dist.get_rank() == FIRST

    @property
    def count(self) -> int:
        """How many there are."""
        return dist.get_world_size()

    def agree(self, act: Callable[[], None]) -> None:
        """Has the first process do something that may change the model, and all take over what it holds then.

        Raises in the first process what `act` raises, and GossipError in the others.
        """
        try:
            if self.is_first:
                act()
        except BaseException:
            self._told(1)
            raise
        if self._told(0):
            raise GossipError(
                "The first process of this peer could not go on.",
                cause="Its own message says why.",
                remedy="Look at the output of the process with rank 0.",
            )
        self._share()

    def follow(self, changes: Callable[[], int]) -> None:
        """From now on all take over the model after each step in which it was changed.

        changes: asked in the first process alone after each step; another number where the swarm has changed the model.
        """
        self._changes, self._seen = changes, changes() if self.is_first else 0
        # The hook of the swarm in the first process was there before this one, and so has done its work.
        self._hook = self._optimizer.register_step_post_hook(self._after_step)

    def end(self) -> None:
        """They agree on nothing any more."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _after_step(self, *_told_by_the_optimizer: object) -> None:
        changes = self._changes() if self.is_first else 0
        if self._told(int(changes != self._seen)):
            self._share()
        self._seen = changes

    def _told(self, number: int) -> int:
        """What the first process says, in all of them."""
        told = torch.tensor([number], device=next(self._model.parameters()).device)
        dist.broadcast(told, FIRST)
        return int(told.item())

    @torch.no_grad()
    def _share(self) -> None:
        for tensor in self._tensors():
            dist.broadcast(tensor.data, FIRST)

    def _tensors(self) -> list[Tensor]:
        """All that averaging may change: trained parameters, and statistics such as those of batch normalisation."""
        trained: list[Tensor] = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        return trained + [buffer for buffer in self._model.buffers() if buffer.is_floating_point()]
