"""A swarm inside of a loop that somebody else has written.

Owns what all such loops have in common: when the swarm is entered and left, which arguments `gossip()` gets, what is
told of the end to come, and the figures that stand in the host's log. Does not know any host.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gossiptrain.integrations.processes import SeveralProcesses
from gossiptrain.training.gossip import gossip
from gossiptrain.training.membership import Gossip

TOLD_S = 1.0
"""Period in which others are told when the last step will be made."""


class HostedSwarm:
    """What a callback holds: the arguments of `gossip()`, and the swarm while it trains."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """arguments: of `gossip()`, without model and optimizer, which the host has only later."""
        self._arguments = dict(arguments)
        self._resumed: Mapping[str, Any] = {}
        self._began_s = self._told_s = 0.0
        self._done_at_first = 0
        self._processes: SeveralProcesses | None = None
        self.swarm: Gossip | None = None
        """The swarm while the host trains, and afterwards for what it may be asked then; None before, and in all but
        the first process of a peer that has several."""

    def resume(self, state: Mapping[str, Any]) -> None:
        """The next swarm goes on from what `state` has returned in an earlier run."""
        self._resumed = state

    def enter(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer], *, samples_per_step: int, done: int
    ) -> None:
        """Joins the swarm; where several processes train the model, the first of them does, and all take over what it
        holds. samples_per_step: of one process, where the arguments say nothing of it. done: steps that the host counts
        as made. Raises what `gossip()` and entering its block raise."""
        self.leave(orderly=False)  # A host whose training failed has perhaps told nobody.
        optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
        self._processes = processes = SeveralProcesses.of(model, optimizers)
        if processes is None:
            self._join(model, optimizers, samples_per_step=samples_per_step)
        else:
            samples_per_step *= processes.count
            processes.agree(lambda: self._join(model, optimizers, samples_per_step=samples_per_step))
            processes.follow(self._changes)
        self._began_s = self._told_s = time.monotonic()
        self._done_at_first = done

    def _join(self, model: nn.Module, optimizers: Sequence[Optimizer], *, samples_per_step: int) -> None:
        swarm = gossip(model, optimizers, **{"samples_per_step": samples_per_step, **self._arguments})
        if self._resumed:
            swarm.load_state_dict(self._resumed)
        self._resumed = {}
        self.swarm = swarm.__enter__()

    def leave(self, *, orderly: bool) -> None:
        """Leaves the swarm. orderly: after the last rounds with all that end as well, all processes at one moment; else
        at once."""
        processes, self._processes = self._processes, None
        if processes is not None:
            processes.end()
        if processes is not None and orderly:
            processes.agree(lambda: self._go(orderly=True))
        else:
            self._go(orderly=orderly)

    def _go(self, *, orderly: bool) -> None:
        if (swarm := self._entered) is not None:
            swarm.__exit__(None if orderly else RuntimeError, None, None)

    def _changes(self) -> int:
        """Another number whenever the swarm has changed the model, which after joining only rounds do."""
        return 0 if self.swarm is None else self.swarm.rounds

    @property
    def _entered(self) -> Gossip | None:
        """The swarm, where it has been entered and not left."""
        return self.swarm if self.swarm is not None and self.swarm.is_inside else None

    def state(self) -> dict[str, Any]:
        """What has to be kept beside model and optimizer; nothing where there is no swarm."""
        swarm = self._entered
        return {} if swarm is None else swarm.state_dict()

    def expect_end(self, *, done: int, of: int) -> None:
        """Lets others know, now and then, when the host will have made the last of its steps. of: how many; 0 or less
        where it does not know."""
        now_s = time.monotonic()
        swarm, since = self._entered, done - self._done_at_first
        if swarm is None or of <= 0 or since <= 0 or now_s - self._told_s < TOLD_S:
            return
        self._told_s = now_s
        swarm.expect_end(max(TOLD_S, (of - done) * (now_s - self._began_s) / since))

    def listen(self) -> None:
        """Where the host makes no steps for long, as in an evaluation."""
        if (swarm := self._entered) is not None:
            swarm.listen()

    def show_loss(self, loss: Any) -> None:
        """Shows others the training loss, as a number or a tensor of one value; anything else is passed over."""
        if (swarm := self._entered) is not None and isinstance(loss, int | float | Tensor):
            swarm.show_loss(float(loss))

    def figures(self) -> dict[str, float]:
        """For the host's log."""
        swarm = self._entered
        if swarm is None:
            return {}
        found = {
            "gossip/peers": float(swarm.peers),
            "gossip/rounds": float(swarm.rounds),
            "gossip/bytes_sent": float(swarm.bytes_sent),
        }
        if swarm.disagreement is not None:
            found["gossip/disagreement"] = swarm.disagreement
        return found
