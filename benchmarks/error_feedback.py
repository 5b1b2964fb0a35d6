"""Whether int4 would gain by error feedback: whoever sends keeps what rounding took, and adds it the next time.

    .venv/bin/python -m benchmarks.error_feedback text --steps 600 --learning-rate 0.0057
    .venv/bin/python -m benchmarks.error_feedback digits --seeds 8

Runs of the laboratory with 8 peers, one after the other: fp32, int4 as it is, and int4 whose peers keep the errors of
their contributions, which takes a further copy of the model. step-mix and averaging meet in groups of four, diloco in
one group. What is kept is not taken back where an attempt in int4 fails and the group meets in fp16, as a real peer
would have to: that is so in a few rounds while learning rates grow.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from weakref import WeakKeyDictionary

import numpy as np
import torch

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.strategies import TASKS, spread
from gossiptrain.config import CodecName, StrategyName, checked
from gossiptrain.core.averaging import Vector
from gossiptrain.core.modular import Modular
from gossiptrain.core.partition import Slice
from gossiptrain.simulate import meeting
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.swarm.coding import Buffers, Scratch
from gossiptrain.swarm.near_coding import NearCoding, SpreadEstimate

STRATEGIES: tuple[StrategyName, ...] = ("step-mix", "diloco", "average")
PEERS, GROUP = 8, 4
_kept_errors: WeakKeyDictionary[SpreadEstimate, Vector] = WeakKeyDictionary()
"""Of each peer, told by its estimate, which it has for as long as it lives."""


@dataclass(frozen=True)
class Line:
    """Losses of the merged model by seed; loss_to_fp32: relative, seed by seed."""

    strategy: StrategyName
    coding: str
    losses: tuple[float, ...]
    loss_to_fp32: tuple[float, ...]
    megabytes_per_peer: float


class RememberingCoding(NearCoding):
    """Contributions are coded with what was lost of the last ones."""

    def __init__(
        self, buffers: Buffers, modular: Modular, own_chunks: Sequence[Slice], *, spread: SpreadEstimate, seed: int
    ) -> None:
        super().__init__(buffers, modular, own_chunks, spread=spread, seed=seed)
        errors = _kept_errors.setdefault(spread, np.zeros_like(buffers.snapshot))
        self._errors = errors
        self._wanted = buffers.snapshot + errors
        self._own = Buffers(self._wanted, buffers.average)

    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        """And keeps what is lost of this one."""
        plain, self._buffers = self._buffers, self._own
        try:
            raw = super().contribution(chunk, scratch)
        finally:
            self._buffers = plain
        part = slice(chunk.start, chunk.stop)
        found = np.empty(len(chunk), np.float32)
        self._modular.decode(scratch.wire[: self.size_bytes(chunk)], self._wanted[part], found)
        self._errors[part] = self._wanted[part] - found
        return raw


@contextlib.contextmanager
def error_feedback() -> Iterator[None]:
    """All that meet meanwhile in int4 remember."""
    with patch.object(meeting, "NearCoding", RememberingCoding):
        yield


def lines_of(strategy: StrategyName, given: argparse.Namespace) -> list[Line]:
    """The three codings of one strategy."""
    codings: dict[str, CodecName] = {"fp32": "fp32", "int4": "int4", "int4, errors kept": "int4"}
    found: list[Line] = []
    for coding, codec in codings.items():
        common = {"task": given.task, "peers": PEERS, "evaluate_every": 0, "every_steps": 20, **TASKS[given.task]}
        if given.steps:
            common["steps"] = given.steps
        losses, sent = [], 0.0
        for seed in range(given.seeds):
            order = checked(
                LearnSettings,
                **common,
                strategy=strategy,
                group_size=GROUP,
                codec=codec,
                learning_rate=given.learning_rate,
                data_dir=given.data_dir,
                seed=seed,
            )
            with error_feedback() if "kept" in coding else contextlib.nullcontext():
                result = run(order)
            losses.append(result.merged.loss)
            sent = result.bytes_per_peer / 1e6
        base = found[0].losses if found else losses
        relative = tuple(own / other - 1 for own, other in zip(losses, base, strict=True))
        found.append(Line(strategy, coding, tuple(losses), relative, sent))
        print(f"{strategy}, {coding}: {spread(losses, digits=4)}", flush=True)
    return found


def arguments() -> argparse.ArgumentParser:
    """Of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_feedback", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--steps", type=whole_number(1), help="inner steps of each peer")
    parser.add_argument("--seeds", type=whole_number(1, 8), default=3)
    parser.add_argument("--learning-rate", type=float, metavar="X", help="of all runs (the recipe's)")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def main() -> None:
    """Reads the arguments, runs, prints, writes."""
    given = arguments().parse_args()
    torch.set_num_threads(1)
    measured_on = machine()
    lines = [line for strategy in given.strategies for line in lines_of(strategy, given)]
    rows = [
        [
            line.strategy,
            line.coding,
            spread(line.losses, digits=4),
            spread(line.loss_to_fp32, digits=2, factor=100) + " %" if line.coding != "fp32" else "",
            f"{line.megabytes_per_peer:.1f}",
        ]
        for line in lines
    ]
    show_table(f"{given.task}: {PEERS} peers, {given.seeds} seeds", ("", "coding", "loss", "to fp32", "MB sent"), rows)
    if given.json:
        write_json(given.json, benchmark="error_feedback", measured_on=measured_on, results=lines)


if __name__ == "__main__":
    main()
