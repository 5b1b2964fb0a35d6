"""What liars cost: attack x aggregator, on digits, with virtual peers of the laboratory.

    python -m benchmarks.attacks [--peers 16] [--attackers 4] [--group-sizes 4,16] [--seeds 3] [--json FILE]
    python -m benchmarks.attacks --strategy gradual

Final loss of the honest peers, each by itself on held-out data, on average, relative to the same run in which the
attackers do as all others do and nothing is guarded: 1.00 is as good as without an attack. `alone` is the same for
peers that never meet. `clip*`: the attackers also give back their own values for the mean of the slices that they
reduce.
`refused`: share of the averages that honest peers did not take, or not whole.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

from gossiptrain.simulate.attacks import AttackName

COLUMNS = ("off", "result", "clip", "clip*", "median", "trimmed-mean", "krum")
NO_ATTACK = "none"
ATTACKS = (NO_ATTACK, *get_args(AttackName))


@dataclass(frozen=True)
class Cell:
    """One run. column: one of `COLUMNS`, or `alone`."""

    attack: str
    column: str
    group_size: int
    seed: int
    peers: int
    attackers: int
    steps: int
    every_steps: int
    strategy: str


@dataclass(frozen=True)
class Found:
    """Loss of the honest peers, each by itself, and the share of averages that they refused."""

    loss: float
    refused: float


def run_cell(cell: Cell) -> Found:
    """Runs in a process of its own."""
    import torch

    from gossiptrain.simulate.learn import run
    from gossiptrain.simulate.learn_settings import LearnSettings

    torch.set_num_threads(1)
    given: dict[str, Any] = {
        "task": "digits",
        "strategy": "alone" if cell.column == "alone" else cell.strategy,
        "peers": cell.peers,
        "attackers": cell.attackers,
        "attack": None if cell.attack == NO_ATTACK else cell.attack,
        "guard": "off" if cell.column == "alone" else cell.column.removesuffix("*"),
        "lying_owners": cell.column.endswith("*"),
        "group_size": cell.group_size,
        "steps": cell.steps,
        "every_steps": cell.every_steps,
        "evaluate_every": 0,
        "seed": cell.seed,
    }
    found = run(LearnSettings(**given))
    averages = found.rounds * (cell.peers - cell.attackers)
    return Found(found.mean_peer.loss, found.refused / averages if averages else 0.0)


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """All runs, those of one seed together."""
    sizes = [int(size) for size in options.group_sizes.split(",")]
    common = {name: getattr(options, name) for name in ("peers", "attackers", "steps", "every_steps", "strategy")}
    found = []
    for seed, size in itertools.product(range(options.seeds), sizes):
        pairs = [*itertools.product(ATTACKS, COLUMNS), (NO_ATTACK, "alone")]
        found += [Cell(attack=attack, column=column, group_size=size, seed=seed, **common) for attack, column in pairs]
    return found


def relative(found: dict[Cell, Found], *, attack: str, column: str, group_size: int) -> tuple[float, float]:
    """Mean over all seeds of the loss relative to the clean run of the same seed, and of the share refused."""
    losses, refused = [], []
    for cell, result in found.items():
        if (cell.attack, cell.column, cell.group_size) == (attack, column, group_size):
            clean = next(
                other.loss
                for key, other in found.items()
                if (key.attack, key.column, key.group_size, key.seed) == (NO_ATTACK, "off", group_size, cell.seed)
            )
            losses.append(result.loss / clean)
            refused.append(result.refused)
    if not all(map(math.isfinite, losses)):
        return math.nan, statistics.fmean(refused)
    return statistics.fmean(losses), statistics.fmean(refused)


def table(found: dict[Cell, Found], group_size: int) -> list[str]:
    """Rows of the table of one size of groups, in Markdown."""
    alone, _ = relative(found, attack=NO_ATTACK, column="alone", group_size=group_size)
    rows = [f"groups of {group_size}; alone {alone:.2f}", f"| attack | {' | '.join(COLUMNS)} |"]
    rows.append("|" + "---|" * (len(COLUMNS) + 1))
    for attack in ATTACKS:
        cells = []
        for column in COLUMNS:
            loss, refused = relative(found, attack=attack, column=column, group_size=group_size)
            cells.append(
                ("not a number" if math.isnan(loss) else f"{loss:.2f}") + (f" ({refused:.0%})" if refused else "")
            )
        rows.append(f"| {attack} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Runs all cells, two at a time, and prints one table for each size of groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=16)
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--group-sizes", default="4,16")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every-steps", type=int, default=10)
    parser.add_argument("--strategy", default="average")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cells = cells_of(options)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        found = dict(zip(cells, pool.map(run_cell, cells), strict=True))
    for size in options.group_sizes.split(","):
        print("\n".join(table(found, int(size))) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(cell) | asdict(result) for cell, result in found.items()]))


if __name__ == "__main__":
    main()
