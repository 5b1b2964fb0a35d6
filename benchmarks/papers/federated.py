"""Virtual peers on a task of a paper: the model of all of them together after each round.

Owns the course of one run, round by round, with the rules and the groups of the laboratory. Does not know which task,
data and figures those are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from gossiptrain.config import GossipSettings
from gossiptrain.simulate.rounds import VirtualRoundRules, VirtualRounds
from gossiptrain.simulate.scores import Scorer
from gossiptrain.simulate.sources import TensorSource
from gossiptrain.simulate.split import Indices
from gossiptrain.simulate.virtual_peers import VirtualPeers, VirtualPeersPlan
from gossiptrain.training.tasks.evaluation import EvaluationSet
from gossiptrain.training.tasks.task import Task


@dataclass(frozen=True)
class Federation:
    """Who learns what from which samples, and how the models come together. every_steps: of each peer in a round."""

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


@dataclass(frozen=True)
class AfterRound:
    """What all peers together hold after a round, and what each has sent until then."""

    accuracy: float
    megabytes_per_peer: float


def rounds_of(federation: Federation, *, device: torch.device) -> Iterator[AfterRound]:
    """One round after the other; whoever has seen enough stops asking."""
    plan = VirtualPeersPlan(
        task=federation.task,
        shares=federation.shares,
        speeds=[1.0] * len(federation.shares),
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
        for _ in range(federation.rounds):
            peers.train(federation.every_steps)
            rounds.meet()
            rounds.take()
            score = scorer.of_mean(peers.matrix())
            yield AfterRound(score.accuracy, rounds.bytes_per_peer / 1e6)
    finally:
        peers.close()
