"""How good the merged model is, by strategy: every competitor with a learning rate of its own, over several seeds.

    python -m benchmarks.strategies text               # 8 peers, tiny transformer, H = 20 and 50, 3 seeds
    python -m benchmarks.strategies cifar10 --every 20
    python -m benchmarks.strategies text --questions   # absent peers, int8 and int4, unequal speeds, non-IID data

All runs are in the laboratory (`gossip simulate learn`), with equal samples: each peer makes the same number of inner
steps whatever the strategy. First the learning rate of each is chosen among multiples of the recipe's, in runs of half
the steps and with a seed that is not used again. The tables show means over the seeds with 95 % confidence intervals
(Student's t), and differences in the loss to DiLoCo and to synchronous training, seed by seed. The JSON file is written
anew with every line, so what has been measured outlives an interruption.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from benchmarks.laboratory.pool import Runner, cores, laboratories
from benchmarks.measure import machine, show_table, whole_number, write_json
from gossiptrain.config import checked
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.results import LearnResult, Score
from gossiptrain.training.model.strategy_choice import OUTER_DEFAULTS
from gossiptrain.training.tasks import task_named

LineT = TypeVar("LineT")

TUNING_SEED = 1000
STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Two-sided, by number of seeds; 2 for more."""
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"steps": 1600, "batch": 8},
    "text": {"steps": 2400, "batch": 4, "variant": {"model": "tiny"}},
    "cifar10": {"steps": 600, "batch": 16, "variant": {"model": "tiny"}},
}
MULTIPLES: dict[str, tuple[float, ...]] = {"digits": (0.5, 1.0, 2.0), "text": (4.0, 8.0), "cifar10": (1.0, 2.0)}
"""Of the recipe's learning rate for the batch, where the search begins."""
IN_INT8 = {"strategy": "step-mix", "group_size": 4, "codec": "int8"}


def more_often(times: int) -> dict[str, Any]:
    """So many rounds for one; the outer step follows by the rule for other numbers of inner steps: as far a memory."""
    usual = OUTER_DEFAULTS["step-mix"]
    learning_rate, momentum = usual.rescaled(1 / times)
    return {"rounds_for_one": times, "outer_learning_rate": learning_rate, "outer_momentum": momentum}


COURSES: dict[str, dict[str, Any]] = {
    "central": {"strategy": "central"},
    "diloco": {"strategy": "diloco"},
    "step-mix, groups of 4": {"strategy": "step-mix", "group_size": 4},
    "step-mix, groups of 4, int8, twice as often": {**IN_INT8, **more_often(2)},
    "average, groups of 4": {"strategy": "average", "group_size": 4},
    "alone": {"strategy": "alone"},
}
WITHOUT_ROUNDS = ("central", "alone")
QUESTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "30 % absent": {"absent": 0.3},
    "30 % absent, tried again": {"absent": 0.3, "tries": 4},
    "30 % absent, non-IID": {"absent": 0.3, "non_iid": 0.1},
    "a = 1": {"outer_immediate": 1.0},
    "a = 1, 30 % absent": {"outer_immediate": 1.0, "absent": 0.3},
    "a = 1, non-IID": {"outer_immediate": 1.0, "non_iid": 0.1},
    "a = 1, 30 % absent, non-IID": {"outer_immediate": 1.0, "absent": 0.3, "non_iid": 0.1},
    "int8": {"codec": "int8"},
    "int4": {"codec": "int4"},
    "30 % absent, int4": {"absent": 0.3, "codec": "int4"},
    "average": {"strategy": "average"},
    "gradual": {"strategy": "gradual"},
    "average, int4": {"strategy": "average", "codec": "int4"},
    "diloco": {"strategy": "diloco"},
    "diloco, int4": {"strategy": "diloco", "codec": "int4"},
    "fp16": {"codec": "fp16"},
    "speeds 1 : 4": {"speeds": 4.0},
    "speeds 1 : 4, 5 % more time": {"speeds": 4.0, "time": 1.05},
    "late by half a round": {"delay": 10},
    "non-IID": {"non_iid": 0.1},
    "non-IID, twice the rounds": {"non_iid": 0.1, "every_steps": 10},
    "non-IID, one group": {"non_iid": 0.1, "group_size": 8},
    "non-IID, average": {"non_iid": 0.1, "strategy": "average"},
    "non-IID, gradual": {"non_iid": 0.1, "strategy": "gradual"},
}


