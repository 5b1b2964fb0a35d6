"""What a few real peers gain: the merged model beside one peer with the same time, and one with the same samples.

    python -m benchmarks.end_to_end cifar10 --data-dir ~/data
    python -m benchmarks.end_to_end cifar10 --model small --steps 400 --seeds 1

Every peer is a `gossip train` process with a learning rate schedule for exactly its steps. The peers of a swarm share
this computer, so each has a part of it: that stands for as many computers of that size. "The same time" are as many
peers at once that never meet, each with all of the data and the same number of steps. "The same samples" is one peer
that makes the steps of all, with the whole computer.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.laboratory.pool import cores
from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.peer_processes import Event, train_alone, train_together

STEPS = {"digits": 1000, "text": 1000, "cifar10": 600}


@dataclass(frozen=True)
class Order:
    """What all runs of a call have in common."""

    task: str
    peers: int
    steps: int
    common: tuple[str, ...]
    swarm: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One line for one seed. accuracy, loss: on all held-out data. seconds: from the first step to the last."""

    name: str
    seed: int
    steps: int
    accuracy: float
    loss: float
    seconds: float
    rounds: int


def together(order: Order, *, seed: int) -> Run:
    """The merged model of a swarm."""
    flags = [*order.common, *order.swarm, *_steps(order.steps), "--threads", "1", "--seed", str(seed)]
    with tempfile.TemporaryDirectory(prefix="gossiptrain-end-") as folder:
        peers = train_together(order.task, flags, peers=order.peers, folder=Path(folder))
    return _run(f"{order.peers} peers together, merged", peers, of="merged", seed=seed)


def the_same_time(order: Order, *, seed: int) -> Run:
    """As many peers that never meet; the mean of their figures."""
    flags = [*order.common, *_steps(order.steps), "--threads", "1"]
    seeds = [100 * seed + number for number in range(order.peers)]
    with tempfile.TemporaryDirectory(prefix="gossiptrain-end-") as folder:
        peers = train_alone(order.task, flags, seeds=seeds, folder=Path(folder))
    return _run("one peer, the same time", peers, of="peer", seed=seed)


def the_same_samples(order: Order, *, seed: int) -> Run:
    """One peer that makes the steps of all."""
    flags = [*order.common, *_steps(order.peers * order.steps), "--threads", str(cores())]
    with tempfile.TemporaryDirectory(prefix="gossiptrain-end-") as folder:
        peers = train_alone(order.task, flags, seeds=[seed], folder=Path(folder))
    return _run("one peer, the same samples", peers, of="peer", seed=seed)


def _steps(steps: int) -> list[str]:
    return ["--max-steps", str(steps), "--eval-every", "0"]


def _run(name: str, peers: Sequence[Sequence[Event]], *, of: str, seed: int) -> Run:
    """The last evaluation and the end of all peers. Raises RuntimeError where one of them has none."""
    evaluated = [[event for event in own if event["event"] == "eval" and event["of"] == of] for own in peers]
    finished = [event for own in peers for event in own if event["event"] == "finished"]
    if not all(evaluated) or len(finished) != len(peers):
        raise RuntimeError(f"{name}: not all peers ended with an evaluation of the {of} model")
    last = [own[-1] for own in evaluated]
    return Run(
        name=name,
        seed=seed,
        steps=finished[0]["step"],
        accuracy=fmean(event["accuracy"] for event in last),
        loss=fmean(event["loss"] for event in last),
        seconds=fmean(event["seconds"] for event in finished),
        rounds=round(fmean(event["rounds"] for event in finished)),
    )


def show(title: str, runs: Sequence[Run]) -> None:
    """Prints a line for each kind of run, with the spread over the seeds."""
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        own = [run for run in runs if run.name == name]
        rows.append(
            [
                name,
                f"{own[0].steps:,}",
                str(own[0].rounds),
                _spread([100 * run.accuracy for run in own], digits=1) + " %",
                _spread([run.loss for run in own], digits=3),
                _spread([run.seconds for run in own], digits=0) + " s",
            ]
        )
    show_table(title, ("", "steps each", "rounds", "accuracy", "loss", "time"), rows)


def _spread(figures: Sequence[float], *, digits: int) -> str:
    deviation = f" ± {stdev(figures):.{digits}f}" if len(figures) > 1 else ""
    return f"{fmean(figures):.{digits}f}{deviation}"


def main() -> None:
    """Runs all three, seed by seed, and prints them beside each other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(STEPS))
    parser.add_argument("--peers", type=whole_number(2, 16), default=4)
    parser.add_argument("--steps", type=whole_number(1), help="of each peer of the swarm")
    parser.add_argument("--seeds", type=whole_number(1, 20), default=2)
    parser.add_argument("--model", default="tiny", help="of cifar10 and text (tiny)")
    parser.add_argument("--strategy", help="of the swarm (the default of gossip train)")
    parser.add_argument("--every-steps", type=whole_number(1), help="inner steps between rounds (by task)")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    common = [] if given.task == "digits" else ["--model", given.model]
    common += ["--data-dir", str(given.data_dir)] if given.data_dir else []
    swarm = ["--strategy", given.strategy] if given.strategy else []
    swarm += ["--every-steps", str(given.every_steps)] if given.every_steps else []
    order = Order(given.task, given.peers, given.steps or STEPS[given.task], tuple(common), tuple(swarm))
    measured_on = machine()
    runs: list[Run] = []
    for seed in range(given.seeds):
        for work in (together, the_same_time, the_same_samples):
            runs.append(work(order, seed=seed))
            print(
                f"seed {seed}: {runs[-1].name}: {100 * runs[-1].accuracy:.1f} %, {runs[-1].seconds:.0f} s", flush=True
            )
    show(f"{order.task}: {order.peers} peers, {order.steps} steps each", runs)
    if given.json:
        write_json(given.json, benchmark="end_to_end", measured_on=measured_on, results=runs)


if __name__ == "__main__":
    main()
