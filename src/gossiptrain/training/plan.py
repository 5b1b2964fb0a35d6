"""What a membership in a swarm is made of, checked before any process is started.

Owns what must be right of names and addresses, and what follows from model and settings: the rule, and what the node is
started with. Does not know how the membership goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.core.flattening import FlatModel
from gossiptrain.core.strategies import Strategy
from gossiptrain.core.strategy_choice import fitted, strategy_for
from gossiptrain.errors import UsageError
from gossiptrain.net.addresses import check_addresses
from gossiptrain.node.handle import NodeLaunch
from gossiptrain.training.replica import kept_vectors

MAX_NAME_CHARS = 200


@dataclass(frozen=True)
class Names:
    """What the peers of a run must have in common: its name, and that of what is learnt."""

    run: str
    task: str


@dataclass(frozen=True)
class Plan:
    """A membership that may begin. settings: with what the strategy says where nothing was said."""

    flat: FlatModel
    strategy: Strategy
    settings: GossipSettings
    launch: NodeLaunch


def planned(
    model: nn.Module, names: Names, *, settings: GossipSettings, network: NetworkSettings, take_state: bool
) -> Plan:
    """take_state: whether to begin with a living peer's parameters. Raises UsageError, AddressError."""
    check_addresses(network)
    if not 1 <= len(names.run) <= MAX_NAME_CHARS or len(names.task) > MAX_NAME_CHARS:
        raise UsageError(f"The names of run and task have 1 to {MAX_NAME_CHARS} characters.")
    strategy = strategy_for(settings)
    settings = fitted(settings, strategy)
    flat = FlatModel(model)
    launch = NodeLaunch(
        RunFingerprint(PROTOCOL_VERSION, names.run, names.task, flat.digest, flat.elements, strategy.summary),
        settings,
        network,
        # What stands in the file of known peers is seen by the handle, which does not ask where it is empty.
        take_state and bool(network.initial_peers or network.known_peers or network.peers_path),
        state_vectors=kept_vectors(strategy),
        weighs_average=strategy.weighs_average,
    )
    return Plan(flat, strategy, settings, launch)