@dataclass(frozen=True)
class Figures:
    """One line: a competitor at one number of inner steps between rounds. Losses and accuracies are by seed, of the
    merged model where nothing else is said, and where there is one."""

    name: str
    every_steps: int
    """As the course was told; one with more rounds makes several in them."""
    learning_rate: float
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    worst_peer_losses: tuple[float, ...]
    disagreement: float
    megabytes_per_peer: float


@dataclass(frozen=True)
class Bench:
    """What all runs of one call have in common."""

    common: dict[str, Any]
    seeds: int
    recipe_rate: float
    multiples: tuple[float, ...]
    runner: Runner

    def run(self, given: dict[str, Any], *, rate: float, seed: int) -> LearnResult:
        """One run."""
        given = dict(given)
        if rounds := given.pop("rounds_for_one", None):
            given["every_steps"] //= rounds
        if time_share := given.pop("time", None):
            given["steps"] = round(time_share * self.common["steps"])
        return self.runner(checked(LearnSettings, **{**self.common, **given}, learning_rate=rate, seed=seed))

    def tuned(self, given: dict[str, Any]) -> float:
        """The learning rate with the lowest loss after half the steps, among multiples of the recipe's; further out
        while that helps."""
        half = {**given, "steps": self.common["steps"] // 2}
        losses: dict[float, float] = {}

        def loss_at(multiple: float) -> float:
            if multiple not in losses:
                found = score_of(self.run(half, rate=multiple * self.recipe_rate, seed=TUNING_SEED)).loss
                losses[multiple] = found if math.isfinite(found) else math.inf
            return losses[multiple]

        best = min(self.multiples, key=loss_at)
        while loss_at(best) == min(losses.values()) and best in (min(losses), max(losses)):
            further = best / 2 if best == min(losses) else best * 2
            if loss_at(further) >= loss_at(best):
                break
            best = further
        return best * self.recipe_rate

    def figures(self, name: str, given: dict[str, Any], *, rate: float) -> Figures:
        """All seeds of one competitor."""
        runs = [self.run(given, rate=rate, seed=seed) for seed in range(self.seeds)]
        scores = [score_of(each) for each in runs]
        return Figures(
            name=name,
            every_steps=given["every_steps"],
            learning_rate=rate,
            losses=tuple(score.loss for score in scores),
            accuracies=tuple(score.accuracy for score in scores),
            worst_peer_losses=tuple(each.worst_peer.loss for each in runs),
            disagreement=statistics.fmean(each.disagreement for each in runs),
            megabytes_per_peer=statistics.fmean(each.bytes_per_peer for each in runs) / 1e6,
        )


def score_of(run: LearnResult) -> Score:
    """Of the merged model; peers that never met have none, and count by themselves."""
    return run.mean_peer if run.settings.strategy == "alone" else run.merged


Line: TypeAlias = Callable[[], Figures]


def competition(bench: Bench, courses: dict[str, Any], every: Sequence[int]) -> list[Line]:
    """Each course at every number of inner steps between rounds; those without rounds once."""

    def line(name: str, given: dict[str, Any]) -> Line:
        return lambda: bench.figures(name, given, rate=bench.tuned(given))

    return [
        line(name, {**given, "every_steps": steps})
        for steps in every
        for name, given in courses.items()
        if steps == every[0] or name not in WITHOUT_ROUNDS
    ]


def questions(bench: Bench, asked: dict[str, Any], every_steps: int) -> list[Line]:
    """What step-mix in groups of 4, or the strategy that is named, loses under each condition, at the rate that suits
    step-mix without any."""
    usual = {"strategy": "step-mix", "group_size": 4, "every_steps": every_steps}
    rate = bench.tuned(usual)

    def line(name: str, given: dict[str, Any]) -> Line:
        return lambda: bench.figures(name, {**usual, **given}, rate=rate)

    return [line(name, given) for name, given in asked.items()]


def measured(lines: Sequence[Callable[[], LineT]], *, at_once: int, found: Callable[[LineT], None]) -> list[LineT]:
    """All lines in their order, several at once; `found` is told of each as soon as it is there."""

    def measure(line: Callable[[], LineT]) -> LineT:
        figures = line()
        found(figures)
        return figures

    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(measure, lines))


def relative(figures: Figures, other: Figures) -> tuple[float, ...]:
    """By how much its loss is above the other one's, seed by seed."""
    return tuple(own / base - 1 for own, base in zip(figures.losses, other.losses, strict=True))


