"""Whether four peers with a quarter of the data each learn as well as one with all, in the loops of others.

    python -m benchmarks.hosted
    python -m benchmarks.hosted --hosts transformers trl --peers 2 --seeds 5 --strategy step-mix --every-steps 10
    python -m benchmarks.hosted --share steps
    python -m benchmarks.hosted --base shakespeare.txt --base-steps 1000     # fine-tuning

For each host and seed, one peer trains with all data, and so many peers with a part each, together for as many samples:
each takes its part of every batch (`--share batch`), as in synchronous training, or makes its part of the steps with
whole batches (`--share steps`), as where the same script is run on a part of the data. Every peer is a process that was
forked once all libraries were imported, with a node and a libp2p daemon of its own, and trains as its user would write
it. Afterwards the models of all peers are compared bit by bit, and the loss on text that nobody saw with that of the
one peer. What is told of the spread is over seeds.

Both are given the learning rate that suits them, of those in --lr and --lr-together: that with the least mean loss over
seeds, for both alike. Exits with 1 where peers end with different models, or where the loss is more than 1 % above that
of the one peer.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import logging
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

from benchmarks.hosted.hosts import HOSTS, NEEDS
from benchmarks.hosted.learning import Job, digest_of, held_out_loss, keep, model_for, windows_of
from benchmarks.measure import machine, show_table, whole_number, write_json
from gossiptrain import Gossip, GossipSettings, NetworkSettings

TEXTS = tuple(sorted((Path(__file__).parents[2] / "docs").glob("*.md")))
NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="wan", open=True)
LIMIT = 0.01
WAIT_S = 1800.0


@dataclass(frozen=True)
class Outcome:
    """Of one seed. models: different ones that the peers ended with. rounds: that the first of them committed."""

    host: str
    peers: int
    seed: int
    learning_rate: float
    loss: float
    models: int
    rounds: int


@dataclass(frozen=True)
class Ended:
    """What one peer came to."""

    digest: str
    loss: float
    rounds: int


class Bench:
    """One comparison, from data to losses."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        """folder: where models are kept that others begin with."""
        self._given = given
        self._training, self._held_out = windows_of(given.text)
        self._context = multiprocessing.get_context("fork")
        self._folder = folder
        self._bases: dict[int, Path | None] = {}

    @property
    def _shares(self) -> tuple[int, int]:
        """Steps of each of several peers, and samples in each of its batches."""
        steps, batch, peers = self._given.steps, self._given.batch, self._given.peers
        return (steps // peers, batch) if self._given.share == "steps" else (steps, batch // peers)

    def _base(self, seed: int) -> Path | None:
        """What all models of a seed begin with, trained when it is asked for first."""
        given = self._given
        if seed not in self._bases:
            self._bases[seed] = self._folder / f"{seed}.safetensors" if given.base else None
            if given.base:
                windows, _ = windows_of(given.base)
                job = Job(windows, given.base_steps, given.batch, given.base_lr, seed, given.width)
                # In a process of its own: one that has computed gradients can start no others by a fork.
                process = self._context.Process(target=_train_base, args=(job, self._bases[seed]))
                process.start()
                process.join(WAIT_S)
        return self._bases[seed]

    def alone(self, host: str, seed: int, learning_rate: float) -> Outcome:
        """One peer with all data."""
        job = Job(
            self._training,
            self._given.steps,
            self._given.batch,
            learning_rate,
            seed,
            self._given.width,
            self._base(seed),
        )
        process, words = self._start(host, job, None, peers=1)
        (ended,) = _endings([process], [words])
        return Outcome(host, 1, seed, learning_rate, ended.loss, models=1, rounds=0)

    def together(self, host: str, seed: int, learning_rate: float) -> Outcome:
        """Several peers, each with its part of data and steps."""
        given, peers = self._given, self._given.peers
        settings = GossipSettings(strategy=given.strategy, every_steps=given.every_steps, ending_time=60.0)
        swarm = {"run": f"{host} {seed} {learning_rate}", "network": NETWORK, "settings": settings}
        processes, words = list[ForkProcess](), list[Connection]()
        try:
            for number in range(peers):
                part = self._training[number::peers]
                job = Job(part, *self._shares, learning_rate, seed + 1000 * number, given.width, self._base(seed))
                process, told = self._start(host, job, swarm, peers=peers)
                processes.append(process)
                words.append(told)
                if number == 0:
                    swarm = {**swarm, "initial_peers": _heard(process, told)[:1]}
                else:
                    _heard(process, told)
            endings = _endings(processes, words)
        finally:
            for process in processes:
                process.kill()
                process.join()
        models = len({ended.digest for ended in endings})
        return Outcome(host, peers, seed, learning_rate, endings[0].loss, models, endings[0].rounds)

    def _start(
        self, host: str, job: Job, swarm: dict[str, Any] | None, *, peers: int
    ) -> tuple[ForkProcess, Connection]:
        here, there = self._context.Pipe()
        arguments = (host, job, swarm, peers, self._held_out, there)
        process = self._context.Process(target=_train, args=arguments, name=f"{host} peer")
        process.start()
        there.close()
        return process, here


def _train_base(job: Job, place: Path) -> None:
    logging.disable(logging.WARNING)
    model = model_for(job)
    HOSTS["accelerate"](model, job, None, lambda gossip: None)
    keep(model, place)


def _train(
    host: str, job: Job, swarm: dict[str, Any] | None, peers: int, held_out: torch.Tensor, parent: Connection
) -> None:
    """The life of one peer."""
    logging.disable(logging.WARNING)
    model, entered = model_for(job), list[Gossip]()

    def wait(gossip: Gossip) -> None:
        entered.append(gossip)
        parent.send(gossip.addresses)
        gossip.wait_for_peers(peers)

    with contextlib.redirect_stdout(sys.stderr):
        HOSTS[host](model, job, swarm, wait)
    rounds = entered[0].rounds if entered else 0
    parent.send(Ended(digest_of(model), held_out_loss(model, held_out), rounds))


def _heard(process: ForkProcess, words: Connection) -> Any:
    """Raises RuntimeError where the peer has ended without a word, or says nothing."""
    if not words.poll(WAIT_S):
        raise RuntimeError(f"the {process.name} says nothing")
    try:
        return words.recv()
    except EOFError:
        raise RuntimeError(f"the {process.name} has ended") from None


def _endings(processes: Sequence[ForkProcess], words: Sequence[Connection]) -> list[Ended]:
    endings: list[Ended] = [_heard(process, told) for process, told in zip(processes, words, strict=True)]
    for process in processes:
        process.join(WAIT_S)
    return endings


def best(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those with the learning rate whose mean loss is the least."""
    by_rate = {
        rate: [each for each in outcomes if each.learning_rate == rate]
        for rate in sorted({each.learning_rate for each in outcomes})
    }
    return min(by_rate.values(), key=lambda some: statistics.fmean(each.loss for each in some))


