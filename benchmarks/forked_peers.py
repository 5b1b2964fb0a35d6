"""Many real peers on one computer: own loops with `gossip()` in processes that are forked from a warm one.

Owns starting, telling and ending them. Each peer has a process, a node and a libp2p daemon of its own; what torch takes
in memory is shared by all, since it was imported before they were forked. Does not know what is measured.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

import torch

from benchmarks.digits import Digits, network
from gossiptrain import gossip
from gossiptrain.config import GossipSettings, NetworkSettings

NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="wan")
"""With the waits of the slowest links, since many peers on few cores answer late."""
STEP_S = 0.25
"""Least time of one step, so that many peers fit on few cores."""
STARTING_AT_ONCE = 4
WAIT_S = 600.0


@dataclass(frozen=True)
class Ended:
    """What a peer came to. digest: of its parameters, bitwise. accuracy: of its model on samples that nobody saw."""

    digest: str
    rounds: int
    steps: int
    accuracy: float


class ForkedPeer:
    """One peer, as its parent sees it."""

    def __init__(self, number: int, data: Digits, initial_peers: Sequence[str], *, peers: int, every_s: float) -> None:
        """peers: how many it waits for, itself included, before it trains. every_s: between two rounds."""
        context = multiprocessing.get_context("fork")
        self._parent, child = context.Pipe()
        loop = _Loop(number, data, child, peers=peers, every_s=every_s)
        given = (tuple(initial_peers),)
        self.process: ForkProcess = context.Process(target=loop.run, args=given, name=f"peer {number}")
        self.process.start()
        child.close()

    def hear(self) -> Any:
        """The next thing that it tells. Raises RuntimeError where it ended without a word, or says nothing."""
        if not self._parent.poll(WAIT_S):
            raise RuntimeError(f"{self.process.name} says nothing")
        try:
            return self._parent.recv()
        except EOFError:
            raise RuntimeError(f"{self.process.name} has ended") from None

    def stop(self) -> None:
        """Ends its loop; the end of its `with` block follows."""
        self._parent.send("stop")


@contextmanager
def forked_peers(count: int, *, every_s: float) -> Iterator[tuple[list[ForkedPeer], float]]:
    """So many peers that begin with the addresses of the first, and when the last of them was started.

    They are started a few at a time, since the cores that stand for as many computers could not start all at once, and
    ended by their ids however the block ends. Each tells the time at which it had met all others, then, once stopped,
    an `Ended`.
    """
    torch.set_num_threads(1)  # before any of its threads exist, since a fork would not have them
    data = Digits.load()
    _import_all(data)
    peers: list[ForkedPeer] = []
    try:
        peers.append(ForkedPeer(0, data, (), peers=count, every_s=every_s))
        addresses = peers[0].hear()
        for number in range(1, count):
            if number > STARTING_AT_ONCE:
                peers[number - STARTING_AT_ONCE].hear()
            peers.append(ForkedPeer(number, data, addresses[:1], peers=count, every_s=every_s))
        last_started_s = time.monotonic()
        for peer in peers[max(1, count - STARTING_AT_ONCE) :]:
            peer.hear()
        yield peers, last_started_s
    finally:
        for peer in peers:
            peer.process.kill()
            peer.process.join()


def _import_all(data: Digits) -> None:
    """What torch only imports with the first step of an optimizer is shared as well, if it is there before the fork."""
    model = network()
    data.step(model, torch.optim.SGD(model.parameters(), lr=0.05))


class _Loop:
    """What one process does."""

    def __init__(self, number: int, data: Digits, parent: Connection, *, peers: int, every_s: float) -> None:
        self._number = number
        self._data = data
        self._parent = parent
        self._peers = peers
        self._every_s = every_s

    def run(self, initial_peers: tuple[str, ...]) -> None:
        torch.manual_seed(self._number)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        settings = GossipSettings(ending_time=30.0)
        with gossip(
            model,
            optimizer,
            run="many peers",
            task="digits",
            initial_peers=initial_peers,
            network=NETWORK,
            settings=settings,
            every_seconds=self._every_s,
        ) as swarm:
            self._parent.send(swarm.addresses)
            swarm.wait_for_peers(self._peers)
            self._parent.send(time.monotonic())
            while not self._parent.poll():
                began_s = time.monotonic()
                self._data.step(model, optimizer)
                time.sleep(max(0.0, STEP_S - (time.monotonic() - began_s)))
        content = b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())
        digest = hashlib.sha256(content).hexdigest()
        self._parent.send(Ended(digest, swarm.rounds, swarm.step, self._data.accuracy(model)))
