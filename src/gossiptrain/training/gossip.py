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
from gossiptrain.errors import UsageError
from gossiptrain.training.bus import EventBus
from gossiptrain.training.membership import Gossip
from gossiptrain.training.plan import Names, planned

DEFAULT_EVERY_STEPS = 50


def gossip(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
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
    on_ready: Callable[[Gossip], None] | None = None,
) -> Gossip:
    """Trains `model` together with the other peers of `run` for as long as the `with` block lasts.

        with gossip(model, optimizer, run="mine", initial_peers=[...], every_steps=50) as swarm:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()

    Averages with a small group of other peers every `every_steps` optimizer steps or `every_seconds` seconds, in the
    background. With `initial_peers` (multiaddrs with `/p2p/ID`, of any living peers) the model first takes over a
    living peer's parameters, unless `take_state` is false; where all begin at the same moment they agree on whose. At
    the end of the block all that end within `settings.ending_time` of each other wait for each other and merge once
    more: then all hold the same parameters.

    model: may be compiled or wrapped, and may move to another device or precision at any time. Its trained parameters
    and its persistent floating-point buffers are averaged; other buffers are this peer's own. optimizer: where several
    train the model, a list of all of them. A step of the last one ends an inner step, however often the others have
    made one before; parameters change only then, so whatever still needs them as they were must be done before.

    settings, network: everything else; the arguments above go before them. task: a name that all peers of the run
    share, checked with the model's shape when peers meet. samples_per_step: weighs this peer's contribution against
    others with another batch size. on_event: called in the training thread with each event of `gossiptrain.events`.
    on_ready: called once this peer can be reached, before it has met the swarm; by default a `Started` event is told.

    Raises UsageError and AddressError for wrong settings and for models that cannot be averaged, UsageError also at a
    later step where the model has become another one (tensors that came, went, or are trained only now); entering the
    block raises PeerUnreachableError, RunMismatchError, PortInUseError, IdentityInUseError or NodeFailedError.
    """
    chosen = settings or GossipSettings()
    if every_steps is not None or every_seconds is not None:
        pace = {"every_steps": every_steps, "every_seconds": every_seconds}
        chosen = checked(GossipSettings, **{**chosen.model_dump(), **pace})
    connected = network or NetworkSettings()
    peers = tuple(initial_peers) or connected.initial_peers
    if samples_per_step < 1:
        raise UsageError(f"samples_per_step is at least 1, not {samples_per_step}.")
    joined = checked(NetworkSettings, **{**connected.model_dump(), "initial_peers": peers})
    names, settled = Names(run, task), chosen.settled(every_steps=DEFAULT_EVERY_STEPS)
    bus = EventBus()
    if on_event is not None:
        bus.subscribe(on_event)
    return Gossip(
        model,
        names=names,
        plan=planned(model, optimizer, names, settings=settled, network=joined, take_state=take_state),
        network=joined,
        samples_per_step=samples_per_step,
        bus=bus,
        on_ready=on_ready or _tell_started,
    )


def _tell_started(swarm: Gossip) -> None:
    first = next(swarm.model.parameters())
    swarm.bus.emit(
        events.Started(
            peer_id=swarm.peer_id,
            run=swarm.names.run,
            task=swarm.names.task,
            addresses=swarm.addresses,
            device=str(first.device),
            parameters=sum(parameter.numel() for parameter in swarm.model.parameters()),
            samples=0,
            first=not (swarm.network.initial_peers or swarm.network.known_peers),
        )
    )
