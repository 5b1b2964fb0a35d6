"""One peer of the part `rounds`, in a process of its own: trains a model on the device, with and without gossip.

It says `ready`, then does what it is told by lines of JSON: `join` a swarm, `train` for so many seconds, `leave`. Owns
the loop, its clock, and what rounds took. Does not know the other peer, nor what becomes of the figures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import nn

from benchmarks.gpu.figures import wait_for_device
from benchmarks.speaking_process import say
from gossiptrain import Gossip, events, gossip
from gossiptrain.config import CodecName, GossipSettings, NetworkSettings, checked

LOCAL = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local")
LONGEST_S = 60.0
"""For so long a first round is waited for."""
WIDTH = 1024
BATCH = 256


class Peer:
    """A model of so many megabytes, in layers of 4.2."""

    def __init__(self, device: torch.device, megabytes: int) -> None:
        width = min(WIDTH, round((megabytes * 1e6 / 4) ** 0.5))
        layers = max(1, round(megabytes * 1e6 / (4 * width * width)))
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [nn.Linear(width, width, bias=False), nn.Tanh()]
        self.model = nn.Sequential(*blocks).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-6)
        self._device = device
        self._inputs = torch.randn(BATCH, width, device=device)
        self._membership = ExitStack()
        self._swarm: Gossip | None = None
        self._rounds: list[events.RoundCommitted] = []

    def join(self, initial: Sequence[str], codec: CodecName, every_s: float) -> None:
        """Enters a swarm."""

        def note(event: events.Event) -> None:
            if isinstance(event, events.RoundCommitted) and not event.final:
                self._rounds.append(event)

        settings = checked(GossipSettings, codec=codec, every_seconds=every_s)
        self._swarm = self._membership.enter_context(
            gossip(
                self.model,
                self.optimizer,
                run="gpu rounds",
                task=codec,
                initial_peers=initial,
                settings=settings,
                network=LOCAL,
                take_state=False,
                on_event=note,
            )
        )
        say("up", address=self._swarm.addresses[0])

    def train(self, seconds: float) -> None:
        """Makes steps, each waited for, until there was a round, too; says how many a second, and how long the longest
        took."""
        if self._swarm is not None:
            self._swarm.wait_for_peers(2)
        self._rounds.clear()
        steps, longest_s = 0, 0.0
        self._step()
        began_s = before_s = time.monotonic()
        while before_s < began_s + seconds or self._lacks_a_round(before_s - began_s):
            self._step()
            now_s = time.monotonic()
            longest_s, before_s, steps = max(longest_s, now_s - before_s), now_s, steps + 1
        say(
            "trained",
            steps_per_s=steps / (before_s - began_s),
            longest_s=longest_s,
            rounds=[event.seconds + event.formation_seconds for event in self._rounds],
        )

    def _lacks_a_round(self, trained_s: float) -> bool:
        return self._swarm is not None and not self._rounds and trained_s < LONGEST_S

    def leave(self) -> None:
        """Ends with the other peer."""
        self._membership.close()
        self._swarm = None
        say("left")

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.model(self._inputs).square().mean().backward()
        self.optimizer.step()
        wait_for_device(self._device)


def main(arguments: Sequence[str]) -> None:
    """device and megabytes."""
    device, megabytes = arguments
    if device == "cpu":
        torch.set_num_threads(1)
    peer = Peer(torch.device(device), int(megabytes))
    peer.train(0.2)  # until then the device warms up
    say("ready")
    for line in sys.stdin:
        match json.loads(line):
            case {"do": "join", "initial": initial, "codec": codec, "every_s": every_s}:
                peer.join(initial, codec, every_s)
            case {"do": "train", "seconds": seconds}:
                peer.train(seconds)
            case {"do": "leave"}:
                peer.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
