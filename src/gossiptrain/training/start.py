"""How the command line's trainer comes into its swarm, and what is told of it once it can be joined.

Owns where in the run folder the peer keeps its key and the addresses of others. Does not train.
"""

from __future__ import annotations

from collections.abc import Callable

from gossiptrain import events
from gossiptrain.training.gossip import gossip
from gossiptrain.training.membership import Gossip
from gossiptrain.training.parts import Parts, TrainerInputs
from gossiptrain.training.runs.checkpointer import TrainingState


def swarm_of(
    inputs: TrainerInputs, parts: Parts, *, resumed: TrainingState, on_ready: Callable[[Gossip], None]
) -> Gossip:
    """The membership of a trainer, to be entered. resumed: where an earlier run has ended."""
    folder = inputs.folder
    identity = inputs.network.identity_path or str(folder.identity)
    network = inputs.network.model_copy(update={"identity_path": identity, "peers_path": str(folder.peers)})
    swarm = gossip(
        parts.model,
        parts.optimizer,
        run=parts.run_name,
        task=parts.task.description,
        settings=parts.gossip_settings,
        network=network,
        samples_per_step=parts.batch,
        on_event=inputs.bus.emit,
        on_ready=on_ready,
    )
    swarm.load_state_dict({"step": resumed.step, "outer": resumed.outer, "round_counts": resumed.round_counts})
    return swarm


def started(parts: Parts, swarm: Gossip | None) -> events.Started:
    """What is told of a peer that is up. swarm: None where it trains alone."""
    return events.Started(
        peer_id=swarm.peer_id if swarm else "alone",
        run=parts.run_name,
        task=parts.task.description,
        addresses=swarm.addresses if swarm else (),
        device=f"{parts.device} {parts.precision.precision}",
        parameters=parts.parameters,
        samples=parts.batches.samples,
        first=swarm is None or not (swarm.network.initial_peers or swarm.network.known_peers),
        steps=parts.total_steps,
    )
