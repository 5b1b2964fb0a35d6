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
from dataclasses import dataclass
from pathlib import Path

from benchmarks.laboratory.pool import Runner, cores, laboratories
from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.strategies import TASKS, Bench, measured, spread

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


def bench_for(runner: Runner, given: argparse.Namespace, task: str) -> Bench:
    """What all runs of a task have in common."""
    common = {
        **TASKS[task],
        "task": task,
        "peers": 8,
        "group_size": 4,
        "constant_rate": True,
        "non_iid": given.non_iid,
        "evaluate_every": 0,
        "data_dir": given.data_dir,
    }
    return Bench(common, given.seeds, BEST_RATES[task], tuple(given.multiples), runner)


def cell_of(bench: Bench, *, rounds: int, multiple: float, strategy: str) -> Cell:
    """Both strategies with all seeds."""
    rate = multiple * bench.recipe_rate

    def losses(name: str) -> tuple[float, ...]:
        given = {"strategy": name, "steps": rounds * EVERY, "every_steps": EVERY}
        return bench.figures(name, given, rate=rate).losses

    return Cell(bench.common["task"], rounds, rate, losses("average"), losses(strategy))


def cells_of(runner: Runner, given: argparse.Namespace) -> list[Callable[[], Cell]]:
    """All that are to be measured, the long ones first."""

    def cell(bench: Bench, rounds: int, multiple: float) -> Callable[[], Cell]:
        return lambda: cell_of(bench, rounds=rounds, multiple=multiple, strategy=given.strategy)

    benches = [bench_for(runner, given, task) for task in given.tasks]
    return [
        cell(bench, rounds, multiple)
        for rounds in sorted(given.rounds, reverse=True)
        for bench in benches
        for multiple in bench.multiples
    ]


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
        ordered = measured(cells_of(runner, given), at_once=given.processes, found=found)
    show(sorted(ordered, key=lambda cell: (cell.task, cell.rounds, cell.learning_rate)), given.strategy)


if __name__ == "__main__":
    main()
