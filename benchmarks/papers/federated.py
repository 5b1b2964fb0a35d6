"""Virtual peers on a task of a paper: the model of all of them together after each round.

Owns the course of one run, round by round, with the rules and the groups of the laboratory, and who sits out. Does not
know which task, data and figures those are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.papers.tables import Figure, beside
from gossiptrain.config import GossipSettings
from gossiptrain.simulate.rounds import VirtualRoundRules, VirtualRounds
from gossiptrain.simulate.scores import Scorer
from gossiptrain.simulate.sources import TensorSource
from gossiptrain.simulate.split import Indices
from gossiptrain.simulate.virtual_peers import VirtualPeers, VirtualPeersPlan
from gossiptrain.training.model.replica import kept_vectors
from gossiptrain.training.tasks.evaluation import EvaluationSet
from gossiptrain.training.tasks.sampling import seed_from
from gossiptrain.training.tasks.task import Task

BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class Federation:
    """Who learns what from which samples, and how the models come together.

    every_steps: of each peer in a round. present: so many peers, others in each round, train and meet, and the rest
    sits out; who comes back has left in between, and begins with what a peer of the last round gives to joiners. None:
    all are always there.
    """

    task: Task
    source: TensorSource
    held_out: EvaluationSet
    shares: Sequence[Indices]
    gossip: GossipSettings
    every_steps: int
    rounds: int
    batch: int
    learning_rate: float
    seed: int
    present: int | None = None


@dataclass(frozen=True)
class AfterRound:
    """What all peers together hold after a round, those that sit out left aside, and what one peer that was always
    there would have sent until then, what it gave to joiners included."""

    accuracy: float
    megabytes_per_peer: float


class Seats:
    """Who of all peers is there, each in a place of its own: those that stay keep it, and what it holds."""

    def __init__(self, peers: int, present: int, *, seed: int) -> None:
        self.peers = tuple(range(present))
        """Who is in each place."""
        self._all = peers
        self._random = np.random.default_rng(seed_from("present", seed))

    def deal(self) -> int:
        """Others come and go. Returns how many have come."""
        chosen = {int(peer) for peer in self._random.choice(self._all, len(self.peers), replace=False)}
        newcomers = iter(sorted(chosen - set(self.peers)))
        before, self.peers = self.peers, tuple(peer if peer in chosen else next(newcomers) for peer in self.peers)
        return sum(peer != was for peer, was in zip(self.peers, before, strict=True))


def rounds_of(federation: Federation, *, device: torch.device) -> Iterator[AfterRound]:
    """One round after the other; whoever has seen enough stops asking."""
    seats = Seats(len(federation.shares), federation.present or len(federation.shares), seed=federation.seed)
    plan = VirtualPeersPlan(
        task=federation.task,
        shares=[federation.shares[peer] for peer in seats.peers],
        speeds=[1.0] * len(seats.peers),
        batch=federation.batch,
        learning_rate=federation.learning_rate,
        total_steps=federation.rounds * federation.every_steps,
        seed=federation.seed,
    )
    peers = VirtualPeers(plan, federation.source, device=device)
    try:
        rules = VirtualRoundRules(
            federation.gossip, federation.every_steps, federation.batch, absent=0.0, seed=federation.seed
        )
        rounds = VirtualRounds(rules, peers)
        scorer = Scorer(federation.task.build_model(0).to(device), federation.held_out, inputs=tuple)
        state_bytes = kept_vectors(rounds.strategy) * peers.stack.elements * BYTES_PER_VALUE
        given_bytes = 0.0
        for number in range(federation.rounds):
            if federation.present is not None and number:
                given_bytes += seats.deal() * state_bytes / len(seats.peers)
                seeds = [seed_from("peer", federation.seed, peer, number) for peer in seats.peers]
                peers.deal([federation.shares[peer] for peer in seats.peers], seeds)
            peers.train(federation.every_steps)
            rounds.meet()
            rounds.take()
            score = scorer.of_mean(peers.matrix())
            yield AfterRound(score.accuracy, (rounds.bytes_per_peer + given_bytes) / 1e6)
    finally:
        peers.close()


def accuracy_beside(
    federation: Federation, course: str, kind: str, *, published: float, device: torch.device
) -> Figure:
    """All rounds: prints what came of them, and returns the accuracy beside the published one, in percent."""
    *_, last = rounds_of(federation, device=device)
    each = "each" if federation.present is None else "each that is there"
    print(f"{course}, {kind}: {100 * last.accuracy:.1f} %, {last.megabytes_per_peer:.1f} MB sent by {each}", flush=True)
    return beside(course, kind, published=published, ours=100 * last.accuracy)
