"""Whether rounds are right where the model is on a GPU.

Two swarms of two peers, one after the other in this process. In each, the model of one peer is on the device and that
of the other on the CPU; all parameters of a model have one value, which after each round must be one again, between the
two that they began with, and at the end the same in both. On the way the model on the device goes to the CPU and back.
Then shared memory is locked, copied through and closed over and over, because the next one often lies at the addresses
of the one before. Owns these checks. Does not know how long anything takes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from benchmarks.gpu.figures import Figure, Place, run_part
from gossiptrain import Gossip, GossipSettings, NetworkSettings, events, gossip
from gossiptrain.node.memory import SharedVectors
from gossiptrain.training.model.host_copies import HostCopies

LOCAL = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local")
ELEMENTS = 1_000_003
"""No whole number of pages, so that the two vectors of the shared memory meet within one."""
SIDE = 512
"""Of the matrices that keep the device busy."""
ROUNDS = 3
"""On each device."""
LONGEST_S = 120.0
MEMORIES = 8


def measure(place: Place) -> Iterator[Figure]:
    """All checks: how many values of each were wrong, which has to be none."""
    for strategy in ("average",) if place.is_small else ("average", "step-mix"):
        wrong = _check_swarm(place.device, strategy, rounds=1 if place.is_small else ROUNDS)
        yield _told(f"{strategy}, values after rounds", wrong)
    yield _told(f"copies through {MEMORIES} memories", _check_memories(place.device))


def _told(what: str, wrong: list[str]) -> Figure:
    for text in wrong:
        print(f"WRONG: {text}")
    return Figure(what, len(wrong), "wrong", holds=not wrong)


class Peer:
    """A model of one value, an optimizer whose steps change nothing, and a note of what each round made of it."""

    def __init__(self, value: float, device: torch.device, settings: GossipSettings) -> None:
        self.model = nn.Linear(ELEMENTS, 1, bias=False).to(device)
        nn.init.constant_(self.model.weight, value)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
        self.settings = settings
        self.after_rounds: list[set[float]] = []

    def swarm(self, initial_peers: Sequence[str] = ()) -> Gossip:
        """Its membership."""
        return gossip(
            self.model,
            self.optimizer,
            run="gpu values",
            initial_peers=initial_peers,
            settings=self.settings,
            network=LOCAL,
            take_state=False,
            on_event=self._note,
        )

    def values(self) -> set[float]:
        """The different ones that the model holds."""
        return set(self.model.weight.detach().flatten().tolist())

    def step(self) -> None:
        """One inner step, with some work for the device beside it."""
        busy = torch.ones(SIDE, SIDE, device=self.model.weight.device)
        torch.mm(busy, busy)
        self.optimizer.step()

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.RoundCommitted):
            self.after_rounds.append(self.values())


def _check_swarm(device: torch.device, strategy: str, *, rounds: int) -> list[str]:
    """Whether both peers hold one value after each round, and the same at the end."""
    settings = GossipSettings.model_validate({"strategy": strategy, "every_seconds": 0.3})
    one, other = Peer(1.0, device, settings), Peer(3.0, torch.device("cpu"), settings)
    has_ended = threading.Event()
    wrong: list[str] = []
    with one.swarm() as swarm:
        thread = threading.Thread(target=_follow, args=(other, swarm.addresses[0], has_ended))
        thread.start()
        for place in (device, torch.device("cpu"), device):
            one.model.to(place)
            wanted = swarm.rounds + rounds
            deadline_s = time.monotonic() + LONGEST_S
            while swarm.rounds < wanted and time.monotonic() < deadline_s:
                one.step()
            if swarm.rounds < wanted:
                wrong.append(f"{strategy}: no {rounds} rounds in {LONGEST_S:.0f} s with the model on {place}")
    has_ended.set()
    thread.join()
    for name, peer in (("on the device", one), ("on the CPU", other)):
        for number, values in enumerate(peer.after_rounds, start=1):
            if len(values) != 1 or not 1.0 < min(values) < 3.0:
                wrong.append(f"{strategy}: after round {number} the peer {name} holds {_few(values)}")
    if one.values() != other.values():
        wrong.append(f"{strategy}: at the end the peers hold {_few(one.values())} and {_few(other.values())}")
    print(f"{strategy}: {len(one.after_rounds)} and {len(other.after_rounds)} rounds")
    return wrong


def _few(values: set[float]) -> str:
    return f"{len(values)} values from {min(values):.7g} to {max(values):.7g}"


def _follow(peer: Peer, address: str, has_ended: threading.Event) -> None:
    """The life of the second peer, in a thread."""
    with peer.swarm([address]):
        while not has_ended.is_set():
            peer.step()
            time.sleep(0.002)


def _check_memories(device: torch.device) -> list[str]:
    """Whether copies reach the memory of now, and not one that lay at its addresses before."""
    wrong = []
    addresses = set()
    for number in range(MEMORIES):
        memory = SharedVectors.create(ELEMENTS, state=ELEMENTS)
        addresses.add(memory.snapshot.ctypes.data)
        vectors = torch.from_numpy(memory.snapshot), torch.from_numpy(memory.average)
        copies = HostCopies(vectors)
        copies.serve(device)
        copies.to_host([(torch.full((ELEMENTS,), float(number), device=device), vectors[0])])
        vectors[1].fill_(-float(number))
        back = copies.from_host(vectors[1], device)
        copies.finish()
        if not copies.arrived or set(memory.snapshot.tolist()) != {float(number)}:
            wrong.append(f"memory {number}: the snapshot did not arrive")
        if set(back.tolist()) != {-float(number)}:
            wrong.append(f"memory {number}: the average did not arrive")
        copies.close()
        del vectors, back
        memory.close()
    print(f"{MEMORIES} memories at {len(addresses)} addresses")
    return wrong


if __name__ == "__main__":
    sys.exit(run_part(measure))