def compared(one: Sequence[Outcome], together: Sequence[Outcome]) -> tuple[str, bool]:
    """The difference of the mean losses in words, and whether it is within the limit."""
    losses = [statistics.fmean(each.loss for each in some) for some in (one, together)]
    above = losses[1] / losses[0] - 1
    return f"{above:+.2%}", above <= LIMIT


def spread(outcomes: Sequence[Outcome]) -> str:
    """Mean and standard deviation over seeds."""
    losses = [each.loss for each in outcomes]
    return f"{statistics.fmean(losses):.4f} ± {statistics.stdev(losses) if len(losses) > 1 else 0.0:.4f}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="+", choices=tuple(HOSTS), default=tuple(HOSTS))
    parser.add_argument("--peers", type=whole_number(2, 16), default=4)
    parser.add_argument("--seeds", type=whole_number(1, 100), default=3)
    parser.add_argument("--steps", type=whole_number(4), default=1200, help="of the one peer")
    parser.add_argument("--batch", type=whole_number(1), default=8, help="samples in each of them")
    parser.add_argument("--width", type=whole_number(8, 1024), default=32, help="of the model")
    parser.add_argument("--share", choices=("batch", "steps"), default="batch", help="of what peers take their part")
    parser.add_argument("--lr", type=float, nargs="+", default=[0.01], help="of the one peer; several are tried")
    parser.add_argument("--lr-together", type=float, nargs="+", default=[0.02], help="of the peers of a swarm")
    parser.add_argument("--strategy", default="average")
    parser.add_argument("--every-steps", type=whole_number(1), default=5)
    parser.add_argument(
        "--text", type=Path, nargs="+", default=TEXTS, help="files that are learnt from (the documentation)"
    )
    parser.add_argument("--base", type=Path, nargs="+", help="files that all models have learnt from beforehand")
    parser.add_argument("--base-steps", type=whole_number(1), default=1000)
    parser.add_argument("--base-lr", type=float, default=0.003)
    parser.add_argument("--json", type=Path, help="where to write all outcomes")
    given = parser.parse_args(arguments)
    if given.share == "batch" and given.batch < given.peers:
        parser.error(f"a batch of {given.batch} has no part for each of {given.peers} peers: --batch, or --share steps")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit code says whether all held."""
    given, measured_on = _arguments(arguments), machine()
    torch.set_num_threads(1)  # before any of its threads exist, since a fork would not have them
    with tempfile.TemporaryDirectory() as folder:
        return measure(given, Bench(given, Path(folder)), measured_on)


def measure(given: argparse.Namespace, bench: Bench, measured_on: dict[str, Any]) -> int:
    """All hosts, one after the other."""
    outcomes, rows, held = list[Outcome](), list[list[str]](), True
    for host in given.hosts:
        if importlib.util.find_spec(NEEDS[host]) is None:
            rows.append([host, "not installed", "", "", "", "", ""])
            continue
        one, several = list[Outcome](), list[Outcome]()
        for seed, rate in itertools.product(range(given.seeds), given.lr):
            one.append(bench.alone(host, seed, rate))
            print(one[-1], file=sys.stderr, flush=True)
        for seed, rate in itertools.product(range(given.seeds), given.lr_together):
            several.append(bench.together(host, seed, rate))
            print(several[-1], file=sys.stderr, flush=True)
        outcomes += [*one, *several]
        models = max(each.models for each in several)
        one, several = best(one), best(several)
        difference, is_within = compared(one, several)
        held = held and is_within and models == 1
        rates = f"{one[0].learning_rate:g}, {several[0].learning_rate:g}"
        rows.append([host, spread(one), spread(several), difference, rates, str(several[0].rounds), str(models)])
    title = f"{given.peers} peers, {given.strategy} every {given.every_steps} steps, {given.seeds} seeds"
    columns = ["host", "loss of one", "loss together", "difference", "learning rates", "rounds", "models"]
    show_table(title, columns, rows)
    if given.json is not None:
        write_json(given.json, benchmark="hosted", measured_on=measured_on, results=outcomes)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
