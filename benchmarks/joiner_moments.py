"""What a joiner's optimizer begins with: the loss of newcomers, and of the swarm, in the steps after they have joined.

    .venv/bin/python -m benchmarks.joiner_moments                  # one of 4 peers joins, text, 5 seeds
    .venv/bin/python -m benchmarks.joiner_moments --peers 8 --joiners 4

Virtual peers train a tiny transformer by AdamW, each with an optimizer of its own, and meet by step-mix in groups of
four. After one of the rounds some of them are replaced by newcomers, who hold what a donor gives, the average of the
round and its momentum. What is compared is the state of their optimizers: none at all; the second moments of the donor,
with the first at zero; both; none, with a learning rate that rises from zero until the next round; and that of peers
that have never been away. All of them go on from the same moment with the same data. Losses are of held-out text in
nats a character; differences to those that were never away are seed by seed, with their 95 % confidence intervals.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.strategies import spread
from gossiptrain.config import GossipSettings
from gossiptrain.simulate.gradients import gradients_for
from gossiptrain.simulate.rounds import VirtualRoundRules, VirtualRounds
from gossiptrain.simulate.scores import Scorer
from gossiptrain.simulate.sources import Draws, source_of
from gossiptrain.simulate.split import alike
from gossiptrain.simulate.stack import Stack
from gossiptrain.simulate.virtual_peers import VirtualPeers
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.sampling import seed_from
from gossiptrain.training.tasks.task import Task

DEVICE = torch.device("cpu")
STEPS = 1200
"""Of the whole course, by which the learning rate goes; not all of them are made."""
LOOKS = (1, 2, 5, 10, 20, 40)
"""Steps after joining at which losses are looked at; where a round is due, before it."""
SAMPLES = 256
"""Of the held-out windows of text."""
BEGINNINGS = ("never away", "nothing", "second moments", "both moments", "nothing, rising rate")


@dataclass(frozen=True)
class Job:
    """What all runs of a call have in common. after: steps before newcomers come, a multiple of `every`."""

    peers: int
    joiners: int
    after: int
    every: int
    batch: int
    rate: float
    data_dir: Path | None


@dataclass(frozen=True)
class Found:
    """Of one beginning and one number of steps after joining, by seed. joiners: mean over them, each by itself."""

    beginning: str
    steps: int
    joiners: tuple[float, ...]
    merged: tuple[float, ...]


class Learners:
    """Peers that have one stack, and an AdamW for each. Stands in for `VirtualPeers` before `VirtualRounds`."""

    def __init__(self, task: Task, job: Job, *, seed: int) -> None:
        self._task, self._job, self._seed = task, job, seed
        self.peers = job.peers
        self.speeds = [1.0] * job.peers
        self.step = 0
        template = task.build_model(seed)
        usual = task.build_optimizer(template, learning_rate=job.rate)
        self.stack = Stack(template, usual, peers=job.peers)
        self._schedule = task.build_schedule(usual, total_steps=STEPS)
        self._usual = usual
        self._gradients = gradients_for(self.stack, task)
        kept = ("lr", "betas", "eps", "weight_decay")
        settings = [{name: group[name] for name in kept} for group in usual.param_groups]
        self.optimizers = [
            AdamW([{**group, "params": own} for group, own in zip(settings, self.stack.row_of(peer), strict=True)])
            for peer in range(job.peers)
        ]
        self.rising: set[int] = set()
        """Peers whose learning rate rises until their first round."""
        self._deal("peer")

    def _deal(self, moment: str) -> None:
        source = source_of(self._task, data_dir=self._job.data_dir, device=DEVICE)
        shares = alike(np.zeros(source.samples, dtype=np.int64), self.peers)
        seeds = [seed_from(moment, self._seed, peer) for peer in range(self.peers)]
        self._draws = Draws(source, shares, batch=self._job.batch, seeds=seeds)

    def copy(self) -> Learners:
        """Another one that stands where this one stands; what it learns from now on is the same for all copies."""
        other = Learners(self._task, self._job, seed=self._seed)
        other.step = self.step
        other.put(self.matrix())
        for theirs, own in zip(other.optimizers, self.optimizers, strict=True):
            theirs.load_state_dict(copy.deepcopy(own.state_dict()))
        other._deal("joined")
        return other

    def steps_of(self, peer: int) -> int:
        """All are equally fast."""
        return self.step

    def matrix(self) -> Tensor:
        """A copy of all values: [peers, elements]."""
        return self.stack.matrix()

    def put(self, matrix: Tensor) -> None:
        """Replaces all values."""
        self.stack.put(matrix)

    def train(self, steps: int) -> None:
        """So many inner steps of everyone."""
        everyone = [True] * self.peers
        for batch in self._draws.gather(self._draws.plan([steps] * self.peers)):
            self._gradients(batch.inputs, batch.targets, everyone)
            if (norm := self._task.recipe.clip_norm) is not None:
                self.stack.clip_gradients(norm)
            self._schedule.move_to(self.step)
            for peer, optimizer in enumerate(self.optimizers):
                share = 1.0
                if peer in self.rising:
                    share = min(1.0, (self.step - self._job.after + 1) / self._job.every)
                for group, usual in zip(optimizer.param_groups, self._usual.param_groups, strict=True):
                    group["lr"] = share * usual["lr"]
                optimizer.step()
            self.step += 1


def begin(learners: Learners, joiner: int, donor: int, *, beginning: str) -> None:
    """The joiner's optimizer is a new one, and is given what the beginning says."""
    own, theirs = learners.optimizers[joiner], learners.optimizers[donor]
    if beginning == "never away":
        return
    own.state.clear()
    if beginning == "nothing, rising rate":
        learners.rising.add(joiner)
    if beginning not in ("second moments", "both moments"):
        return
    for mine, group in zip(own.param_groups, theirs.param_groups, strict=True):
        for leaf, other in zip(mine["params"], group["params"], strict=True):
            kept = {name: value.clone() for name, value in theirs.state[other].items()}
            if beginning == "second moments":
                kept["exp_avg"].zero_()
            own.state[leaf] = kept


