"""Whether `gradual` could be what a loop begins with that nobody has tuned: beside plain averaging, in every cell.

    python -m benchmarks.default_strategy digits text cifar10
    python -m benchmarks.default_strategy text --rounds 5 20 --seeds 2 --data-dir DIR

A cell is a task, a number of rounds, and a learning rate, a quarter, one and four times that which is best for plain
averaging; it stays as it is throughout, as in many a loop of one's own. 8 peers in groups of 4, 20 inner steps between
two rounds, in the laboratory. The table shows the loss of the merged model and its ratio to that of plain averaging,
seed by seed with its 95 % confidence interval; the last lines the worst cell and the mean of all. The rule wanted: no
cell worse by more than 1 %, the mean better by 3 % or more. Where plain averaging diverges there is nothing to compare.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.laboratory.pool import Runner, cores, laboratories
from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.strategies import TASKS, score_of, spread
from gossiptrain.config import checked
from gossiptrain.simulate.learn_settings import LearnSettings

EVERY = 20
BEST_RATES = {"digits": 0.1, "text": 0.00566, "cifar10": 0.05}
"""Of plain averaging in groups of 4, see `docs/algorithms.md`."""
WORST_ALLOWED, MEAN_WANTED = 0.01, 0.03


@dataclass(frozen=True)
class Cell:
    """Losses by seed, in nats, of the merged model."""

    task: str
    rounds: int
    learning_rate: float
    average: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def compared(self) -> bool:
        """Whether plain averaging learnt something with every seed."""
        return all(math.isfinite(loss) for loss in self.average)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Seed by seed, to plain averaging."""
        return tuple(
            own / base if math.isfinite(own) else math.inf for own, base in zip(self.other, self.average, strict=True)
        )

    @property
    def ratio(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.ratios)


def cell_of(runner: Runner, given: argparse.Namespace, task: str, rounds: int, multiple: float) -> Cell:
    """Both strategies with all seeds."""
    common: dict[str, Any] = {name: value for name, value in TASKS[task].items() if name != "steps"}
    rate = multiple * BEST_RATES[task]

    def losses(strategy: str) -> tuple[float, ...]:
        runs = (
            checked(
                LearnSettings,
                **common,
                task=task,
                strategy=strategy,
                peers=8,
                group_size=4,
                steps=rounds * EVERY,
                every_steps=EVERY,
                learning_rate=rate,
                constant_rate=True,
                non_iid=given.non_iid,
                evaluate_every=0,
                data_dir=given.data_dir,
                seed=seed,
            )
            for seed in range(given.seeds)
        )
        return tuple(score_of(runner(settings)).loss for settings in runs)

    return Cell(task, rounds, rate, losses("average"), losses(given.strategy))


def measured(runner: Runner, given: argparse.Namespace, *, found: Callable[[Cell], None]) -> list[Cell]:
    """All cells, the long ones first, several at once; `found` is told of each as soon as it is there."""
    wanted = [
        (task, rounds, multiple)
        for rounds in sorted(given.rounds, reverse=True)
        for task in given.tasks
        for multiple in given.multiples
    ]

    def measure(cell: tuple[str, int, float]) -> Cell:
        figures = cell_of(runner, given, *cell)
        found(figures)
        return figures

    with ThreadPoolExecutor(given.processes) as threads:
        return sorted(threads.map(measure, wanted), key=lambda cell: (cell.task, cell.rounds, cell.learning_rate))


def show(cells: Sequence[Cell], strategy: str) -> None:
    """The table and the verdict."""
    rows = [
        [
            f"{cell.task}, {cell.rounds} rounds",
            f"{cell.learning_rate:.3g}",
            *(
                spread(losses, digits=digits) if all(map(math.isfinite, losses)) else "diverges"
                for losses, digits in ((cell.average, 4), (cell.other, 4), (cell.ratios, 3))
            ),
        ]
        for cell in cells
    ]
    show_table(f"{strategy} beside average", ("", "lr", "average", strategy, "ratio"), rows)
    ratios = {cell: cell.ratio for cell in cells if cell.compared}
    if not ratios:
        return
    worst = max(ratios, key=lambda cell: ratios[cell])
    mean = statistics.fmean(ratios.values())
    holds = ratios[worst] <= 1 + WORST_ALLOWED and mean <= 1 - MEAN_WANTED
    print(f"worst: {ratios[worst]:.3f}, {worst.task} with {worst.rounds} rounds at {worst.learning_rate:.3g}")
    print(f"mean of {len(ratios)} cells: {mean:.3f}")
    print("the rule holds" if holds else "the rule does not hold")


def main() -> None:
    """Measures the grid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.default_strategy", description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=sorted(BEST_RATES))
    parser.add_argument("--strategy", default="gradual", help="beside average (gradual)")
    parser.add_argument("--rounds", type=whole_number(1), nargs="+", default=[5, 20, 100])
    parser.add_argument(
        "--multiples", type=float, nargs="+", default=[0.25, 1.0, 4.0], help="of the best learning rate"
    )
    parser.add_argument("--non-iid", type=float, metavar="ALPHA")
    parser.add_argument("--seeds", type=whole_number(2, 100), default=3)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--processes", type=whole_number(1, 256), default=cores(), help="runs at once (one a core)")
    given = parser.parse_args()
    measured_on = machine()
    cells: list[Cell] = []

    def found(cell: Cell) -> None:
        cells.append(cell)
        print(
            f"{cell.task}, {cell.rounds} rounds, learning rate {cell.learning_rate:.3g}: {cell.ratio:.3f}", flush=True
        )
        if given.json:
            write_json(given.json, benchmark="default_strategy", measured_on=measured_on, results=cells)

    with laboratories(given.processes) as runner:
        show(measured(runner, given, found=found), given.strategy)


if __name__ == "__main__":
    main()
