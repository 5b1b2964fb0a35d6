"""DiLoCo by number of replicas, beside synchronous training with the same batch and as many tokens.

    .venv/bin/python -m benchmarks.papers.diloco_scaling --data-dir ~/data
    .venv/bin/python -m benchmarks.papers.diloco_scaling --model small --batch 256 --steps 20000 --device cuda

The published figures are those of Charles et al. 2025 ("Communication-Efficient Language Model Training Scales Reliably
and Robustly: Scaling Laws for DiLoCo", table 4): by how many percent the loss on C4 is above that of synchronous
training, 30 inner steps between rounds, for 35 and 550 million parameters. Here the global batch is divided among the
replicas of the laboratory, they learn Tiny Shakespeare or the text in --data-dir, and step-mix in groups of half the
replicas is shown beside. Learning rates are tuned for each, as in `benchmarks.strategies`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.laboratory.pool import cores, laboratories
from benchmarks.measure import whole_number
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from benchmarks.strategies import Bench, Figures, Line, measured, relative
from gossiptrain.training.tasks import task_named

EVERY = 30
PUBLISHED: dict[int, tuple[float, float]] = {2: (0.7, 0.2), 4: (2.0, 0.7), 8: (3.9, 1.7)}
"""Percent above synchronous training, for 35 and for 550 million parameters."""
MULTIPLES = (4.0, 8.0)
NOTES = """
Here the model has 0.12 million parameters and sees some 30 bytes for each of them, a small fraction of the rounds of
the paper. The gap to synchronous training closes with the number of rounds and with the size of the model; what
carries over is that it grows with the number of replicas.

The paper finds M = 1 0.1 % below synchronous training; the laboratory begins with two replicas.
"""


def lines(bench: Bench, batch: int) -> list[Line]:
    """Synchronous training first, then DiLoCo and step-mix for each number of replicas."""

    def line(name: str, given: dict[str, Any]) -> Line:
        return lambda: bench.figures(name, given, rate=bench.tuned(given))

    most = max(PUBLISHED)
    found = [line("synchronous", {"strategy": "central", "peers": most, "batch": batch // most, "every_steps": EVERY})]
    for replicas in PUBLISHED:
        divided = {"peers": replicas, "batch": batch // replicas, "every_steps": EVERY}
        found.append(line(f"M = {replicas}", {**divided, "strategy": "diloco"}))
        if replicas > 2:
            grouped = {**divided, "strategy": "step-mix", "group_size": replicas // 2}
            found.append(line(f"M = {replicas}, step-mix in groups of {replicas // 2}", grouped))
    return found


def figures_of(found: Sequence[Figures]) -> list[Figure]:
    """Percent above synchronous training, beside the published ones where there are any."""
    base = found[0]
    figures = []
    for line in found[1:]:
        ours = 100 * statistics.fmean(relative(line, base))
        replicas = int(line.name.removeprefix("M = ").split(",")[0])
        published = PUBLISHED[replicas] if "step-mix" not in line.name else (None, None)
        for column, percent in zip(("% above, 35 M", "% above, 550 M"), published, strict=True):
            figures.append(beside(line.name, column, published=percent, ours=ours))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--model", choices=("tiny", "small"), default="tiny")
    own.add_argument("--steps", type=whole_number(60), default=1600)
    own.add_argument("--batch", type=whole_number(8), default=32, help="of all replicas together (32)")
    own.add_argument("--seeds", type=whole_number(1, 8), default=2)
    own.add_argument("--device", default="auto")
    own.add_argument("--processes", type=whole_number(1, 256), default=cores(), help="runs at once (one a core)")
    own.add_argument("--data-dir", type=Path)
    given = own.parse_args(arguments)
    variant = {"model": given.model}
    common = {"task": "text", "variant": variant, "steps": given.steps, "evaluate_every": 0, "device": given.device}
    common |= {"data_dir": given.data_dir} if given.data_dir else {}
    rate = task_named("text", **variant).recipe.learning_rate_for(given.batch // max(PUBLISHED))
    with laboratories(given.processes) as runner:
        bench = Bench(common, given.seeds, rate, MULTIPLES, runner)
        found = measured(lines(bench, given.batch), at_once=given.processes + 1, found=lambda line: print(line.name))
    figures = figures_of(found)
    show_figures("Loss above that of synchronous training", figures, digits=1)
    show_notes(NOTES)
    write_figures(given.json, benchmark="diloco_scaling", figures=figures)


if __name__ == "__main__":
    main()