def measure(job: Job, *, seeds: range, report: Callable[[str], None]) -> list[Found]:
    """All beginnings, at all looks."""
    task = task_named("text", model="tiny")
    by_place: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for seed in seeds:
        for beginning, losses in _of_one_seed(task, job, seed=seed):
            for steps, pair in losses.items():
                by_place.setdefault((beginning, steps), []).append(pair)
            report(f"seed {seed}, {beginning}: " + ", ".join(f"{own:.4f}" for own, _ in losses.values()))
    return [
        Found(beginning, steps, tuple(own for own, _ in pairs), tuple(merged for _, merged in pairs))
        for (beginning, steps), pairs in by_place.items()
    ]


def _of_one_seed(task: Task, job: Job, *, seed: int) -> Iterator[tuple[str, dict[int, tuple[float, float]]]]:
    learners = Learners(task, job, seed=seed)
    gossip = GossipSettings(strategy="step-mix", gossip_group_size=4, seed=seed)
    rules = VirtualRoundRules(gossip, job.every, job.batch, absent=0.0, seed=seed)
    rounds = VirtualRounds(rules, cast(VirtualPeers, learners))
    while learners.step < job.after:
        learners.train(job.every)
        rounds.meet()
        rounds.take()
    held_out = task.open_evaluation(data_dir=job.data_dir, device=DEVICE)
    scorer = Scorer(task.build_model(0), held_out, inputs=tuple)
    for beginning in BEGINNINGS:
        yield beginning, _go_on(learners, rounds, scorer, job=job, beginning=beginning)


def _go_on(
    learners: Learners, rounds: VirtualRounds, scorer: Scorer, *, job: Job, beginning: str
) -> dict[int, tuple[float, float]]:
    own = learners.copy()
    meetings = copy.deepcopy(rounds, {id(learners): own})
    joiners = range(job.peers - job.joiners, job.peers)
    for joiner in joiners:
        donor = joiner % (job.peers - job.joiners)
        if beginning != "never away":
            meetings.join(joiner, donor)
        begin(own, joiner, donor, beginning=beginning)
    found = {}
    for made in range(1, max(LOOKS) + 1):
        own.train(1)
        if made in LOOKS:
            values = own.matrix()
            alone = [scorer.of_row(values[joiner], samples=SAMPLES).loss for joiner in joiners]
            found[made] = (statistics.fmean(alone), scorer.of_mean(values, samples=SAMPLES).loss)
        if made % job.every == 0:
            meetings.meet()
            meetings.take()
    return found


def table(found: Sequence[Found]) -> None:
    """Prints losses of those that were never away, and what others have more than they."""
    by_place: Mapping[tuple[str, int], Found] = {(one.beginning, one.steps): one for one in found}
    for title, of in (("each joiner by itself", "joiners"), ("merged model", "merged")):
        rows = []
        for beginning in BEGINNINGS:
            cells = []
            for steps in LOOKS:
                usual: Any = getattr(by_place[BEGINNINGS[0], steps], of)
                own: Any = getattr(by_place[beginning, steps], of)
                if beginning == BEGINNINGS[0]:
                    cells.append(spread(own, digits=4))
                else:
                    more = [mine - base for mine, base in zip(own, usual, strict=True)]
                    cells.append(f"{'+' if statistics.fmean(more) >= 0 else ''}{spread(more, digits=4)}")
            rows.append([beginning, *cells])
        show_table(f"Loss after so many steps, {title}", ("", *map(str, LOOKS)), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.joiner_moments", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=whole_number(2, 64), default=4)
    parser.add_argument("--joiners", type=whole_number(1, 32), default=1)
    parser.add_argument("--after", type=whole_number(20), default=200, help="steps before they come (200)")
    parser.add_argument("--seeds", type=whole_number(1, 100), default=5)
    parser.add_argument("--seed", type=whole_number(0), default=0, help="the first of them (0)")
    parser.add_argument("--lr", type=float, default=0.0057)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    job = Job(given.peers, given.joiners, given.after, 20, 4, given.lr, given.data_dir)
    found = measure(job, seeds=range(given.seed, given.seed + given.seeds), report=lambda text: print(text, flush=True))
    table(found)
    if given.json:
        write_json(given.json, benchmark="joiner_moments", measured_on=machine(), results=found)


if __name__ == "__main__":
    main()
