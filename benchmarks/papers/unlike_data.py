"""Peers whose data are of different kinds: the worst peer's accuracy on CIFAR-10, by how unlike the data are.

    .venv/bin/python -m benchmarks.papers.unlike_data --device cuda
    .venv/bin/python -m benchmarks.papers.unlike_data --model tiny --peers 8 --epochs 2 --only central average

The published figures are those of Vogels et al. 2021 ("RelaySum for decentralized deep learning on heterogeneous data",
table 2): VGG-11 without normalisation, 16 workers with 32 samples a step, classes dealt by a Dirichlet distribution,
200 epochs over all data, learning rates tuned for each. The first command has the same sizes and is for a GPU, where it
takes a night; the second shows on a laptop how it goes. --absent is the share of messages that are lost, as in table 5.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.laboratory.pool import Runner
from benchmarks.measure import whole_number
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from benchmarks.strategies import Bench
from gossiptrain.simulate.learn import run
from gossiptrain.training.tasks import task_named

IMAGES = 50_000
BATCH = 32
ALPHAS = (1.0, 0.1, 0.01)
MULTIPLES = (1.0, 2.0)
COURSES: Mapping[str, tuple[dict[str, Any], tuple[float, ...] | None]] = {
    "central": ({"strategy": "central", "every_steps": 100}, (90.2, 90.2, 90.2)),
    "average": (
        {"strategy": "average", "grouping": "exponential", "group_size": 2, "every_steps": 1},
        (89.5, 89.2, 87.5),
    ),
    "step-mix": ({"strategy": "step-mix", "group_size": 4, "every_steps": 10}, None),
    "diloco": ({"strategy": "diloco", "every_steps": 10}, None),
}
"""What each is told, and what the paper found with momentum for the three ALPHAS. Its nearest to averaging in pairs is
SGP on the time-varying exponential graph, whose messages go one way."""
NOTES = """
"central" is one model that learns from the batches of all; the paper's has momentum, too. "average" meets in pairs
after every step, "step-mix" in groups of four and "diloco" in one group after every tenth, with a tenth of the bytes
and less.

The paper's best is RelaySGD on two trees with momentum: 90.2, 89.5, 89.1; its worst D² on a ring, 38.2 for the most
unlike data.

The learning rate falls in a line from its peak, where the paper divides it by ten after 150 and 180 epochs, and images
are cut out and mirrored as in the task's recipe.
"""


def figures_of(runner: Runner, common: dict[str, Any], *, seeds: int, names: Sequence[str]) -> list[Figure]:
    """The accuracy of the worst peer in percent, mean over the seeds, for each course and each kind of data."""
    recipe = task_named("cifar10", **common["variant"]).recipe
    bench = Bench(common, seeds, recipe.learning_rate_for(BATCH), MULTIPLES, runner)
    found = []
    for name in names:
        given, published = COURSES[name]
        for place, alpha in enumerate(ALPHAS):
            # One model that sees all data does not know how they were dealt.
            if name != "central" or not place:
                worst, rate = _worst(bench, given if name == "central" else {**given, "non_iid": alpha}, seeds=seeds)
            paper = published[place] if published else None
            found.append(beside(name, f"concentration {alpha:g}", published=paper, ours=worst))
            print(f"{name}, concentration {alpha:g}: {worst:.1f} %, learning rate {rate:g}", flush=True)
    return found


def _worst(bench: Bench, given: dict[str, Any], *, seeds: int) -> tuple[float, float]:
    """The accuracy, and the learning rate that was best."""
    rate = bench.tuned(given)
    runs = [bench.run(given, rate=rate, seed=seed) for seed in range(seeds)]
    return 100 * statistics.fmean(run.worst_peer.accuracy for run in runs), rate


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--model", choices=("vgg11", "small", "tiny"), default="vgg11")
    own.add_argument("--peers", type=whole_number(2, 64), default=16)
    own.add_argument("--epochs", type=whole_number(1), default=200, help="over the data of all (200)")
    own.add_argument("--steps", type=whole_number(1), help="of each peer, in place of --epochs")
    own.add_argument("--seeds", type=whole_number(1, 8), default=1)
    own.add_argument("--absent", type=float, default=0.0, help="share of the peers that miss a round (0)")
    own.add_argument("--only", nargs="+", choices=tuple(COURSES), default=list(COURSES))
    own.add_argument("--device", default="auto")
    own.add_argument("--data-dir", type=Path)
    given = own.parse_args(arguments)
    common = {
        "task": "cifar10",
        "variant": {"model": given.model},
        "peers": given.peers,
        "steps": given.steps or given.epochs * IMAGES // (given.peers * BATCH),
        "batch": BATCH,
        "absent": given.absent,
        "evaluate_every": 0,
        "device": given.device,
        "data_dir": given.data_dir,
    }
    figures = figures_of(run, common, seeds=given.seeds, names=given.only)
    show_figures("Accuracy of the worst peer, percent", figures)
    show_notes(NOTES)
    write_figures(given.json, benchmark="unlike_data", figures=figures)


if __name__ == "__main__":
    main()
