"""The one public way in: `with gossip(model, optimizer, ...) as swarm:` around any PyTorch loop.

Owns the defaults of that call and how its arguments and the settings go together. Does not know what happens inside of
the `with` block: that is `membership`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings, checked
from gossiptrain.training.bus import EventBus
from gossiptrain.training.membership import Gossip
from gossiptrain.training.plan import Names

DEFAULT_EVERY_STEPS = 50


def gossip(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    run: str = "default",
    initial_peers: Sequence[str] = (),
    every_steps: int | None = None,
    every_seconds: float | None = None,
    settings: GossipSettings | None = None,
    network: NetworkSettings | None = None,
    task: str = "custom",
    take_state: bool = True,
    samples_per_step: int = 1,
    on_event: Callable[[events.Event], None] | None = None,
) -> Gossip:
    """Trains `model` together with the other peers of `run` for as long as the `with` block lasts.

        with gossip(model, optimizer, run="mine", initial_peers=[...], every_steps=50) as swarm:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()

    Averages with a small group of other peers every `every_steps` optimizer steps or `every_seconds` seconds, in the
    background. With `initial_peers` (multiaddrs with `/p2p/ID`, of any living peers) the model first takes over a
    living peer's parameters, unless `take_state` is false. At the end of the block it holds the merged parameters.

    settings, network: everything else; the arguments above go before them. task: a name that all peers of the run
    share, checked with the model's shape when peers meet. samples_per_step: weighs this peer's contribution against
    others with another batch size. on_event: called in the training thread with each event of `gossiptrain.events`.

    Raises UsageError and AddressError for wrong settings; entering the block raises PeerUnreachableError,
    RunMismatchError, PortInUseError, IdentityInUseError or NodeFailedError.
    """
    chosen = settings or GossipSettings()
    if every_steps is not None or every_seconds is not None:
        pace = {"every_steps": every_steps, "every_seconds": every_seconds}
        chosen = checked(GossipSettings, **{**chosen.model_dump(), **pace})
    connected = network or NetworkSettings()
    peers = tuple(initial_peers) or connected.initial_peers
    bus = EventBus()
    if on_event is not None:
        bus.subscribe(on_event)
    return Gossip(
        model,
        optimizer,
        names=Names(run, task),
        settings=chosen.settled(every_steps=DEFAULT_EVERY_STEPS),
        network=checked(NetworkSettings, **{**connected.model_dump(), "initial_peers": peers}),
        take_state=take_state,
        samples_per_step=samples_per_step,
        bus=bus,
    )
