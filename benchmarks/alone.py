"""How much of its speed a lone peer keeps: the same training loop with and without `gossip()`, nobody else there.

    .venv/bin/python -m benchmarks.alone
    .venv/bin/python -m benchmarks.alone --tasks digits --seconds 5 --repetitions 9 --json alone.json

Both kinds of run take turns in one process, in the order ABBA, so that a machine that becomes slower or faster
meanwhile favours neither. Each pair of neighbours gives one ratio of steps per second. With `gossip()` the node and
libp2p's daemon run beside the loop, and the hook on the optimizer does its work; starting and ending them is not
counted. Digits are real. CIFAR-10 is, where a folder with it is named; random pixels take the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from gossiptrain import NetworkSettings, gossip
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.batches import TensorBatches, TrainingBatches
from gossiptrain.training.tasks.cifar10 import AUGMENT
from gossiptrain.training.tasks.locate import data_root
from gossiptrain.training.tasks.sampling import SampleOrder, Share
from gossiptrain.training.tasks.task import Task

CPU = torch.device("cpu")
NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",))
WARM_UP_SHARE = 0.2


@dataclass(frozen=True)
class Kept:
    """One row. steps_per_s: medians. kept: steps per second with gossip() divided by those without, of each pair."""

    task: str
    data: str
    threads: int
    seconds: float
    steps_per_s_plain: float
    steps_per_s_gossip: float
    kept: Summary


class Loop:
    """A plain training loop of one task."""

    def __init__(self, task: Task, batches: TrainingBatches) -> None:
        self.task = task
        self.model = task.build_model(0)
        self.optimizer = task.build_optimizer(self.model, learning_rate=task.recipe.learning_rate / 10)
        self._batches = batches

    def steps_per_s(self, seconds: float) -> float:
        """Trains for a while and measures all but the beginning of it."""
        self._train(WARM_UP_SHARE * seconds)
        started_s = time.perf_counter()
        return self._train(seconds) / (time.perf_counter() - started_s)

    def _train(self, seconds: float) -> int:
        ends_s = time.perf_counter() + seconds
        steps = 0
        while time.perf_counter() < ends_s:
            loss = self.task.loss(self.model, self._batches.next())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            steps += 1
        return steps


def measure(name: str, *, seconds: float, repetitions: int, data_dir: Path | None) -> Kept:
    """Runs the pairs of one task."""
    task = task_named(name)
    batches, data = open_batches(task, data_dir)
    loop = Loop(task, batches)
    plain: list[float] = []
    gossiping: list[float] = []
    for repetition in range(repetitions):
        for with_gossip in (False, True) if repetition % 2 == 0 else (True, False):
            with contextlib.ExitStack() as stack:
                if with_gossip:
                    run = f"alone-{secrets.token_hex(4)}"
                    every_steps = task.recipe.every_steps
                    stack.enter_context(
                        gossip(loop.model, loop.optimizer, run=run, network=NETWORK, every_steps=every_steps)
                    )
                (gossiping if with_gossip else plain).append(loop.steps_per_s(seconds))
    ratios = [kept / full for kept, full in zip(gossiping, plain, strict=True)]
    return Kept(
        name, data, torch.get_num_threads(), seconds, summary(plain).median, summary(gossiping).median, summary(ratios)
    )


def open_batches(task: Task, data_dir: Path | None) -> tuple[TrainingBatches, str]:
    """The task's own batches; of CIFAR-10 random ones where no folder is named, so that nothing is downloaded."""
    share = Share(identity_seed=0)
    if task.name == "cifar10" and data_root(data_dir) is None:
        images = torch.randint(0, 256, (2000, 32, 32, 3), dtype=torch.uint8)
        labels = torch.arange(len(images)) % 10
        order = SampleOrder(share.indices(labels.numpy()), seed=0, batch=task.recipe.batch)
        return TensorBatches(images, labels, order=order, augment=AUGMENT), "random"
    return task.open_training(data_dir=data_dir, share=share, batch=task.recipe.batch, device=CPU), "real"


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=("digits", "cifar10"), default=["digits", "cifar10"])
    parser.add_argument("--repetitions", type=whole_number(1), default=10, metavar="N", help="pairs of runs (10)")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="length of one run (4)")
    parser.add_argument("--threads", type=whole_number(1, 1024), metavar="N", help="CPU threads (torch's choice)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where CIFAR-10 is ($GOSSIPTRAIN_DATA)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    where = machine()
    results = [
        measure(name, seconds=given.seconds, repetitions=given.repetitions, data_dir=given.data_dir)
        for name in given.tasks
    ]
    rows = [
        [
            f"{result.task} ({result.data} data)",
            f"{result.steps_per_s_plain:,.1f}",
            f"{result.steps_per_s_gossip:,.1f}",
            *(f"{100 * share:.1f} %" for share in (result.kept.median, result.kept.minimum, result.kept.maximum)),
        ]
        for result in results
    ]
    columns = ["", "plain", "with gossip()", "kept, median", "least", "most"]
    show_table("Speed kept by a lone peer, in steps per second", columns, rows)
    if given.json is not None:
        write_json(given.json, benchmark="alone", measured_on=where, results=results)


if __name__ == "__main__":
    main()
