"""A swarm on this computer: every peer a `gossip train digits` process of its own, over real libp2p.

Owns how the peers are started, who joins through whom, and how they are killed and stopped. Does not know what is
shown to a person, nor whether the swarm did well.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gossiptrain.cli.child import LATER, Child
from gossiptrain.events import CheckpointFailed, CheckpointSaved, Event, NodeChanged, Started, StepDone

OnEvent = Callable[[str, Event], None]
MAX_INITIAL_PEERS = 3
"""A peer that is added later is told so many living peers, because one of them may be killed meanwhile."""


@dataclass(frozen=True, kw_only=True)
class SwarmPlan:
    """What all peers of one local swarm have in common.

    folder: holds a run folder for each peer. parts: into how many shares the training data are cut. max_steps: sets
    the learning rate's course; the swarm is normally stopped before.
    """

    run: str
    folder: Path
    parts: int
    max_steps: int
    seed: int = 0

    def command(self, share: int, *, out: str) -> list[str]:
        """The arguments of `gossip` that all trainers of the plan begin with; `share` is counted from 0."""
        return [
            *("train", "digits", "--run", self.run, "--share", f"{share + 1}/{self.parts}", "--seed", str(self.seed)),
            *("--device", "cpu", "--threads", "1", "--out", str(self.folder / out), "--log-format", "json"),
        ]

    def peer_command(self, share: int, *, out: str, initial_peers: list[str]) -> list[str]:
        """The arguments of one peer."""
        command = self.command(share, out=out)
        command += ["--max-steps", str(self.max_steps), "--preset", "local", "--matchmaking-time", "2"]
        command += ["--host-maddr", "/ip4/127.0.0.1/tcp/0"]
        for address in initial_peers:
            command += ["--initial-peer", address]
        return command

    def alone_command(self, share: int, *, out: str, steps: int) -> list[str]:
        """The arguments of the same trainer without a network, for exactly `steps` inner steps."""
        return [*self.command(share, out=out), "--alone", "--max-steps", str(steps), "--eval-every", "0"]


class LocalPeer:
    """One peer of the swarm, as far as this process knows it."""

    def __init__(self, label: str, share: int, command: list[str], folder: Path) -> None:
        self.label = label
        self.share = share
        """Which part of the training data it sees, counted from 0."""
        self.command = command
        self.folder = folder
        self.child: Child
        self.listeners: list[Callable[[Event], None]] = []
        self.addresses: tuple[str, ...] = ()
        self.is_training = False
        self.was_killed = False
        self.saved = False
        """Whether its last attempt to save a checkpoint went well."""

    @property
    def is_alive(self) -> bool:
        """Whether its process runs and was not told to die."""
        return not self.was_killed and self.child.exit_code is None

    def hear(self, event: Event) -> None:
        """Hands one of its events to all listeners."""
        for listener in self.listeners:
            listener(event)

    def note(self, event: Event) -> None:
        """Learns from one of its events."""
        if isinstance(event, Started):
            self.addresses = event.addresses
        elif isinstance(event, NodeChanged):
            self.addresses = event.addresses or self.addresses
        elif isinstance(event, StepDone):
            self.is_training = True
        elif isinstance(event, CheckpointSaved | CheckpointFailed):
            self.saved = isinstance(event, CheckpointSaved)


class LocalSwarm:
    """Use it as an async context manager: on leaving it, no process of it runs any more."""

    def __init__(self, plan: SwarmPlan, on_event: OnEvent, *, rng: random.Random | None = None) -> None:
        """on_event: given the label of a peer and its event, in the event loop."""
        self.plan = plan
        self.peers: dict[str, LocalPeer] = {}
        self._on_event = on_event
        self._rng = rng or random.Random()

    @property
    def living(self) -> list[LocalPeer]:
        """The peers whose processes run."""
        return [peer for peer in self.peers.values() if peer.is_alive]

    @property
    def reachable(self) -> list[LocalPeer]:
        """The living peers through which others can join."""
        return [peer for peer in self.living if peer.addresses]

    async def start(self, count: int) -> None:
        """Starts the first peers. All join through the very first one, as soon as that can be reached."""
        first = await self._start([])
        followers = [await self._start([LATER]) for _ in range(count - 1)]

        def lead(event: Event) -> None:
            if isinstance(event, Started) and event.addresses:
                for follower in followers:
                    follower.command[-1] = event.addresses[0]
                    follower.child.supply(event.addresses[0])

        first.listeners.append(lead)

    async def add(self) -> LocalPeer:
        """Starts one more peer, which joins through any that can be reached."""
        donors = self._rng.sample(self.reachable, min(MAX_INITIAL_PEERS, len(self.reachable)))
        return await self._start([peer.addresses[0] for peer in donors])

    async def _start(self, initial_peers: list[str]) -> LocalPeer:
        number = len(self.peers)
        label, share = label_of(number), number % self.plan.parts
        out = f"peer-{label}"
        command = self.plan.peer_command(share, out=out, initial_peers=initial_peers)
        peer = LocalPeer(label, share, command, self.plan.folder / out)
        peer.listeners += [peer.note, lambda event: self._on_event(label, event)]
        peer.child = await Child.start(command, on_event=peer.hear)
        self.peers[label] = peer
        return peer

    def kill_one(self, label: str = "") -> LocalPeer | None:
        """Kills the trainer of a living peer with SIGKILL; None where only one is left, or that one is dead already.

        label: which; by default any, by chance.
        """
        living = self.living
        candidates = [peer for peer in living if label in ("", peer.label)]
        if len(living) < 2 or not candidates:
            return None
        peer = self._rng.choice(candidates)
        peer.was_killed = True
        peer.child.send_signal(signal.SIGKILL)
        return peer

    def ask_to_stop(self) -> None:
        """Sends SIGTERM to all living peers at once: each merges with the others, saves and leaves."""
        for peer in self.living:
            peer.child.send_signal(signal.SIGTERM)

    async def close(self) -> None:
        """Kills whatever still runs, and waits for the end of all processes."""
        await asyncio.gather(*(peer.child.close() for peer in self.peers.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def label_of(number: int) -> str:
    """Names the peers a, b, c and so on."""
    return chr(ord("a") + number) if number < 26 else f"p{number + 1}"
