"""How fast the laboratory trains: peer-steps per second of virtual peers, and of separate processes on the same cores.

    .venv/bin/python -m benchmarks.laboratory
    .venv/bin/python -m benchmarks.laboratory --tasks digits cifar10 --peers 8,64 --repetitions 9 --json laboratory.json

Separate processes train the same task by plain PyTorch, each in one thread, and as many at a time as there are cores:
more would only get in each other's way, so for any number of peers that is the best that processes do. Both kinds take
turns in the order ABBA, so that a machine that becomes slower or faster meanwhile favours neither, and each pair of
neighbours gives one ratio. Rounds are not counted, and they are what processes would have to wait for. Digits are real.
CIFAR-10 is, where a folder with it is named; random pixels take the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.alone import WARM_UP_SHARE, Loop, open_batches
from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from benchmarks.round.__main__ import numbers
from gossiptrain.simulate.sources import Source, TensorSource, source_of
from gossiptrain.simulate.virtual_peers import VirtualPeers, VirtualPeersPlan
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.cifar10 import AUGMENT
from gossiptrain.training.tasks.locate import data_root

CPU = torch.device("cpu")
STRETCH_STEPS = 20
"""Between two rounds, as it were; fewer with large models, lest a run take minutes."""
LARGE_MODEL = 500_000
RESTRAINTS = ("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "ATEN_CPU_CAPABILITY")
"""Variables that keep libraries from using all that the processor can."""


@dataclass(frozen=True)
class Speed:
    """One row. Steps per second of all peers together. ratio: the laboratory by the processes, pair by pair."""

    task: str
    peers: int
    processes: int
    seconds: float
    in_processes: Summary
    in_laboratory: Summary
    ratio: Summary
    restraints: dict[str, str]


def work(connection: Connection, name: str, data_dir: Path | None) -> None:
    """A process that trains by itself for as many seconds as it is told, until it is told 0."""
    torch.set_num_threads(1)
    task = task_named(name)
    loop = Loop(task, open_batches(task, data_dir)[0])
    while seconds := connection.recv():
        connection.send(loop.steps_per_s(seconds))


@contextlib.contextmanager
def processes(name: str, count: int, data_dir: Path | None) -> Iterator[Callable[[float], float]]:
    """Gives a function that has all processes train at the same time, and says how many steps a second they make."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    workers = [context.Process(target=work, args=(far, name, data_dir), daemon=True) for _, far in pairs]
    for worker in workers:
        worker.start()

    def steps_per_s(seconds: float) -> float:
        for near, _ in pairs:
            near.send(seconds)
        return sum(float(near.recv()) for near, _ in pairs)

    try:
        steps_per_s(0.2)  # until then they import and read
        yield steps_per_s
    finally:
        for near, _ in pairs:
            near.send(0)
        for worker in workers:
            worker.join(timeout=10)
            worker.kill()


@contextlib.contextmanager
def virtual_peers(
    name: str, peers: int, data_dir: Path | None, *, device: torch.device = CPU
) -> Iterator[VirtualPeers]:
    """Virtual peers, each of which sees all data in an order of its own, as the processes do."""
    task = task_named(name)
    source = open_source(name, data_dir, device=device)
    order = VirtualPeersPlan(
        task=task,
        shares=[np.arange(source.samples)] * peers,
        speeds=[1.0] * peers,
        batch=task.recipe.batch,
        learning_rate=task.recipe.learning_rate / 10,
        total_steps=2**31,
        seed=0,
    )
    made = VirtualPeers(order, source, device=device)
    try:
        yield made
    finally:
        made.close()


def open_source(name: str, data_dir: Path | None, *, device: torch.device = CPU) -> Source:
    """The task's own data; of CIFAR-10 random ones where no folder is named, so that nothing is downloaded."""
    if name == "cifar10" and data_root(data_dir) is None:
        images = torch.randint(0, 256, (2000, 32, 32, 3), dtype=torch.uint8)
        labels = torch.arange(len(images), device=device) % 10
        return TensorSource(images.to(device), labels, augment=AUGMENT)
    return source_of(task_named(name), data_dir=data_dir, device=device)


def peer_steps_per_s(made: VirtualPeers, seconds: float) -> float:
    """Trains virtual peers for a while and measures all but the beginning of it."""
    train(made, WARM_UP_SHARE * seconds)
    started_s = time.perf_counter()
    steps = train(made, seconds)
    return made.peers * steps / (time.perf_counter() - started_s)


def train(made: VirtualPeers, seconds: float) -> int:
    """Trains for at least so long, one stretch after the other; returns the steps of one peer."""
    stretch = STRETCH_STEPS if made.stack.elements < LARGE_MODEL else STRETCH_STEPS // 5
    ends_s = time.perf_counter() + seconds
    steps = 0
    while time.perf_counter() < ends_s:
        made.train(stretch)
        steps += stretch
    return steps


def measure(name: str, peers: int, *, seconds: float, repetitions: int, data_dir: Path | None) -> Speed:
    """Runs the pairs of one task and number of peers."""
    cores = torch.get_num_threads()
    apart: list[float] = []
    together: list[float] = []
    with processes(name, cores, data_dir) as in_processes, virtual_peers(name, peers, data_dir) as made:
        for repetition in range(repetitions):
            for in_laboratory in (False, True) if repetition % 2 == 0 else (True, False):
                if in_laboratory:
                    together.append(peer_steps_per_s(made, seconds))
                else:
                    apart.append(in_processes(seconds))
    ratios = [own / other for own, other in zip(together, apart, strict=True)]
    restraints = {variable: os.environ[variable] for variable in RESTRAINTS if variable in os.environ}
    return Speed(
        name, peers, cores, seconds, summary(apart), summary(together), summary(ratios), restraints
    )  # fmt: skip


def show(results: Sequence[Speed]) -> None:
    """A table, one row for each task and number of peers."""
    rows = [
        [
            f"{result.task}, {result.peers} peers",
            *(
                f"{speed.median:,.{0 if speed.median > 100 else 2}f}"
                for speed in (result.in_processes, result.in_laboratory)
            ),
            *(f"{ratio:.2f}" for ratio in (result.ratio.median, result.ratio.minimum, result.ratio.maximum)),
        ]
        for result in results
    ]
    columns = ["", f"{results[0].processes} processes", "laboratory", "ratio, median", "least", "most"]
    show_table("Inner steps of all peers together, per second", columns, rows)
    for variable, value in results[0].restraints.items():
        text = f"{variable}={value} is set: libraries may not use all that this processor can do."
        Console().print(text, markup=False, highlight=False)


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=("digits", "cifar10", "text"), default=["digits"])
    parser.add_argument("--peers", type=numbers(2, 256), default=[8, 64], metavar="N,N", help="virtual peers (8,64)")
    parser.add_argument("--repetitions", type=whole_number(1), default=10, metavar="N", help="pairs of runs (10)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="length of one run (3)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where data are ($GOSSIPTRAIN_DATA)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where = machine()
    results = [
        measure(name, peers, seconds=given.seconds, repetitions=given.repetitions, data_dir=given.data_dir)
        for name in given.tasks
        for peers in given.peers
    ]
    show(results)
    if given.json is not None:
        write_json(given.json, benchmark="laboratory", measured_on=where, results=results)


if __name__ == "__main__":
    main()
