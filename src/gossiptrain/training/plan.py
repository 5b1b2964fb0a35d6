"""What a membership in a swarm is made of, checked before any process is started.

Owns what must be right of names and addresses, and what follows from model and settings: the rule, and what the node is
started with. Does not know how the membership goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, CommonSettings, RunFingerprint
from gossiptrain.errors import UsageError
from gossiptrain.net.addresses import check_addresses
from gossiptrain.node.handle import NodeLaunch
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.replica import kept_vectors
from gossiptrain.training.model.strategies import Strategy
from gossiptrain.training.model.strategy_choice import fitted, strategy_for

MAX_NAME_CHARS = 200


@dataclass(frozen=True)
class Names:
    """What the peers of a run must have in common: its name, and that of what is learnt."""

    run: str
    task: str


@dataclass(frozen=True)
class Plan:
    """A membership that may begin.

    optimizers: at least one; an inner step is over when the last of them has made its own. settings: with what the
    strategy says where nothing was said.
    """

    binding: ModelBinding
    optimizers: tuple[Optimizer, ...]
    strategy: Strategy
    settings: GossipSettings
    launch: NodeLaunch


def planned(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer],
    names: Names,
    *,
    settings: GossipSettings,
    network: NetworkSettings,
    take_state: bool,
) -> Plan:
    """take_state: whether to begin with a living peer's parameters. Raises UsageError, AddressError."""
    check_addresses(network)
    if not 1 <= len(names.run) <= MAX_NAME_CHARS or len(names.task) > MAX_NAME_CHARS:
        raise UsageError(f"The names of run and task have 1 to {MAX_NAME_CHARS} characters.")
    strategy = strategy_for(settings)
    settings = fitted(settings, strategy)
    optimizers = _as_sequence(optimizer)
    binding = ModelBinding(model, optimizers)
    launch = NodeLaunch(
        RunFingerprint(
            PROTOCOL_VERSION,
            names.run,
            names.task,
            binding.digest,
            binding.elements,
            strategy.summary,
            CommonSettings.of(settings),
        ),
        settings,
        network,
        # What stands in the file of known peers is seen by the handle, which does not ask where it is empty.
        take_state and bool(network.initial_peers or network.known_peers or network.peers_path),
        state_vectors=kept_vectors(strategy),
        weighs_average=strategy.weighs_average,
        average_is_state=strategy.average_is_state,
    )
    return Plan(binding, optimizers, strategy, settings, launch)


def _as_sequence(optimizer: Optimizer | Sequence[Optimizer]) -> tuple[Optimizer, ...]:
    optimizers = (optimizer,) if isinstance(optimizer, Optimizer) else tuple(optimizer)
    if not optimizers or not all(isinstance(each, Optimizer) for each in optimizers):
        raise UsageError(
            "gossip() was given no optimizer of torch.optim.",
            remedy="Give it the optimizer, or a list of all of them, the one that steps last at the end.",
        )
    return optimizers
