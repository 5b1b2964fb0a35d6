"""All virtual peers, and how they take inner steps together.

Owns the optimizers, the learning rate over the steps, how many steps each peer takes in a stretch of time, and the
division of the work among the cores. Does not know rounds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from gossiptrain.simulate.gradients import Gradients, gradients_for, has_manual_backward
from gossiptrain.simulate.perceptron import Perceptrons, StackedSgd, shards_for
from gossiptrain.simulate.sources import Draws, Source
from gossiptrain.simulate.split import Indices
from gossiptrain.simulate.stack import Stack
from gossiptrain.training.model.batch_norm import FixedStatistics
from gossiptrain.training.tasks.recipe import StepSchedule
from gossiptrain.training.tasks.sampling import seed_from
from gossiptrain.training.tasks.task import Task

ResultT = TypeVar("ResultT")

ELEMENTWISE: tuple[type[Optimizer], ...] = (SGD, Adam, AdamW)
"""Optimizers that treat every element alike, so that one of them can step for many peers."""


@dataclass(frozen=True)
class VirtualPeersPlan:
    """Who the virtual peers are and how they train.

    shares: the samples of each peer. speeds: inner steps of each peer in the time of one usual step. fix_statistics:
    see `TrainSettings`.
    """

    task: Task
    shares: Sequence[Indices]
    speeds: Sequence[float]
    batch: int
    learning_rate: float
    total_steps: int
    seed: int
    fix_statistics: float | None = None


class VirtualPeers:
    """Some virtual peers; they begin with the same parameters. `close` ends its threads."""

    def __init__(self, order: VirtualPeersPlan, source: Source, *, device: torch.device) -> None:
        """Raises UsageError for models that cannot be stacked."""
        self.peers = len(order.shares)
        self.template = order.task.build_model(order.seed).to(device)
        self.step = 0
        """Usual inner steps that have passed."""
        self._order = order
        threads = min(self.peers, torch.get_num_threads()) if device.type == "cpu" else 1
        in_parts = device.type == "cpu" and has_manual_backward(self.template, order.task)
        shards = min(self.peers, shards_for(self.peers, threads=threads)) if in_parts else threads
        bounds = [self.peers * shard // shards for shard in range(shards + 1)]
        self._shards = [_Shard(order, source, range(*pair), self.template) for pair in itertools.pairwise(bounds)]
        self._threads = max(1, torch.get_num_threads() // threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="shard", initializer=self._begin_thread)

    def _begin_thread(self) -> None:
        torch.set_num_threads(self._threads)

    def close(self) -> None:
        """Ends the threads, before their work is done if need be."""
        for shard in self._shards:
            shard.stopped = True
        self._pool.shutdown(cancel_futures=True)

    @property
    def stack(self) -> Stack:
        """Of the first peers: whose layout is that of all."""
        return self._shards[0].stack

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.stack.device

    @property
    def speeds(self) -> Sequence[float]:
        """Inner steps of each peer in the time of one usual step."""
        return self._order.speeds

    def steps_of(self, peer: int) -> int:
        """How many steps a peer has taken."""
        return int(self.step * self.speeds[peer])

    def train(self, steps: int) -> Tensor:
        """Takes the inner steps that fit in the time of so many usual ones. Returns the sum of the losses of all peers'
        steps, a scalar of type float64 on the device."""
        before = [self.steps_of(peer) for peer in range(self.peers)]
        begun, self.step = self.step, self.step + steps
        counts = [self.steps_of(peer) - steps_before for peer, steps_before in enumerate(before)]
        slots = max(counts)
        positions = [begun + slot * steps // slots for slot in range(slots)]
        sums = list(self._pool.map(lambda shard: shard.train(counts, positions), self._shards))
        return torch.stack(sums).sum()

    def deal(self, shares: Sequence[Indices], seeds: Sequence[int]) -> None:
        """From now on the peers draw from these samples, each in an order of its own seed."""
        for shard in self._shards:
            members = slice(shard.members.start, shard.members.stop)
            shard.deal(shares[members], seeds[members])

    def share_out(self, work: Callable[[range], ResultT]) -> list[ResultT]:
        """Has the threads do some work for all peers, part by part; the results in the peers' order."""
        return list(self._pool.map(lambda shard: work(shard.members), self._shards))

    def matrix(self) -> Tensor:
        """A copy of all values: [peers, elements], laid out as by `training.model.binding`."""
        return torch.cat([shard.stack.matrix() for shard in self._shards])

    def put(self, matrix: Tensor) -> None:
        """Replaces all values by those of a matrix [peers, elements]."""
        for shard in self._shards:
            shard.stack.put(matrix[shard.members.start : shard.members.stop])