def spread(samples: Sequence[float], *, digits: int, factor: float = 1.0) -> str:
    """`1.234 ± 0.056`, the mean and its 95 % confidence interval."""
    mean = factor * statistics.fmean(samples)
    if len(samples) < 2:
        return f"{mean:.{digits}f}"
    half = factor * STUDENT_95.get(len(samples), 2.0) * statistics.stdev(samples) / math.sqrt(len(samples))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def table(title: str, lines: Sequence[Figures], references: Sequence[str]) -> None:
    """Prints the lines, each beside the references of the same H (or of any, where they have no rounds)."""
    rows = []
    references = [name for name in references if any(line.name == name for line in lines)]
    for line in lines:
        differences = []
        for name in references:
            same = [other for other in lines if other.name == name]
            base = next((other for other in same if other.every_steps == line.every_steps), same[0])
            differences.append(spread(relative(line, base), digits=2, factor=100) + " %" if base is not line else "")
        rows.append(
            [
                line.name,
                str(line.every_steps),
                f"{line.learning_rate:g}",
                spread(line.losses, digits=4),
                spread(line.accuracies, digits=1, factor=100) + " %",
                f"{statistics.fmean(line.worst_peer_losses):.4f}",
                f"{line.disagreement:.1e}",
                f"{line.megabytes_per_peer:.1f}",
                *differences,
            ]
        )
    columns = ("", "H", "lr", "loss", "accuracy", "worst peer", "disagreement", "MB sent")
    show_table(title, (*columns, *(f"to {name}" for name in references)), rows)


def main() -> None:
    """Runs the competition or the questions on one task."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--questions", action="store_true", help="what step-mix loses under harder conditions")
    parser.add_argument("--model", help="of the task, in place of the tiny one")
    parser.add_argument("--peers", type=whole_number(2, 256), default=8)
    parser.add_argument("--every", type=whole_number(1), nargs="+", default=[20, 50])
    parser.add_argument("--steps", type=whole_number(1), help="inner steps of each peer")
    parser.add_argument("--batch", type=whole_number(1), help="samples of an inner step")
    parser.add_argument("--seeds", type=whole_number(1, 100), default=3)
    parser.add_argument("--only", nargs="+", metavar="LINE", help="lines by their names in the first column")
    parser.add_argument(
        "--multiples", type=float, nargs="+", metavar="X", help="of the recipe's learning rate where the search begins"
    )
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--processes", type=whole_number(1, 256), default=cores(), help="runs at once (one a core)")
    given = parser.parse_args()
    common = {"task": given.task, "peers": given.peers, "evaluate_every": 0, **TASKS[given.task]}
    for name in ("steps", "batch", "data_dir"):
        if value := getattr(given, name):
            common[name] = value
    if given.model:
        common["variant"] = {"model": given.model}
    recipe = task_named(given.task, **common.get("variant", {})).recipe
    measured_on = machine()
    begun_s = time.monotonic()
    lines: list[Figures] = []

    def found(line: Figures) -> None:
        lines.append(line)
        print(
            f"{time.monotonic() - begun_s:6.0f} s  {line.name}, H = {line.every_steps}, learning rate "
            f"{line.learning_rate:g}: {spread(line.losses, digits=4)}",
            flush=True,
        )
        if given.json:
            write_json(given.json, benchmark="strategies", measured_on=measured_on, results=lines)

    def asked_for(names: dict[str, Any]) -> dict[str, Any]:
        return {name: own for name, own in names.items() if given.only is None or name in given.only}

    with laboratories(given.processes) as runner:
        bench = Bench(
            common,
            given.seeds,
            recipe.learning_rate_for(common["batch"]),
            tuple(given.multiples or MULTIPLES[given.task]),
            runner,
        )
        if given.questions:
            orders = questions(bench, asked_for(QUESTIONS), given.every[0])
        else:
            orders = competition(bench, asked_for(COURSES), given.every)
        # One more than there are processes, so that none has to wait for a line that is between two runs.
        ordered = measured(orders, at_once=given.processes + 1, found=found)
    references = ["as it is"] if given.questions else ["diloco", "central"]
    title = f"{given.task}: {given.peers} peers, {common['steps']} steps of {common['batch']} samples"
    table(title, ordered, references)


if __name__ == "__main__":
    main()
