"""A real peer that learns nothing and writes down every state of its parameters: for `benchmarks.crashes.rounds`.

    python -m benchmarks.crashes.member FOLDER SEED [ADDRESS]

Each line of its standard output is a JSON object: its addresses, or a state by its digest with where it comes from.
Between rounds it changes its parameters by itself, so that no two rounds begin alike; a change that comes from nowhere
ends it with an error. Each state is saved as a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import torch

from gossiptrain import events, gossip
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter

ELEMENTS = 100_000
STEP_S = 0.02


def digest(values: torch.Tensor) -> str:
    """Of a state, bit by bit."""
    return hashlib.sha256(values.detach().numpy().tobytes()).hexdigest()[:32]


class Journal:
    """What is written down. Knows the state that the parameters have to have."""

    def __init__(self, values: torch.Tensor, checkpoints: CheckpointWriter, model: torch.nn.Module) -> None:
        self._values, self._checkpoints, self._model = values, checkpoints, model
        self._states = 0
        self._expected = ""

    def note(self, why: str, **more: object) -> None:
        """The parameters have a new state, for a reason that is known. Written down before it is saved."""
        self._states += 1
        self._expected = digest(self._values)
        print(json.dumps({"state": self._expected, "why": why, **more}), flush=True)
        self._checkpoints.save(self._model, None, state=RunState(task="own", fingerprint="own", step=self._states))

    def check(self) -> None:
        """Raises RuntimeError where the parameters are not as they were left."""
        if (found := digest(self._values)) != self._expected:
            raise RuntimeError(f"the parameters have changed from {self._expected} to {found}, and nobody says why")


def main(folder: Path, seed: int, initial_peers: list[str]) -> None:
    """Trains until it is ended."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(ELEMENTS, 1, bias=False)
    values = model.weight
    journal = Journal(values, CheckpointWriter(folder / "checkpoints"), model)

    def change() -> None:
        with torch.no_grad():
            values.add_(torch.randn(values.shape, generator=generator))
        journal.note("own")

    def heard(event: events.Event) -> None:
        if isinstance(event, events.RoundCommitted):
            journal.note("round", round=event.round, members=list(event.members))
            # At once: the next snapshot may be taken in this very step.
            change()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gossip(
        model,
        optimizer,
        run="crashes",
        initial_peers=initial_peers,
        # A round after every step, which is waited for: of a late average only a part would be taken.
        settings=GossipSettings(strategy="sync"),
        # With a key, so that it stays the same peer when its node is replaced.
        network=NetworkSettings(
            host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local", identity_path=str(folder / "identity.key")
        ),
        on_event=heard,
    ) as swarm:
        print(json.dumps({"addresses": swarm.addresses, "peer_id": swarm.peer_id}), flush=True)
        journal.note("joined")
        change()
        while True:
            optimizer.zero_grad()
            values.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            journal.check()
            time.sleep(STEP_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