class _Shard:
    """Some of the virtual peers: one stack, for which one thread works at a time."""

    def __init__(self, order: VirtualPeersPlan, source: Source, members: range, template: nn.Module) -> None:
        self.members = members
        self.stopped = False
        self._everyone = [True] * len(members)
        optimizer = order.task.build_optimizer(template, learning_rate=order.learning_rate)
        transposed = has_manual_backward(template, order.task)
        self.stack = Stack(template, optimizer, peers=len(members), matrices_transposed=transposed)
        self._source = source
        self._batch = order.batch
        self._gradients: Gradients = gradients_for(self.stack, order.task)
        self._statistics = FixedStatistics(
            self._gradients.models, share=order.fix_statistics, total_steps=order.total_steps
        )
        self._clip_norm = order.task.recipe.clip_norm
        together = type(optimizer) in ELEMENTWISE and len(set(order.speeds)) == 1
        self._optimizers = _optimizers_of(self.stack, optimizer, together=together)
        in_stretches = isinstance(self._gradients, Perceptrons) and self._gradients.in_stretches
        self._sgd = StackedSgd.of(self.stack, optimizer) if in_stretches and together else None
        self._schedules: list[StepSchedule] = [
            order.task.build_schedule(own, total_steps=order.total_steps) for own in self._optimizers
        ]
        self._draws: Draws
        seeds = [seed_from("peer", order.seed, peer) for peer in members]
        self.deal([order.shares[peer] for peer in members], seeds)

    def deal(self, shares: Sequence[Indices], seeds: Sequence[int]) -> None:
        """Gives each member its samples."""
        self._draws = Draws(self._source, shares, batch=self._batch, seeds=seeds)

    def train(self, counts: Sequence[int], positions: Sequence[int]) -> Tensor:
        """counts: steps of all virtual peers. positions: in the schedule, of each slot in which peers may step."""
        own = [counts[peer] for peer in self.members]
        planned = self._draws.plan(own)
        if self._sgd is not None and min(own) == max(own):
            losses = self._in_stretches(planned, positions, self._sgd)
            return losses.sum(dtype=torch.float64)
        # As long as all move nothing has to be told apart.
        moving = torch.arange(len(planned)).unsqueeze(1) < torch.tensor(own)
        whole = min(own)
        found = []
        for slot, batch in enumerate(self._draws.gather(planned)):
            if self.stopped:
                break
            who = self._everyone if slot < whole else moving[slot].tolist()
            self._statistics.prepare(positions[slot])
            found.append(self._gradients(batch.inputs, batch.targets, who))
            if self._clip_norm is not None:
                self.stack.clip_gradients(self._clip_norm)
            self._step(who, positions[slot])
        if not found:
            return torch.zeros((), dtype=torch.float64, device=self.stack.device)
        losses = torch.stack(found)
        return losses.where(moving[: len(found)].to(losses.device), 0.0).sum(dtype=torch.float64)

    def _in_stretches(self, planned: Tensor, positions: Sequence[int], sgd: StackedSgd) -> Tensor:
        """Losses of all steps and peers."""
        assert isinstance(self._gradients, Perceptrons)
        (optimizer,), (schedule,) = self._optimizers, self._schedules
        rates = []
        for position in positions:
            schedule.move_to(position)
            rates.append([float(group["lr"]) for group in optimizer.param_groups])
        found = [torch.zeros(0, len(self.members), device=self.stack.device)]
        begun = 0
        for some in self._draws.gather_several(planned):
            if self.stopped:
                break
            ended = begun + len(some.inputs)
            found.append(self._gradients.stretch(some.inputs, some.targets, sgd, rates[begun:ended]))
            begun = ended
        return torch.cat(found)

    def _step(self, moving: Sequence[bool], position: int) -> None:
        if len(self._optimizers) == 1:
            moving = moving[:1]
        for moves, optimizer, schedule in zip(moving, self._optimizers, self._schedules, strict=True):
            if moves:
                schedule.move_to(position)
                optimizer.step()


def _optimizers_of(stack: Stack, template: Optimizer, *, together: bool) -> list[Optimizer]:
    """Optimizers of the template's kind and settings: one for all peers, or one for each."""
    if together:
        leaves = [[[values.requires_grad_()] for values, _ in stack.groups]]
    else:
        leaves = [stack.row_of(peer) for peer in range(stack.peers)]
    kind = type(template)
    settings = [{name: value for name, value in group.items() if name != "params"} for group in template.param_groups]
    return [
        kind([{**group, "params": own} for group, own in zip(settings, parameters, strict=True)])  # type: ignore[call-arg]
        for parameters in leaves
    ]
